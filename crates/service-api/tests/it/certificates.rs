//! CA certificates: upload in every encoding, conditions, and the proof of possession.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};
use testkit::ca::{Authority, Profile};

use crate::world::World;

fn upload(pem: &str) -> Value {
    json!({"certificate": pem})
}

#[tokio::test]
async fn certificates_of_every_encoding_are_returned_as_base64_of_der() {
    let world = World::new().await;
    let ca = Authority::root("Root");
    let (pem, der) = (ca.identity().pem(), STANDARD.encode(ca.identity().der()));
    let forms = [
        ("pem", upload(&pem)),
        ("der", upload(&der)),
        ("base64-of-pem", upload(&STANDARD.encode(&pem))),
        ("Root CA (2026)", json!({"properties": {"certificate": pem}})),
    ];
    for (name, body) in &forms {
        let path = format!("/certificates/{}", name.replace(' ', "%20"));
        let put = world.put(&path, body).version(Some("2022-02-05")).send().await.ok();
        assert_eq!(put["name"], *name);
        assert_eq!(put["type"], "Microsoft.Devices/ProvisioningServices/Certificates");
        let properties = &put["properties"];
        assert_eq!(properties["certificate"], der);
        assert_eq!(properties["subject"], "CN=Root");
        assert_eq!(properties["isVerified"], false);
        assert_eq!(properties["thumbprint"], ca.certificate().info().sha1_thumbprint);
        assert_eq!(properties["expiry"], "Fri, 08 Dec 2119 00:00:00 GMT");
        assert!(properties["created"].as_str().unwrap().ends_with(" GMT"));
        assert_eq!(world.get(&path).send().await.ok(), put);
    }
    let listed = world.get("/certificates").version(Some("2026-11-01")).send().await.ok();
    let names: Vec<_> = listed["value"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["base64-of-pem", "der", "pem", "Root CA (2026)"]);

    for body in [json!({}), json!({"certificate": "none"}), json!({"certificate": 1}), json!([])] {
        world.put("/certificates/bad", &body).send().await.refused(400_002);
    }
    world.get("/certificates/bad").send().await.refused(404_205);
    let long = "x".repeat(257);
    world.put(&format!("/certificates/{long}"), &upload(&pem)).send().await.refused(400_002);
}

#[tokio::test]
async fn the_full_resource_path_of_a_certificate_is_equivalent() {
    let world = World::new().await;
    let resource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/one";
    let body = upload(&Authority::root("Root").identity().pem());
    let put = world.put(&format!("{resource}/certificates/root"), &body).version(Some("2022-02-05"));
    let mut put = put.send().await.ok();
    assert_eq!(put["id"], format!("{resource}/certificates/root"));
    put["id"] = json!("/certificates/root");
    assert_eq!(world.get("/certificates/ROOT").send().await.ok(), put);
}

#[tokio::test]
async fn versions_of_the_resource_api_are_accepted_everywhere() {
    let world = World::new().await;
    for path in ["/certificates", "/blockedCertificates"] {
        world.get(path).version(Some("2022-02-05")).send().await.ok();
    }
}

#[tokio::test]
async fn certificates_are_changed_by_condition() {
    let world = World::new().await;
    let [one, two] = ["One", "Two"].map(|name| upload(&Authority::root(name).identity().pem()));
    // The condition is ignored for a new certificate.
    let first = world.put("/certificates/ca", &one).if_match("\"other\"").send().await.ok();
    world.put("/certificates/ca", &two).send().await.refused(409_201);
    world.put("/certificates/ca", &two).if_match("\"other\"").send().await.refused(412_000);
    let etag = first["etag"].as_str().unwrap();
    let second = world.put("/certificates/ca", &two).if_match(etag).send().await.ok();
    assert_ne!(second["etag"], first["etag"]);
    assert_eq!(second["properties"]["created"], first["properties"]["created"]);

    let calls = [
        (Method::DELETE, "/certificates/ca"),
        (Method::POST, "/certificates/ca/generateVerificationCode"),
        (Method::POST, "/certificates/ca/verify"),
    ];
    for (method, path) in calls {
        let request = || world.request(method.clone(), path).json(&one);
        let message = request().send().await.refused(400_002);
        assert!(message.contains("if-match is needed"), "{message}");
        request().if_match(etag).send().await.refused(412_000);
    }
    let code = world.request(Method::POST, "/certificates/ca/generateVerificationCode");
    let etag = code.if_match(second["etag"].as_str().unwrap()).send().await.ok()["etag"].clone();
    world.delete("/certificates/ca").if_match(etag.as_str().unwrap()).send().await.deleted();
    world.delete("/certificates/ca").if_match("*").send().await.refused(404_205);
}

#[tokio::test]
async fn a_certificate_for_the_code_proves_possession() {
    let world = World::new().await;
    let ca = Authority::root("Root");
    world.put("/certificates/ca", &upload(&ca.identity().pem())).send().await.ok();
    let code = async || {
        let request = world.request(Method::POST, "/certificates/ca/generateVerificationCode").if_match("*");
        request.send().await.ok()["properties"]["verificationCode"].as_str().unwrap().to_owned()
    };
    let verify =
        async |pem: &str| world.post("/certificates/ca/verify", &upload(pem)).if_match("*").send().await;
    let proof = |ca: &Authority, name: &str| ca.device(name).pem();
    let refused = verify(&proof(&ca, "too early")).await.refused(400_002);
    assert!(refused.contains("generate one first"), "{refused}");

    let (old, new) = (code().await, code().await);
    assert_ne!(old, new);
    assert!((32..=64).contains(&new.len()), "{new}");
    let impostor = Authority::root("Root");
    let expired = ca.issue(&Profile::device(&new).expired()).pem();
    let refusals = [
        (proof(&ca, &old), "common name"),
        (proof(&ca, &new.to_lowercase()), "common name"),
        (proof(&Authority::root("Other"), &new), "issued by CN=Other, not by CN=Root"),
        (proof(&impostor, &new), "not signed by the CA's key"),
        (expired, "which is not now"),
    ];
    for (pem, why) in refusals {
        let message = verify(&pem).await.refused(400_002);
        assert!(message.contains(why), "{message}");
    }
    let shown = world.get("/certificates/ca").send().await.ok();
    assert_eq!(shown["properties"]["isVerified"], false);
    assert_eq!(
        shown["properties"]["verificationCode"],
        Value::Null,
        "only in replies to requests for the code"
    );

    let pem = proof(&ca, &new);
    let verified = verify(&pem).await.ok();
    assert_eq!(verified["properties"]["isVerified"], true);
    // A code is valid once.
    verify(&pem).await.refused(400_002);
}

#[tokio::test]
async fn a_replaced_certificate_is_unverified() {
    let world = World::new().await;
    let (one, two) = (Authority::root("One").identity().pem(), Authority::root("Two").identity().pem());
    let put = async |body: Value| {
        let put = world.put("/certificates/ca", &body).if_match("*").send().await.ok();
        put["properties"]["isVerified"].as_bool().unwrap()
    };
    // An operator may declare the certificate verified.
    assert!(put(json!({"certificate": one, "isVerified": true})).await);
    assert!(put(json!({"certificate": one})).await, "the same stays verified");
    assert!(!put(json!({"certificate": two})).await);
    assert!(put(json!({"properties": {"certificate": two, "isVerified": true}})).await);
    assert!(!put(json!({"certificate": two, "isVerified": false})).await);
}

#[tokio::test]
async fn the_number_of_ca_certificates_is_limited() {
    let world = World::new().await;
    let body = upload(&Authority::root("Root").identity().pem());
    for number in 0..provisioning::trust::MAX_CA_CERTIFICATES {
        world.put(&format!("/certificates/{number}"), &body).send().await.ok();
    }
    let message = world.put("/certificates/more", &body).send().await.refused(400_002);
    assert!(message.contains("100 CA certificates"), "{message}");
    world.put("/certificates/7", &body).if_match("*").send().await.ok();
    world.delete("/certificates/7").if_match("*").send().await.deleted();
    world.put("/certificates/more", &body).send().await.ok();
}
