//! Revocation lists, blocks, and expiring certificates.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::Timestamp;
use provisioning::ports::Clock;
use serde_json::{Value, json};
use testkit::{
    ca::{Authority, Form, Identity, Profile},
    crl::{Revocations, Scope},
};

use crate::world::World;

const LIST: &str = "/certificates/ca/revocation";

async fn with_ca(ca: &Authority) -> World {
    let world = World::new().await;
    world.put("/certificates/ca", &json!({"certificate": ca.identity().pem()})).send().await.ok();
    world
}

fn list(revocations: &Revocations, ca: &Authority) -> Value {
    json!({"list": STANDARD.encode(revocations.signed_by(ca).der())})
}

#[tokio::test]
async fn a_revocation_list_is_never_replaced_by_an_older_one() {
    let ca = Authority::root("Root");
    let world = with_ca(&ca).await;
    let now = world.clock.now();
    let shown = world.get(LIST).send().await.ok();
    assert_eq!(shown, json!({"policy": "soft", "fetch": false, "lists": []}));

    let second = Revocations::made_at(2, now).revoke(ca.device("dev").der());
    let shown = world.put(LIST, &list(&second, &ca)).send().await.ok();
    assert_eq!(shown["lists"][0]["number"], "02");
    assert_eq!(shown["lists"][0]["revokedCertificates"], 1);
    assert_eq!(shown["lists"][0]["isStale"], false);
    assert_eq!(shown["lists"][0]["scope"], json!({"certificates": "all"}));

    let refusals = [
        (list(&Revocations::made_at(1, now), &ca), "older than the one that is there"),
        (list(&Revocations::made_at(3, now), &Authority::root("Root")), "not signed by the CA's key"),
        (list(&Revocations::made_at(3, now), &Authority::root("Other")), "issuer is not CN=Root"),
        (list(&Revocations::made_at(3, now.plus_seconds(301)), &ca), "in the future"),
        (json!({"list": "none"}), "revocation list cannot be read"),
        (json!({"policy": "strict"}), "must be one of soft, hard"),
    ];
    for (body, why) in refusals {
        let message = world.put(LIST, &body).send().await.refused(400_002);
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(world.get(LIST).send().await.ok(), shown);
    world.put(LIST, &list(&Revocations::made_at(3, now), &ca)).send().await.ok();

    world.delete(LIST).send().await.deleted();
    world.delete(LIST).send().await.refused(404_206);
    world.get("/certificates/none/revocation").send().await.refused(404_205);
}

/// A CA may have one list for each scope. A list of a wider scope replaces lists of narrower scopes.
#[tokio::test]
async fn revocation_lists_of_different_scopes_coexist() {
    let ca = Authority::root("Root");
    let world = with_ca(&ca).await;
    let now = world.clock.now();
    let made = |number: u64, scope: Option<Scope>| Revocations { scope, ..Revocations::made_at(number, now) };
    let before = |list: Revocations| Revocations { this_update: now.plus_seconds(-60), ..list };
    let shard = |uri| Some(Scope { only_users: true, ..Scope::of(uri) });
    let (a, b) = ("http://crl.example/a", "http://crl.example/b");
    let numbers = |shown: &Value| {
        let lists = shown["lists"].as_array().unwrap().iter();
        let mut numbers: Vec<_> = lists.map(|list| list["number"].as_str().unwrap().to_owned()).collect();
        numbers.sort();
        numbers
    };
    let put = async |list_of: Revocations| world.put(LIST, &list(&list_of, &ca)).send().await;
    assert_eq!(numbers(&put(made(5, shard(a))).await.ok()), ["05"]);
    let shown = put(made(2, shard(b))).await.ok();
    assert_eq!(numbers(&shown), ["02", "05"]);
    let scope_of_b = json!({"certificates": "endEntities", "distributionPoint": [b]});
    let of_b = shown["lists"].as_array().unwrap().iter().find(|list| list["scope"] == scope_of_b).unwrap();
    // The numbers of each scope are independent.
    put(made(4, shard(a))).await.refused(400_002);
    assert_eq!(numbers(&put(made(3, shard(b))).await.ok()), ["03", "05"]);

    let path = |id: &Value| format!("{LIST}?list={}", id.as_str().unwrap());
    world.delete(&path(&of_b["id"])).send().await.deleted();
    world.delete(&path(&of_b["id"])).send().await.refused(404_206);
    assert_eq!(numbers(&world.get(LIST).send().await.ok()), ["05"]);
    put(made(3, shard(b))).await.ok();

    // An older complete list does not replace a newer partial one; a newer complete list does, and older partial ones are refused.
    assert_eq!(numbers(&put(before(made(9, None))).await.ok()), ["03", "05", "09"]);
    assert_eq!(numbers(&put(made(10, None)).await.ok()), ["0A"]);
    put(before(made(6, shard(a)))).await.refused(400_002);
    world.delete(LIST).send().await.deleted();

    for (scope, why) in [
        (Scope { only_attributes: true, ..Scope::default() }, "covers no certificate of devices or CAs"),
        (
            Scope { only_users: true, only_cas: true, ..Scope::default() },
            "covers no certificate of devices or CAs",
        ),
        (Scope { is_indirect: true, ..Scope::default() }, "indirect CRL"),
    ] {
        let body = json!({"list": STANDARD.encode(made(11, Some(scope)).der(&ca))});
        let message = world.put(LIST, &body).send().await.refused(400_002);
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn a_ca_without_crl_sign_has_no_lists() {
    let ca = Authority::self_signed(&Profile { form: Form::CaWithoutCrlSign, ..Profile::ca("Root") });
    let world = with_ca(&ca).await;
    let body = list(&Revocations::made_at(1, world.clock.now()), &ca);
    let message = world.put(LIST, &body).send().await.refused(400_002);
    assert!(message.contains("lacks cRLSign"), "{message}");
}

#[tokio::test]
async fn a_replaced_certificate_loses_its_revocation_list() {
    let ca = Authority::root("Root");
    let world = with_ca(&ca).await;
    world.put(LIST, &list(&Revocations::made_at(1, world.clock.now()), &ca)).send().await.ok();
    let put = world.put("/certificates/ca", &json!({"certificate": ca.identity().pem()}));
    put.if_match("*").send().await.ok();
    assert_ne!(world.get(LIST).send().await.ok()["lists"], json!([]), "the same certificate keeps it");
    let other = json!({"certificate": Authority::root("Root").identity().pem()});
    world.put("/certificates/ca", &other).if_match("*").send().await.ok();
    assert_eq!(world.get(LIST).send().await.ok()["lists"], json!([]));
}

#[tokio::test]
async fn omitted_revocation_settings_are_kept() {
    let world = with_ca(&Authority::root("Root")).await;
    let put = async |body: Value| world.put(LIST, &body).send().await.ok();
    let off = json!({"policy": "hard", "fetch": false, "lists": []});
    assert_eq!(put(json!({"policy": "hard"})).await, off);
    let [from, other] = ["http://crl.example/root.crl", "http://crl.example/other.crl"];
    let fetching = |from: &[&str]| json!({"policy": "hard", "fetch": true, "fetchedFrom": from, "lists": []});
    assert_eq!(put(json!({"fetchedFrom": from})).await, fetching(&[from]));
    assert_eq!(put(json!({})).await, fetching(&[from]));
    assert_eq!(put(json!({"fetchedFrom": [other, from, other]})).await, fetching(&[other, from]));
    assert_eq!(put(json!({"fetch": false})).await, off);
    assert_eq!(put(json!({"fetchedFrom": [from]})).await, fetching(&[from]));
    assert_eq!(put(json!({"fetchedFrom": []})).await, off);
    let many: Vec<_> = (0..65).map(|number| format!("http://crl.example/{number}")).collect();
    for (body, why) in [
        (json!({"fetch": true}), "names no distribution point"),
        (json!({"fetchedFrom": "ldap://crl.example/"}), "http or https"),
        (json!({"fetchedFrom": [from, "ldap://crl.example/"]}), "fetchedFrom[1]: must be an http"),
        (json!({"fetchedFrom": many}), "fetchedFrom: must be at most 64 addresses"),
    ] {
        let message = world.put(LIST, &body).send().await.refused(400_002);
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn a_list_of_a_hundred_thousand_is_uploaded() {
    let ca = Authority::root("Root");
    let world = with_ca(&ca).await;
    let mut revocations = Revocations::made_at(1, world.clock.now());
    revocations.serials =
        (0u128..100_000).map(|serial| (1u128 << 120 | serial).to_be_bytes().to_vec()).collect();
    let shown = world.put(LIST, &list(&revocations, &ca)).send().await.ok();
    assert_eq!(shown["lists"][0]["revokedCertificates"], 100_000);
}

#[tokio::test]
async fn blocks_are_created_listed_and_lifted() {
    let world = World::new().await;
    let leaf = Identity::self_signed(&Profile::device("dev-1"));
    let thumbprint = leaf.certificate().thumbprint().to_string();
    let path = format!("/blockedCertificates/{}", thumbprint.to_lowercase());
    let body = json!({"reason": "stolen from the truck", "certificate": leaf.pem()});
    let block = world.put(&path, &body).send().await.ok();
    assert_eq!(block["sha256Thumbprint"], thumbprint);
    assert_eq!(block["subject"], "CN=dev-1");
    let parts = leaf.certificate();
    let parts = parts.parts().unwrap();
    assert_eq!(block["sha256OfTbs"], parts.tbs_hash().as_str());
    assert_eq!(block["sha256OfKey"], Value::Null);
    // Another reason: the other members are kept.
    let again = world.put(&path, &json!({"reason": "scrapped"})).send().await.ok();
    assert_eq!((&again["reason"], &again["subject"]), (&json!("scrapped"), &json!("CN=dev-1")));
    assert_eq!(again["sha256OfTbs"], block["sha256OfTbs"]);
    assert_eq!(again["blockedAtUtc"], block["blockedAtUtc"]);
    assert_eq!(world.get("/blockedCertificates").send().await.ok()["value"], json!([again]));

    for (path, body, why) in [
        (path.as_str(), json!({}), "reason: is missing"),
        (path.as_str(), json!({"reason": "a\nb"}), "reason must be"),
        (path.as_str(), json!({"reason": "x", "key": "yes"}), "key"),
        (path.as_str(), json!({"reason": "x", "key": true}), "does not tell the key"),
        ("/blockedCertificates/ABC", json!({"reason": "x"}), "64 hex digits"),
        (
            path.as_str(),
            json!({"reason": "x", "certificate": Identity::self_signed(&Profile::device("x")).pem()}),
            "not the one in the path",
        ),
    ] {
        let message = world.put(path, &body).send().await.refused(400_002);
        assert!(message.contains(why), "{message}");
    }
    world.delete(&path).send().await.deleted();
    world.delete(&path).send().await.refused(404_207);
}

#[tokio::test]
async fn a_block_covers_the_key_on_request() {
    let world = World::new().await;
    let leaf = Identity::self_signed(&Profile::device("dev-1"));
    let path = format!("/blockedCertificates/{}", leaf.certificate().thumbprint());
    let put = async |body: Value| world.put(&path, &body).send().await.ok()["sha256OfKey"].clone();
    let certificate = leaf.certificate();
    let key = json!(certificate.parts().unwrap().key_hash().as_str());
    assert_eq!(put(json!({"reason": "x", "certificate": leaf.pem(), "key": true})).await, key);
    assert_eq!(put(json!({"reason": "y"})).await, key, "it stays");
    assert_eq!(put(json!({"reason": "y", "key": false})).await, Value::Null);
}

/// A thumbprint does not contain the certificate, but the service may have stored it.
#[tokio::test]
async fn a_block_by_thumbprint_finds_a_stored_ca() {
    let ca = Authority::root("Root");
    let world = with_ca(&ca).await;
    let path = format!("/blockedCertificates/{}", ca.certificate().thumbprint());
    let block = world.put(&path, &json!({"reason": "lost", "key": true})).send().await.ok();
    let certificate = ca.certificate();
    let parts = certificate.parts().unwrap();
    assert_eq!(block["sha256OfTbs"], parts.tbs_hash().as_str());
    assert_eq!(block["sha256OfKey"], parts.key_hash().as_str());
    assert_eq!(block["subject"], "CN=Root");
}

#[tokio::test]
async fn expiring_certificates_are_listed() {
    let world = World::new().await;
    let now = world.clock.now();
    let until = |days: i64| -> Timestamp { now.plus_seconds(days * 86_400) };
    let expiring = |name: &str, days: i64| {
        Identity::self_signed(&Profile { not_after: until(days), ..Profile::ca(name) }).pem()
    };
    let ca = json!({"certificate": expiring("Ca", 10)});
    world.put("/certificates/ca", &ca).send().await.ok();
    world.put("/certificates/late", &json!({"certificate": expiring("Late", 400)})).send().await.ok();
    let x509 = |name: &str, primary: &str, secondary: &str| {
        let slot = |pem: &str| json!({"certificate": pem});
        json!({"type": "x509", "x509": {name: {"primary": slot(primary), "secondary": slot(secondary)}}})
    };
    let factory = expiring("Factory", 5);
    let group =
        json!({"enrollmentGroupId": "line", "attestation": x509("signingCertificates", &factory, &factory)});
    world.put("/enrollmentGroups/line", &group).send().await.ok();
    let leaves = x509("clientCertificates", &expiring("dev", -1), &expiring("dev", 300));
    let device = json!({"registrationId": "dev", "attestation": leaves});
    world.put("/enrollments/dev", &device).send().await.ok();

    let listed = async |query: &str| {
        let reply = world.get(&format!("/expiringCertificates{query}")).send().await.ok();
        assert_eq!(reply["more"], false);
        let row = |it: &Value| {
            let text = |name: &str| it[name].as_str().unwrap().to_owned();
            (text("kind"), text("name"), it["daysLeft"].as_i64().unwrap())
        };
        reply["value"].as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let row = |kind: &str, name: &str, days| (kind.to_owned(), name.to_owned(), days);
    let (gone, soon, later) =
        (row("enrollment", "dev", -1), row("enrollmentGroup", "line", 5), row("caCertificate", "ca", 10));
    assert_eq!(listed("?within=7d").await, [gone.clone(), soon.clone()]);
    assert_eq!(listed("").await, [gone.clone(), soon, later]);
    assert_eq!(listed("?within=500").await.len(), 5);
    for bad in ["soon", "-1d", "40000d", "d"] {
        world.get(&format!("/expiringCertificates?within={bad}")).send().await.refused(400_002);
    }
}
