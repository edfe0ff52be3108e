//! `muster certificate` against an emulator, and its effect on devices.

use provisioning::ports::Clock;
use serde_json::{Value, json};
use testkit::{
    ca::{Authority, Identity, Profile},
    crl::{Point, Revocations, Scope, points},
};

use crate::program::{ProgramOutput, World};

async fn certificate(world: &World, arguments: &[&str]) -> ProgramOutput {
    let (command, more) = arguments.split_at(if arguments[0] == "crl" { 2 } else { 1 });
    world.muster(&[&["certificate"], command].concat(), more).await
}

async fn ok(world: &World, arguments: &[&str]) -> Value {
    let ended = certificate(world, arguments).await;
    assert_eq!(ended.code, 0, "{arguments:?} {ended:?}");
    ended.json()
}

/// Registers as `id` with these certificates.
async fn register(world: &World, id: &str, chain: &str, leaf: &Identity) -> ProgramOutput {
    let (chain, key) = (world.write("chain.pem", chain), world.write("leaf.key", &leaf.key_pem()));
    let arguments = ["--registration-id", id, "--cert", &chain, "--cert-key", &key];
    world.muster(&["device", "register"], &arguments).await
}

fn now() -> model::Timestamp {
    server::SystemClock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_is_verified_referenced_blocked_unblocked_and_deleted() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    let pem = world.write("root.pem", &root.identity().pem());
    let key = world.write("root.key", &root.identity().key_pem());
    let uploaded = ok(&world, &["upload", "plant-root", &pem]).await;
    assert_eq!(uploaded["properties"]["isVerified"], false);
    let factory_pem = world.write("factory.pem", &factory.identity().pem());
    ok(&world, &["upload", "factory", &factory_pem]).await;
    let names = json!({"caReferences": {"primary": "plant-root"}});
    let group = json!({"enrollmentGroupId": "line", "attestation": {"type": "x509", "x509": names}});
    world.service().create_group(&group).await.unwrap();

    // The device sends only its leaf; the stored intermediate completes the chain.
    let leaf = factory.device("dev-1");
    assert_eq!(register(&world, "dev-1", &leaf.pem(), &leaf).await.code, 1, "not verified yet");
    let other = world.write("other.key", &Authority::root("Other").identity().key_pem());
    let refused = certificate(&world, &["verify", "plant-root", "--ca-key", &other]).await;
    assert!(
        refused.code == 1 && refused.stderr.contains("does not belong to the CA certificate"),
        "{refused:?}"
    );
    let verified = ok(&world, &["verify", "plant-root", "--ca-key", &key]).await;
    assert_eq!(verified["properties"]["isVerified"], true);
    let registered = register(&world, "dev-1", &leaf.pem(), &leaf).await;
    assert_eq!(registered.code, 0, "{registered:?}");

    // Blocks and unblocks the factory, then blocks one device.
    ok(&world, &["block", "factory", "--reason", "key lost in the flood"]).await;
    assert_eq!(register(&world, "dev-1", &leaf.pem(), &leaf).await.code, 1);
    let blocked = certificate(&world, &["list", "--blocked"]).await;
    assert!(blocked.stdout.contains("CN=Factory") && blocked.stdout.contains("flood"), "{blocked:?}");
    assert_eq!(certificate(&world, &["unblock", "factory"]).await.code, 0);
    assert_eq!(register(&world, "dev-1", &leaf.pem(), &leaf).await.code, 0);
    let thumbprint = leaf.certificate().thumbprint().to_string();
    ok(&world, &["block", "--thumbprint", &thumbprint, "--reason", "stolen"]).await;
    assert_eq!(register(&world, "dev-1", &leaf.pem(), &leaf).await.code, 1);
    let neighbor = factory.device("dev-2");
    assert_eq!(register(&world, "dev-2", &neighbor.pem(), &neighbor).await.code, 0);

    // Without its CA the group admits no device.
    assert_eq!(certificate(&world, &["delete", "plant-root"]).await.code, 0);
    assert_eq!(register(&world, "dev-2", &neighbor.pem(), &neighbor).await.code, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_devices_are_refused_and_a_hard_policy_requires_a_list() {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_ca("line", &root).await;
    let pem = world.write("root.pem", &root.identity().pem());
    ok(&world, &["upload", "root", &pem, "--verified"]).await;
    let [good, bad] = ["good", "bad"].map(|name| root.device(name));
    let is_admitted =
        async |id: &str, leaf: &Identity| register(&world, id, &leaf.pem(), leaf).await.code == 0;
    assert!(is_admitted("bad", &bad).await);

    let list = Revocations::made_at(1, now().plus_seconds(-60)).revoke(bad.der()).signed_by(&root);
    let file = world.dir().join("root.crl");
    std::fs::write(&file, list.der()).unwrap();
    let shown = ok(&world, &["crl", "upload", "root", file.to_str().unwrap()]).await;
    assert_eq!(shown["lists"][0]["revokedCertificates"], 1);
    assert!(!is_admitted("bad", &bad).await);
    assert!(is_admitted("good", &good).await);

    assert_eq!(ok(&world, &["crl", "policy", "root", "hard"]).await["policy"], "hard");
    assert!(is_admitted("good", &good).await);
    assert_eq!(certificate(&world, &["crl", "delete", "root"]).await.code, 0);
    assert!(!is_admitted("good", &good).await, "the list is missing");
    assert_eq!(ok(&world, &["crl", "policy", "root", "soft"]).await["policy"], "soft");
    assert!(is_admitted("good", &good).await);
    world.stop().await;
}

/// A list of one distribution point does not cover the devices of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_another_shard_is_refused_under_a_hard_policy() {
    const ADDRESSES: [&str; 2] = ["http://127.0.0.1:1/a.crl", "http://127.0.0.1:1/b.crl"];
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_ca("line", &root).await;
    let pem = world.write("root.pem", &root.identity().pem());
    ok(&world, &["upload", "root", &pem, "--verified"]).await;
    let issue = |name: &str, uri| {
        root.issue(&Profile { crl_points: Some(points(&[Point::of(uri)])), ..Profile::device(name) })
    };
    let (of_a, of_b) = (issue("of-a", ADDRESSES[0]), issue("of-b", ADDRESSES[1]));
    let is_admitted =
        async |id: &str, leaf: &Identity| register(&world, id, &leaf.pem(), leaf).await.code == 0;
    let list = |name: &str, uri, number| {
        let made = Revocations::made_at(number, now().plus_seconds(-60)).covering(Scope::of(uri));
        world.write(name, &made.pem(&root))
    };
    let a = list("a.crl", ADDRESSES[0], 1);
    ok(&world, &["crl", "upload", "root", &a]).await;
    ok(&world, &["crl", "policy", "root", "hard"]).await;
    assert!(is_admitted("of-a", &of_a).await);
    assert!(!is_admitted("of-b", &of_b).await, "the list of its shard is missing");
    let files = [list("a2.crl", ADDRESSES[0], 2), list("b.crl", ADDRESSES[1], 1)];
    let shown = ok(&world, &["crl", "upload", "root", &files[0], &files[1]]).await;
    assert_eq!(shown["lists"].as_array().unwrap().len(), 2, "{shown}");
    assert!(is_admitted("of-b", &of_b).await);
    let listed = certificate(&world, &["list"]).await;
    assert!(listed.stdout.contains("CRLs"), "{listed:?}");

    let fetched = ok(&world, &["crl", "fetch", "root", "--from", ADDRESSES[0], "--from", ADDRESSES[1]]).await;
    assert_eq!(fetched["fetchedFrom"], json!(ADDRESSES));
    let is_b = |list: &&Value| list["scope"]["distributionPoint"][0] == ADDRESSES[1];
    let id = shown["lists"].as_array().unwrap().iter().find(is_b).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(certificate(&world, &["crl", "delete", "root", "--list", &id]).await.code, 0);
    assert!(is_admitted("of-a", &of_a).await && !is_admitted("of-b", &of_b).await);
    world.stop().await;
}

/// The certificate is stored, as in Azure; the command prints a warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_admits_no_device_causes_a_warning() {
    let world = World::start().await;
    let leaf = Identity::self_signed(&Profile::device("dev-1"));
    let pem = world.write("leaf.pem", &leaf.pem());
    let uploaded = certificate(&world, &["upload", "plant", &pem]).await;
    assert_eq!((uploaded.code, &uploaded.json()["name"]), (0, &json!("plant")));
    assert!(uploaded.stderr.contains("warning: ") && uploaded.stderr.contains("is not a CA"), "{uploaded:?}");
    let named = ["dev-2", "--certificate", &pem];
    let created = world.muster(&["enrollment", "create"], &named).await;
    assert!(created.code == 0 && created.stderr.contains("not the registration ID"), "{created:?}");
    let explained =
        world.muster(&["attest", "explain"], &["--registration-id", "dev-2", "--cert", &pem]).await;
    let warned = "warnings    the individual enrollment: this lets no device in as it is: ";
    assert!(explained.stdout.contains(warned), "{explained:?}");
    let root = world.write("root.pem", &Authority::root("Root").identity().pem());
    assert_eq!(certificate(&world, &["upload", "root", &root]).await.stderr, "");
    world.stop().await;
}

/// The URL has no listener. The emulator fetches lists when it starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fetch_of_a_list_is_reported() {
    const FROM: &str = "http://127.0.0.1:1/root.crl";
    let world = World::start().await;
    let root = Authority::root("Root");
    let pem = world.write("root.pem", &root.identity().pem());
    ok(&world, &["upload", "root", &pem, "--verified"]).await;
    let list = Revocations::made_at(1, now().plus_seconds(-3600)).signed_by(&root);
    let file = world.dir().join("root.crl");
    std::fs::write(&file, list.der()).unwrap();
    ok(&world, &["crl", "upload", "root", file.to_str().unwrap()]).await;
    let shown = ok(&world, &["crl", "fetch", "root", "--from", FROM]).await;
    assert_eq!(shown.get("fetches"), None, "nothing was tried yet: {shown}");

    let world = world.restarted().await;
    let mut shown = Value::Null;
    for _ in 0..50 {
        shown = ok(&world, &["crl", "show", "root"]).await;
        if shown.get("fetches").is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let fetch = &shown["fetches"][0];
    assert!(fetch["problem"].as_str().unwrap().contains("cannot connect to 127.0.0.1:1"), "{shown}");
    assert!(fetch["atUtc"].as_str() < fetch["nextAtUtc"].as_str(), "{shown}");
    assert!((3600..4000).contains(&shown["lists"][0]["ageSeconds"].as_i64().unwrap()), "{shown}");
    let certificate_shown = ok(&world, &["show", "root"]).await;
    assert_eq!(&certificate_shown["properties"]["revocation"]["fetches"][0], fetch);
    let listed = certificate(&world, &["list"]).await;
    let expected = format!("root: cannot fetch the revocation list from {FROM} at ");
    assert!(listed.stdout.contains(&expected) && listed.stdout.contains("next try at"), "{listed:?}");
    assert!(listed.stdout.contains("the oldest list in use is of"), "{listed:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiring_certificates_of_all_kinds_are_listed() {
    let world = World::start().await;
    let soon = |name: &str| Identity::self_signed(&Profile::ca(name).one_day_from(now())).pem();
    let pem = world.write("soon.pem", &soon("Soon CA"));
    ok(&world, &["upload", "soon", &pem]).await;
    let leaf = json!({"clientCertificates": {"primary": {"certificate": soon("dev-1")}}});
    let device = json!({"registrationId": "dev-1", "attestation": {"type": "x509", "x509": leaf}});
    world.service().create_enrollment(&device).await.unwrap();
    world.enroll_ca("late", &Authority::root("Late CA")).await;

    let listed = certificate(&world, &["list", "--expiring", "30d"]).await;
    assert!(listed.stdout.contains("Soon CA") && listed.stdout.contains("dev-1"), "{listed:?}");
    assert!(!listed.stdout.contains("Late CA"), "{listed:?}");
    let all = ok(&world, &["list", "--expiring", "36500", "--json"]).await;
    assert_eq!(all["value"].as_array().unwrap().len(), 3);
    let cas = certificate(&world, &["list"]).await;
    assert!(cas.stdout.contains("Soon CA") && cas.stdout.contains("verified"), "{cas:?}");
    let refused = certificate(&world, &["list", "--expiring", "soon"]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    world.stop().await;
}
