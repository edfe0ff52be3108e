//! Databases of earlier releases, brought to today's schema. Each folder of `tests/fixtures` is what a release wrote, and the
//! file beside it says what is in there, as that release read it.

use std::{fs, path::Path, sync::Arc};

use certpath::Crl;
use durable::{Sealer, rusqlite::Connection};
use model::{CaReference, Day, IdScope, Instance, ListId, RevocationList, StatusKind};
use provisioning::ports::{
    AttemptQuery, Attempts, Change, Cleanups, Commit, Commits, Devices, Enrollments, Expect, Instances,
    Outcome, PageRequest, Registrations, Usage,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::sample;

/// The newest version of the tables.
const NEWEST: u32 = 6;

#[tokio::test]
async fn a_database_of_version_1_keeps_every_record() {
    keeps_every_record("v1", 1).await;
}

#[tokio::test]
async fn a_database_of_version_2_keeps_every_record() {
    keeps_every_record("v2", 2).await;
}

#[tokio::test]
async fn a_database_of_version_3_keeps_every_record() {
    keeps_every_record("v3", 3).await;
}

#[tokio::test]
async fn a_database_of_version_4_keeps_every_record() {
    keeps_every_record("v4", 4).await;
}

#[tokio::test]
async fn a_database_of_version_5_keeps_every_record() {
    keeps_every_record("v5", 5).await;
}

/// Everything that was in the file before it was migrated is there afterwards. Members may have been added since.
async fn keeps_every_record(name: &str, version: u32) {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("muster.db");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    fs::copy(fixture.join("data/muster.db"), &database).unwrap();
    assert_eq!(schema_version(&database), version);

    let sealer = Sealer::load_or_create(&fixture.join("data/master.key")).unwrap();
    for opened in ["migrated", "opened again"] {
        let store = EmbeddedStore::open(&database, sealer.clone()).unwrap();
        let read = everything(&store).await;
        store.close().await;
        assert_eq!(schema_version(&database), NEWEST);
        let path = fixture.with_extension("json");
        let Ok(expected) = fs::read_to_string(&path) else {
            let proposed = Path::new(env!("CARGO_TARGET_TMPDIR")).join(path.file_name().unwrap());
            fs::write(&proposed, serde_json::to_string_pretty(&read).unwrap() + "\n").unwrap();
            panic!("there is no {}; what was read is in {}", path.display(), proposed.display());
        };
        let expected: Value = serde_json::from_str(&expected).unwrap();
        compare(&expected, &read, opened);
    }
}

fn schema_version(path: &Path) -> u32 {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT value FROM meta WHERE key = 'schema_version'";
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Fails unless all of `expected` is in `read`, and no record more.
fn compare(expected: &Value, read: &Value, at: &str) {
    match (expected, read) {
        (Value::Object(expected), Value::Object(read)) => {
            for (name, value) in expected {
                compare(value, read.get(name).unwrap_or(&Value::Null), &format!("{at}.{name}"));
            }
        }
        (Value::Array(expected), Value::Array(read)) => {
            assert_eq!(expected.len(), read.len(), "{at}");
            for (number, (expected, read)) in expected.iter().zip(read).enumerate() {
                compare(expected, read, &format!("{at}[{number}]"));
            }
        }
        _ => assert_eq!(expected, read, "{at}"),
    }
}

/// What the port reads, by ID scope.
async fn everything(store: &EmbeddedStore) -> Value {
    let mut all = Map::new();
    for instance in store.snapshot().await.unwrap().instances() {
        let mut read = of_instance(store, &instance).await;
        read["instance"] = json!(*instance);
        all.insert(instance.id_scope.to_string(), read);
    }
    Value::Object(all)
}

async fn of_instance(store: &EmbeddedStore, instance: &Instance) -> Value {
    let (scope, all) = (&instance.id_scope, || PageRequest { after: None, limit: 1000 });
    let individuals = store.individuals(scope, all()).await.unwrap().items;
    let mut registrations = Vec::new();
    for status in StatusKind::ALL {
        registrations.extend(store.registrations_in(scope, status, all()).await.unwrap().items);
    }
    let ids = individuals.iter().map(|it| &it.registration_id);
    let ids: Vec<_> = ids.chain(registrations.iter().map(|it| &it.registration_id)).cloned().collect();
    let mut attempts = Map::new();
    for id in ids {
        let query = AttemptQuery { registration_id: Some(id.clone()), page: all() };
        let of_one = store.attempts(scope, query).await.unwrap().items;
        attempts.insert(id.to_string(), json!(of_one));
    }
    let configuration = store.configuration(scope).await.unwrap();
    let trust = configuration.trust();
    let usage = store.usage(scope, Day::from_number(0), Day::from_number(1_000_000)).await.unwrap();
    let usage: Vec<_> = usage.iter().map(|it| json!([it.day.number(), it.kind.name(), it.count])).collect();
    json!({
        "individuals": individuals,
        "groups": configuration.group_page(&all()).items,
        "certificates": each(trust.certificates()),
        "revocation_lists": each(trust.lists()),
        "blocks": each(trust.blocks()),
        "registrations": registrations,
        "cleanups": store.cleanups(scope, all()).await.unwrap().items,
        "attempts": attempts,
        "usage": usage,
    })
}

fn each<'a, T: Serialize + 'a>(records: impl Iterator<Item = &'a Arc<T>>) -> Vec<Value> {
    records.map(|record| json!(**record)).collect()
}

/// A copy of the database of version 1, which opening changes.
struct Copy(TempDir);

impl Copy {
    fn new() -> Copy {
        let (folder, fixture) = (tempfile::tempdir().unwrap(), fixture());
        fs::copy(fixture.join("data/muster.db"), folder.path().join("muster.db")).unwrap();
        fs::copy(fixture.join("data/master.key"), folder.path().join("master.key")).unwrap();
        Copy(folder)
    }

    fn open(&self) -> EmbeddedStore {
        let sealer = Sealer::load_or_create(&self.0.path().join("master.key")).unwrap();
        EmbeddedStore::open(&self.0.path().join("muster.db"), sealer).unwrap()
    }
}

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1"))
}

fn plant() -> IdScope {
    IdScope::parse("0ne00000001").unwrap()
}

async fn lists(store: &EmbeddedStore) -> Vec<Arc<RevocationList>> {
    store.configuration(&plant()).await.unwrap().trust().lists().cloned().collect()
}

async fn commit(store: &EmbeddedStore, expect: Expect, change: Change) {
    let commit = Commit { changes: vec![(expect, change)], ..Commit::by(sample::by()) };
    assert_eq!(store.commit(&plant(), commit).await.unwrap(), [Outcome::Applied]);
}

#[tokio::test]
async fn the_one_list_of_a_ca_becomes_the_first_of_several() {
    let copy = Copy::new();
    let store = copy.open();
    let [first] = lists(&store).await.try_into().unwrap();
    let published = fs::read_to_string(fixture().join("inter.crl")).unwrap();
    assert_eq!(first.crl, Crl::parse(&published).unwrap());
    assert_eq!((first.id.clone(), first.authority.as_str()), (ListId::first(), "plant-line-1"));

    // It can be written again, and has room for another one beside it.
    let version = Expect::Version(first.record.etag.clone());
    commit(&store, version, Change::PutRevocationList(Box::new(RevocationList::clone(&first)))).await;
    let second = RevocationList { id: ListId::of(&first.crl), ..RevocationList::clone(&first) };
    commit(&store, Expect::Absent, Change::PutRevocationList(Box::new(second))).await;
    store.close().await;
    let store = copy.open();
    assert_eq!(lists(&store).await.len(), 2);

    let gone = Change::DeleteRevocationList(CaReference::parse("plant-line-1").unwrap(), ListId::first());
    commit(&store, Expect::Present, gone).await;
    store.close().await;
    let left: Vec<_> = lists(&copy.open()).await.iter().map(|list| list.id.clone()).collect();
    assert_eq!(left, [ListId::of(&first.crl)], "the one of version 1 is deleted");
}

/// Places of registrations stand beside their documents since version 2; those of version 1 are filled in.
#[tokio::test]
async fn places_of_version_1_are_filled_in() {
    let copy = Copy::new();
    for opened in ["migrated", "opened again"] {
        let store = copy.open();
        let (mut placed, page) = (0, PageRequest { after: None, limit: 1000 });
        for status in StatusKind::ALL {
            for registration in store.registrations_in(&plant(), status, page.clone()).await.unwrap().items {
                let (at, to) = registration.hub_devices();
                for place in [at, to].into_iter().flatten() {
                    let other = model::RegistrationId::parse("another").unwrap();
                    let found = store.hub_device(&place, &plant(), &other).await.unwrap();
                    let owner = found.other_owner.unwrap();
                    assert_eq!(owner.id_scope, plant(), "{opened}");
                    assert_eq!(owner.registration_id, registration.registration_id, "{opened}");
                    placed += 1;
                }
            }
        }
        assert!(placed > 3, "{opened}: {placed}");
        store.close().await;
    }
}
