//! `muster serve` and `muster store` with missing, damaged or no longer configured data.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::PathBuf, time::SystemTime};

use ::fleet::Transport;
use durable::rusqlite::Connection;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    program::{ProgramOutput, World, muster},
    serve::{KEY, ServeFixture, device, enrollment},
};

pub async fn stop(mut service: Child) {
    let pid = service.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(service.wait().await.unwrap().code(), Some(0));
}

/// Runs `muster serve` with arguments that make it exit.
async fn serve(fixture: &ServeFixture, more: &[&str]) -> ProgramOutput {
    let config = fixture.config();
    let output = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["serve", "--config", config.to_str().unwrap()])
        .args(more)
        .env("SITE_KEY", KEY)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(20), output).await.unwrap().unwrap();
    ProgramOutput {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn check_store(fixture: &ServeFixture, more: &[&str]) -> ProgramOutput {
    let config = fixture.config();
    muster([&["store", "check", "--config", config.to_str().unwrap()], more].concat()).await
}

#[tokio::test]
async fn a_missing_database_or_key_prevents_the_start() {
    let fixture = ServeFixture::new();
    let service = fixture.start().await;
    fixture.service("127.0.0.1").create_enrollment(&enrollment("dev-1")).await.unwrap();
    stop(service).await;
    let (database, key) = (fixture.data().join("muster.db"), fixture.data().join("master.key"));
    std::fs::rename(&key, fixture.data().join("elsewhere")).unwrap();
    for more in [&[][..], &["--check"], &["--new-database"]] {
        let ended = serve(&fixture, more).await;
        assert!(ended.code == 1 && ended.stderr.contains("master.key is missing"), "{ended:?}");
    }
    assert!(!key.exists());
    std::fs::rename(fixture.data().join("elsewhere"), &key).unwrap();
    std::fs::write(&database, "").unwrap();
    for more in [&[][..], &["--check"]] {
        let ended = serve(&fixture, more).await;
        assert!(ended.code == 1 && ended.stderr.contains("--new-database"), "{ended:?}");
    }
    let ended = serve(&fixture, &["--check", "--new-database"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    // Start and check also refuse a database of a newer version.
    std::fs::remove_file(&database).unwrap();
    let service = fixture.start_with(&["--new-database"]).await;
    fixture.service("127.0.0.1").create_enrollment(&enrollment("dev-1")).await.unwrap();
    stop(service).await;
    let newer = "UPDATE meta SET value = 99 WHERE key = 'schema_version'";
    Connection::open(&database).unwrap().execute_batch(newer).unwrap();
    for more in [&[][..], &["--check"]] {
        let ended = serve(&fixture, more).await;
        assert!(ended.code == 1 && ended.stderr.contains("schema version 99"), "{ended:?}");
    }
}

#[tokio::test]
async fn the_check_warns_of_a_certificate_for_another_host_name() {
    let fixture = ServeFixture::new();
    fixture.amend("service_hosts = [\"localhost\"]", "service_hosts = [\"other.example\"]");
    let checked = serve(&fixture, &["--check"]).await;
    assert!(
        checked.code == 0 && checked.stderr.contains("not for the host name other.example"),
        "{checked:?}"
    );
}

#[tokio::test]
async fn an_instance_removed_from_the_file_does_not_affect_others() {
    let fixture = ServeFixture::new();
    let managed_by_the_file = "id_scope = \"0neBBBBBBBB\"\nmanaged = \"file\"";
    fixture.amend("id_scope = \"0neBBBBBBBB\"", managed_by_the_file);
    let service = fixture.start().await;
    for (host, id) in [("127.0.0.1", "dev-1"), ("localhost", "dev-2")] {
        fixture.service(host).create_enrollment(&enrollment(id)).await.unwrap();
    }
    stop(service).await;
    fixture.amend("id_scope = \"0neBBBBBBBB\"", "id_scope = \"0neCCCCCCCC\"");
    let checked = serve(&fixture, &["--check"]).await;
    assert!(checked.code == 0 && checked.stderr.contains("0neBBBBBBBB"), "{checked:?}");
    let service = fixture.start().await;
    let register = async |scope: &str| {
        let id = if scope == "0neAAAAAAAA" { "dev-1" } else { "dev-2" };
        ::fleet::register(&fixture.endpoint(scope), &device(id), Transport::Https, None).await
    };
    register("0neAAAAAAAA").await.unwrap();
    assert!(register("0neBBBBBBBB").await.is_err(), "it is not configured");
    stop(service).await;
    fixture.amend("id_scope = \"0neCCCCCCCC\"", "id_scope = \"0neBBBBBBBB\"");
    let service = fixture.start().await;
    register("0neBBBBBBBB").await.unwrap();
    stop(service).await;
}

#[tokio::test]
async fn a_damaged_record_is_reported_and_restored_from_a_backup() {
    let fixture = ServeFixture::new();
    let service = fixture.start().await;
    let mut operator = fixture.service("127.0.0.1");
    for id in ["dev-1", "dev-2"] {
        operator.create_enrollment(&enrollment(id)).await.unwrap();
    }
    stop(service).await;
    let (database, backup) = (fixture.data().join("muster.db"), fixture.data().join("backup"));
    std::fs::copy(&database, &backup).unwrap();
    let spoil = "UPDATE individuals SET document = x'01' WHERE id = 'dev-1'";
    Connection::open(&database).unwrap().execute_batch(spoil).unwrap();

    let service = fixture.start().await;
    let register = async |id: &str| {
        let endpoint = fixture.endpoint("0neAAAAAAAA");
        ::fleet::register(&endpoint, &device(id), Transport::Https, None).await
    };
    register("dev-2").await.unwrap();
    let looked = check_store(&fixture, &["--json"]).await;
    let record = "individuals/0neaaaaaaaa/dev-1";
    assert_eq!((looked.code, &looked.json()["damaged"][0]["record"]), (1, &json!(record)), "{looked:?}");
    let running = check_store(&fixture, &["--drop", record]).await;
    assert!(running.code == 1 && running.stderr.contains("in use"), "{running:?}");
    stop(service).await;

    let restored = check_store(&fixture, &["--restore", record, "--from", backup.to_str().unwrap()]).await;
    assert!(restored.code == 0 && restored.stdout.contains("0 problems"), "{restored:?}");
    let service = fixture.start().await;
    register("dev-1").await.unwrap();
    stop(service).await;
    Connection::open(&database).unwrap().execute_batch(spoil).unwrap();
    let dropped = check_store(&fixture, &["--drop", record]).await;
    assert_eq!(dropped.code, 0, "{dropped:?}");
}

/// Returns the files of an emulator with inode and modification time, which show writes.
fn files(world: &World) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let folders = [world.dir(), world.dir().join("hubs")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let entries = entries.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_file());
    let facts = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        (entry.path(), (metadata.ino(), metadata.modified().unwrap()))
    });
    facts.collect()
}

/// So that it starts on a full disk. Two exceptions: the index of a write-ahead log is overwritten, and `dev.json` has other ports
/// here.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_emulator_needs_no_disk_space() {
    let world = World::start().await;
    let enrolled = serde_json::json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}});
    world.service().create_enrollment(&enrolled).await.unwrap();
    let world = world.restarted().await;
    let before = files(&world);
    let world = world.restarted().await;
    let after = files(&world);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "none is new");
    let is_unchanged = |path: &&PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_empty = std::fs::metadata(path).unwrap().len() == 0;
        !(name == "dev.json" || name.ends_with("-shm") || name.ends_with("-wal") && is_empty)
    };
    let written: Vec<_> =
        before.keys().filter(is_unchanged).filter(|path| before[*path] != after[*path]).collect();
    assert!(written.is_empty(), "{written:?}");
    world.service().enrollment("dev-1").await.unwrap();
    world.stop().await;
}
