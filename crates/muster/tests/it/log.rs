//! `muster log` shows who changed what.

use std::{process::Stdio, time::Duration};

use provisioning::ports::Clock;
use serde_json::Value;
use server::SystemClock;
use testkit::{ca::Authority, crl::Revocations};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::program::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_shows_who_changed_what_when_and_from_where() {
    let world = World::start().await;
    let start = world.muster(&["log"], &["--json"]).await.json();
    let after = start["next"].as_str().unwrap();
    assert_eq!(world.muster(&["enrollment", "create", "dev-1", "--symmetric-key"], &[]).await.code, 0);
    assert_eq!(world.muster(&["device", "register"], &["--registration-id", "dev-2"]).await.code, 0);

    let shown = world.muster(&["log"], &["--json", "--after", after]).await.json();
    let entries = shown["entries"].as_array().unwrap();
    let first = &entries[0];
    assert_eq!((&first["operation"], &first["key"]), (&"enrollment.put".into(), &"dev-1".into()));
    assert_eq!(first["actor"]["name"], "provisioningserviceowner");
    assert_eq!(first["actor"]["address"], "127.0.0.1");
    assert!(entries.iter().any(|entry| entry["actor"]["kind"] == "device"), "{entries:?}");

    let table = world.muster(&["log"], &["--kind", "enrollment", "--key", "DEV-1"]).await;
    assert!(table.stdout.contains("enrollment.put") && !table.stdout.contains("registration"), "{table:?}");
    let none = world.muster(&["log"], &["--actor", "other"]).await;
    assert_eq!(none.stdout, "no changes in that time\n");
    let gone = world.muster(&["log"], &["--after", "7-7"]).await;
    assert_eq!(gone.code, 1, "{gone:?}");
    assert!(gone.stderr.contains("another change log"), "{gone:?}");
    world.stop().await;
}

/// The key of a revocation list has a line feed in it.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_escaped() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let file = world.write("root.pem", &root.identity().pem());
    assert_eq!(world.muster(&["certificate", "upload"], &["root", &file]).await.code, 0);
    let list = world.dir().join("root.crl");
    let signed = Revocations::made_at(1, SystemClock.now().plus_seconds(-60)).signed_by(&root);
    std::fs::write(&list, signed.der()).unwrap();
    let uploaded = world.muster(&["certificate", "crl", "upload"], &["root", list.to_str().unwrap()]).await;
    assert_eq!(uploaded.code, 0, "{uploaded:?}");
    let table = world.muster(&["log"], &["--kind", "revocationList"]).await;
    assert!(table.stdout.contains("root\\n"), "{table:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_prints_changes_as_they_are_made() {
    let world = World::start().await;
    let mut follower = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["log", "--follow", "--json", "--kind", "enrollment", "--dev"])
        .arg(world.dir())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    for id in ["dev-1", "dev-2"] {
        assert_eq!(world.muster(&["enrollment", "create", id, "--symmetric-key"], &[]).await.code, 0);
        let line = timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap().unwrap();
        let entry: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["key"], id);
    }
    // As in `muster log --follow | head -2`: the follower ends with the next change.
    drop(lines);
    assert_eq!(world.muster(&["enrollment", "create", "dev-3", "--symmetric-key"], &[]).await.code, 0);
    let status = timeout(Duration::from_secs(30), follower.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    world.stop().await;
}
