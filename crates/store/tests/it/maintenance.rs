//! Looking for damage in a whole store, and dropping and restoring single records.

use std::{fs, time::Duration};

use durable::Sealer;
use model::{EnrollmentRef, Registration};
use provisioning::ports::{Attempts, Change, Commit, Commits, Expect, InstanceWriter, Instances, Outcome};
use store::{EmbeddedStore, OpenError, RecordName, RepairError};
use testkit::{ca::Authority, crl::Revocations, sample};

use crate::{
    Directory,
    embedded::{lose_row, path, spoil},
};

const PATIENT: Duration = Duration::from_secs(60);

/// The record of each table, and whether a backup of it is of use.
const RECORDS: [(&str, &str, bool); 9] = [
    ("instances", "instances/one", true),
    ("individuals", "individuals/one/dev", true),
    ("groups", "groups/one/line", true),
    ("certificates", "certificates/one/root", true),
    ("revocation_lists", "revocation_lists/one/root", true),
    ("blocks", "", true),
    ("registrations", "registrations/one/dev", true),
    ("cleanups", "cleanups/one/hub-1.example/Dev", false),
    ("attempts", "attempts/one/dev", false),
];

async fn filled() -> Directory {
    let directory = Directory::new();
    let store = directory.open();
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let root = Authority::root("Root");
    let list = Revocations::made_at(1, sample::record("x").created).signed_by(&root);
    let registration = Registration {
        enrollment: EnrollmentRef::Group(sample::group_id("line")),
        ..sample::registration("dev")
    };
    let changes = [
        Change::PutIndividual(Box::new(sample::individual("dev"))),
        Change::PutGroup(Box::new(sample::group("line"))),
        Change::PutCertificate(Box::new(sample::ca_certificate("root", &root.certificate()))),
        Change::PutRevocationList(Box::new(sample::revocation_list("root", &list))),
        Change::PutBlock(Box::new(sample::block(&root.certificate()))),
        Change::PutRegistration(Box::new(registration)),
        Change::PutCleanup(Box::new(sample::cleanup("hub-1.example", "Dev"))),
    ];
    let count = changes.len();
    let changes = changes.into_iter().map(|change| (Expect::Absent, change)).collect();
    let outcomes = store.commit(&sample::scope("one"), Commit { changes, ..Commit::by(sample::by()) }).await;
    assert_eq!(outcomes.unwrap(), vec![Outcome::Applied; count]);
    let (_, attempt) = sample::attempts("dev").into_iter().next().unwrap();
    store.keep_attempts(&sample::scope("one"), vec![attempt]).await.unwrap();
    store.close().await;
    directory
}

/// The name of the only record that is damaged.
fn only_damaged(store: &EmbeddedStore) -> RecordName {
    let inspection = store.inspect(PATIENT).unwrap();
    let [(name, reason)] = inspection.damaged.as_slice() else { panic!("{inspection:?}") };
    assert!(!reason.is_empty() && inspection.file.problems.is_empty(), "{inspection:?}");
    name.parse().unwrap()
}

#[tokio::test]
async fn each_record_is_found_dropped_and_restored() {
    for (table, name, has_use) in RECORDS {
        let directory = filled().await;
        let backup = directory.0.path().join("backup.db");
        fs::copy(path(&directory), &backup).unwrap();
        let store = directory.open();
        let sound = store.inspect(PATIENT).unwrap();
        assert_eq!(sound.damaged, [], "{table}");
        assert!(sound.counts.iter().all(|(_, count)| *count == 1), "{sound:?}");
        if !name.is_empty() {
            let refused = store.drop_record(&name.parse().unwrap(), sample::by().at).await;
            assert!(matches!(refused, Err(RepairError::Readable(_))), "{table}: {refused:?}");
        }
        store.close().await;

        spoil(&directory, &format!("UPDATE {table} SET document = x'0102'"));
        let look = EmbeddedStore::look(&path(&directory), crate::sealer()).unwrap();
        let found = only_damaged(&look);
        assert!(name.is_empty() || found.to_string() == name, "{found}");
        drop(look);

        let store = directory.open();
        let from = EmbeddedStore::look(&backup, crate::sealer()).unwrap();
        let restored = store.restore_record(&found, &from, sample::by().at).await;
        assert_eq!(restored.is_ok(), has_use, "{table}: {restored:?}");
        if has_use {
            assert_eq!(store.inspect(PATIENT).unwrap().damaged, [], "{table}");
            store.close().await;
            spoil(&directory, &format!("UPDATE {table} SET document = x'0102'"));
        } else {
            store.close().await;
        }
        let store = directory.open();
        store.drop_record(&only_damaged(&store), sample::by().at).await.unwrap();
        store.close().await;
        let store = directory.open();
        assert_eq!(store.inspect(PATIENT).unwrap().damaged, [], "{table}");
        // An instance that was given up keeps its records and takes the next document.
        store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
        let total: u64 = store.inspect(PATIENT).unwrap().counts.iter().map(|(_, count)| count).sum();
        assert_eq!(total, if table == "instances" { 9 } else { 8 }, "{table}");
    }
}

#[tokio::test]
async fn rows_that_an_index_lost_come_back() {
    let directory = filled().await;
    lose_row(&directory, "registrations", "dev");
    let store = directory.open();
    assert!(!store.inspect(PATIENT).unwrap().file.problems.is_empty());
    store.rebuild_indexes().await.unwrap();
    let inspection = store.inspect(PATIENT).unwrap();
    assert!(inspection.file.problems.is_empty() && inspection.damaged.is_empty(), "{inspection:?}");
}

/// A damaged key check is no wrong key: documents tell.
#[tokio::test]
async fn a_damaged_key_check_locks_nobody_out() {
    let directory = filled().await;
    spoil(&directory, "UPDATE meta SET value = x'01' WHERE key = 'key_check'");
    let wrong = EmbeddedStore::open(&path(&directory), Sealer::from_key([8; 32]));
    assert!(matches!(wrong, Err(OpenError::Key(_))), "{wrong:?}");
    let store = directory.open();
    assert!(store.instance(&sample::scope("one")).await.unwrap().is_some());
    store.close().await;
    directory.open();
}

#[test]
fn names_of_records() {
    for name in
        ["instances/one", "groups/one/line", "cleanups/one/hub.example/Dev", "revocation_lists/one/a\\n0f"]
    {
        assert_eq!(name.parse::<RecordName>().unwrap().to_string(), name);
    }
    for text in
        ["", "groups", "groups/one", "groups/one/", "usage/one/x", "sqlite_schema/one/x", "groups/a b/x"]
    {
        assert!(matches!(text.parse::<RecordName>(), Err(RepairError::Name(_))), "{text}");
    }
}
