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
