//! `muster enrollment` against an emulator.

use serde_json::json;
use testkit::ca::Authority;

use crate::program::{Ended, World};

async fn enrollment(world: &World, command: &[&str]) -> Ended {
    world.muster(&[&["enrollment"], command].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_enrolled_by_a_key_and_let_in() {
    let world = World::start().await;
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("settings.json");
    let twin = json!({"tags": {}, "properties": {"desired": {"interval": 60}}});
    std::fs::write(&settings, json!({"initialTwin": twin, "deviceId": "boiler"}).to_string()).unwrap();
    let settings = settings.to_str().unwrap();

    let create = ["create", "dev-1", "--symmetric-key", "--settings", settings];
    let created = enrollment(&world, &create).await;
    assert_eq!((created.code, &created.json()["initialTwin"]), (0, &twin), "{created:?}");
    let key = created.json()["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned();
    let register = ["device", "register", "--registration-id", "dev-1", "--key", &key];
    assert_eq!(world.muster(&register, &[]).await.json()["deviceId"], "boiler");

    let again = enrollment(&world, &create).await;
    assert!(again.code == 1 && again.stderr.contains("already exists"), "{again:?}");
    let replaced = enrollment(&world, &["create", "dev-1", "--symmetric-key", "--replace"]).await;
    assert_eq!(replaced.code, 0, "{replaced:?}");
    let shown = enrollment(&world, &["show", "dev-1"]).await.json();
    assert_eq!((shown.get("deviceId"), shown["attestation"].get("symmetricKey")), (None, None));
    let shown = enrollment(&world, &["show", "dev-1", "--keys"]).await.json();
    assert_eq!(shown["attestation"]["symmetricKey"]["primaryKey"], json!(key), "keys stay");

    let listed = enrollment(&world, &["list"]).await;
    assert!(listed.stdout.contains("dev-1") && listed.stdout.contains("symmetricKey"), "{listed:?}");
    let deleted = enrollment(&world, &["delete", "dev-1"]).await;
    assert!(deleted.code == 0 && deleted.stdout.contains("deleted dev-1"), "{deleted:?}");
    for command in ["show", "delete"] {
        let ended = enrollment(&world, &[command, "dev-1"]).await;
        assert!(
            ended.code == 3 && ended.stderr.contains("404201") && ended.stderr.contains("tracking ID "),
            "{command} {ended:?}"
        );
    }
    let listed = enrollment(&world, &["list"]).await;
    assert_eq!(listed.stdout.trim(), "there is no individual enrollment", "{listed:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_enrolled_by_its_ca_or_the_name_of_one() {
    let world = World::start().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.pem");
    std::fs::write(&root, Authority::root("Plant").certificate().to_pem()).unwrap();
    let root = root.to_str().unwrap();
    let uploaded = world.muster(&["certificate", "upload", "plant", root], &[]).await;
    assert_eq!(uploaded.code, 0, "{uploaded:?}");
    for (group, proof) in [("line-1", ["--certificate", root]), ("line-2", ["--ca-certificate", "plant"])] {
        let created = enrollment(&world, &[&["create", group, "--group"], &proof[..]].concat()).await;
        assert_eq!(created.json()["attestation"]["type"], "x509", "{created:?}");
    }
    let listed = enrollment(&world, &["list", "--groups", "--json"]).await.json();
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|group| &group["enrollmentGroupId"]).collect();
    assert_eq!(ids, ["line-1", "line-2", "sample-group"]);
    let alone = enrollment(&world, &["list", "--groups", "--top", "1"]).await;
    assert!(alone.stdout.contains("line-1") && alone.stderr.contains("there are more"), "{alone:?}");
    let deleted = enrollment(&world, &["delete", "line-1", "--group"]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");

    let of_ids = ["create", "line-3", "--group", "--symmetric-key", "--registration-ids", "line-3-*"];
    let created = enrollment(&world, &of_ids).await.json();
    assert_eq!(created["allowedRegistrationIds"], json!(["line-3-*"]));
    let key = created["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned();
    for (id, code) in [("line-3-a", 0), ("line-4-a", 1)] {
        let register = ["device", "register", "--registration-id", id, "--group-key", &key];
        let ended = world.muster(&register, &[]).await;
        assert_eq!(ended.code, code, "{id}: {ended:?}");
    }
    let ended = enrollment(&world, &["create", "x", "--symmetric-key", "--registration-ids", "x*"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("--group"), "{ended:?}");

    let broken = directory.path().join("broken.json");
    std::fs::write(&broken, "[]").unwrap();
    let broken = broken.to_str().unwrap();
    let ended = enrollment(&world, &["create", "x", "--symmetric-key", "--settings", broken]).await;
    assert!(ended.code == 1 && ended.stderr.contains("does not hold a JSON object"), "{ended:?}");
    let ended = enrollment(&world, &["create", "x"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("--symmetric-key"), "{ended:?}");
    world.stop().await;
}
