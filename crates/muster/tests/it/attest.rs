//! `muster attest explain` against an emulator.

use serde_json::json;
use testkit::ca::Authority;

use crate::program::{Ended, World};

async fn explain(world: &World, more: &[&str]) -> Ended {
    world.muster(&["attest", "explain"], more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_why_a_device_is_let_in_or_refused() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    world.enroll_ca("factory", &root).await;
    let leaf = factory.device("device-1");
    let chain = world.write("chain.pem", &format!("{}{}", leaf.pem(), factory.identity().pem()));
    let alone = world.write("leaf.pem", &leaf.pem());

    let ended = explain(&world, &["--registration-id", "device-1", "--cert", &chain]).await;
    assert_eq!(
        (ended.code, ended.last_line()),
        (0, "outcome     admitted by the group factory"),
        "{ended:?}"
    );
    let path = "the group factory fits: CN=device-1 ← CN=Factory ← CN=Root";
    assert!(ended.stdout.contains(path), "{ended:?}");

    let ended = explain(&world, &["--registration-id", "device-1", "--cert", &alone]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.last_line().contains("missing is CN=Factory"), "{ended:?}");

    let ended = explain(&world, &["--registration-id", "other", "--cert", &chain, "--json"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let reason = r#"the leaf's common name is "device-1", not the registration ID"#;
    assert_eq!((&ended.json()["outcome"], &ended.json()["reason"]), (&json!("refused"), &json!(reason)));

    let ended = explain(&world, &["--registration-id", "device-1", "--id-scope", "0neFFFFFFFF"]).await;
    assert!(ended.last_line().contains("which is not this instance's"), "{ended:?}");
    let ended = explain(&world, &["--registration-id", "device-1", "--sas-token", "rubbish"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("sasToken"), "{ended:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_registrations_are_kept_for_the_operator() {
    let world = World::start().await;
    let key = testkit::sample::key(77).to_base64();
    let register = ["--registration-id", "device-1", "--key", &key];
    let refused = world.muster(&["device", "register"], &register).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(!refused.stderr.contains("signature"), "the device is told little: {refused:?}");

    let mut attempts = String::new();
    for _ in 0..50 {
        attempts = world.muster(&["registration", "attempts", "device-1"], &[]).await.stdout;
        if attempts.contains("from 127.0.0.1") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(attempts.contains("refuses: the SAS token's signature fits neither key"), "{attempts}");
    let explained = explain(&world, &["--registration-id", "device-1"]).await;
    assert!(explained.stdout.contains("from 127.0.0.1: refused: the SAS token's signature"), "{explained:?}");
    let none = world.muster(&["registration", "attempts", "device-2"], &[]).await;
    assert_eq!((none.code, none.stdout.trim()), (0, "no attempt of device-2 was refused lately"));
    world.stop().await;
}
