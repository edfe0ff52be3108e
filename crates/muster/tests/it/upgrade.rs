//! Upgrades of databases that earlier programs wrote, and the way back.

use std::{fs, path::Path};

use durable::rusqlite::Connection;

use crate::{backup::Plant, linked_hub::until, serve::ServeFixture, storage::stop};

/// The schema versions of which the tests of the store have a data folder.
const EARLIER: std::ops::RangeInclusive<u32> = 1..=5;

fn number(database: &Path, sql: &str) -> u32 {
    Connection::open(database).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn version(folder: &Path) -> u32 {
    number(&folder.join("muster.db"), "SELECT value FROM meta WHERE key = 'schema_version'")
}

/// Everything that a record may be counted by, in any version of the tables.
fn records(folder: &Path) -> [u32; 4] {
    ["individuals", "groups", "registrations", "cleanups"]
        .map(|table| number(&folder.join("muster.db"), &format!("SELECT count(*) FROM {table}")))
}

/// Copies what a program of that version left.
fn copy_fixture(from: u32, to: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/fixtures");
    fs::create_dir_all(to.join("hubs")).unwrap();
    for file in ["muster.db", "master.key"] {
        fs::copy(fixtures.join(format!("v{from}/data")).join(file), to.join(file)).unwrap();
    }
    for hub in fs::read_dir(fixtures.join("v1/data/hubs")).unwrap() {
        let hub = hub.unwrap();
        fs::copy(hub.path(), to.join("hubs").join(hub.file_name())).unwrap();
    }
}

/// Starts the service, waits until it serves, and stops it.
async fn start_and_stop(plant: &Plant) {
    let service = plant.fixture.start().await;
    let serves = async || plant.fixture.service("127.0.0.1").usage(None, None).await.is_ok();
    until("the service serves", serves).await;
    stop(service).await;
}

/// The procedure of docs/upgrading.md: check, backup, start, and back again.
#[tokio::test]
async fn an_upgrade_is_foreseen_and_a_backup_leads_back() {
    let mut newest = 0;
    for from in EARLIER {
        let plant = Plant { fixture: ServeFixture::new() };
        let data = plant.path("data");
        copy_fixture(from, &data);
        let before = records(&data);

        let checked = plant.check().await;
        let foreseen = format!("muster.db from schema version {from} to ");
        assert!(checked.code == 0 && checked.stderr.contains(&foreseen), "{checked:?}");
        assert_eq!(version(&data), from, "a check changes nothing");
        let ended = plant.backup("backup").await;
        assert!(ended.code == 0 && ended.stdout.contains(&format!("schema version {from}, ")), "{ended:?}");

        start_and_stop(&plant).await;
        newest = version(&data);
        assert!(newest > *EARLIER.end(), "{newest}");
        assert_eq!(records(&data), before, "version {from}");
        let checked = plant.check().await;
        assert!(checked.code == 0 && !checked.stderr.contains("schema version"), "{checked:?}");

        let ended = plant.restore("backup", "restored").await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!((version(&plant.path("restored")), records(&plant.path("restored"))), (from, before));
    }
    assert_eq!(newest, EARLIER.end() + 1, "the version before has no fixture");
}

/// As the program of before reads what this one wrote.
#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_with_both_versions() {
    let plant = Plant { fixture: ServeFixture::new() };
    let data = plant.path("data");
    start_and_stop(&plant).await;
    let known = version(&data);
    assert_eq!(plant.backup("backup").await.code, 0);
    let newer = "UPDATE meta SET value = value + 1 WHERE key = 'schema_version'";
    for file in ["muster.db", "hubs/hub.db"] {
        Connection::open(data.join(file)).unwrap().execute_batch(newer).unwrap();
        let checked = plant.check().await;
        assert!(
            checked.code == 1 && checked.stderr.contains("this program knows versions up to"),
            "{checked:?}"
        );
        assert!(checked.stderr.contains("docs/upgrading.md"), "{checked:?}");
        let ended = plant.backup("other").await;
        assert!(ended.code == 1 && ended.stderr.contains("schema version"), "{ended:?}");
        if file == "muster.db" {
            let versions =
                format!("has schema version {}, this program knows versions up to {known}", known + 1);
            assert!(checked.stderr.contains(&versions), "{checked:?}");
            Connection::open(data.join(file)).unwrap().execute_batch(&newer.replace('+', "-")).unwrap();
        }
    }
    assert_eq!(plant.restore("backup", "restored").await.code, 0);
    plant.move_to("data", "restored");
    assert_eq!(plant.check().await.code, 0);
}
