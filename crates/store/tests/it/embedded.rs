//! What is the embedded store's own: its file, its key, and what it does not read.

use std::{fs, time::Duration};

use durable::{KeyCheckError, Sealer, rusqlite::Connection};
use model::{EnrollmentRef, Job, Registration, StatusKind, Timestamp};
use provisioning::ports::{
    Change, Cleanups, Commit, Commits, Damage, Enrollments, Expect, InstanceWriter, Instances, LeaseName,
    Leases, Outcome, PageRequest, Registrations, RunnerId, StoreError,
};
use store::{EmbeddedStore, OpenError};
use testkit::sample;

use crate::Directory;

#[tokio::test]
async fn opening_reads_neither_enrollments_nor_registrations() {
    let directory = filled().await;
    spoil(&directory, "UPDATE individuals SET document = x'00'; UPDATE registrations SET document = x'00'");
    let store = directory.open();
    let scope = sample::scope("one");
    assert!(store.configuration(&scope).await.unwrap().group(&sample::group_id("line")).unwrap().is_some());
    let unreadable = store.individual(&scope, &sample::registration_id("dev")).await;
    assert!(matches!(&unreadable, Err(StoreError::Damaged(record)) if record.id == "dev"), "{unreadable:?}");
    assert!(store.registration(&scope, &sample::registration_id("dev")).await.is_err());
}

#[tokio::test]
async fn what_is_damaged_turns_nobody_else_away_at_the_start() {
    for (table, id) in [("instances", "one"), ("groups", "line")] {
        let directory = filled().await;
        spoil(&directory, &format!("UPDATE {table} SET document = x'00'"));
        let store = directory.open();
        let known = store.known_damage().await.unwrap().records;
        assert!(matches!(known.as_slice(), [(_, record)] if record.id == id), "{known:?}");
        store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
        assert!(store.instance(&sample::scope("two")).await.unwrap().is_some());
        let over = store.put_instance(sample::instance("one"), sample::by()).await;
        assert_eq!(over.is_err(), table == "instances", "what cannot be read is not overwritten: {over:?}");
    }
}

/// A process that was killed holds nothing any more, and its successor waits for nothing.
#[tokio::test]
async fn opening_the_file_ends_the_leases_of_the_last_process() {
    let directory = filled().await;
    let (name, minute) = (LeaseName::Job(Job::Cleanups), Duration::from_secs(60));
    let [one, two] = [1, 2].map(|number| RunnerId::parse(&format!("{number:032x}")).unwrap());
    let store = directory.open();
    let lease = store.claim(&name, &one, minute).await.unwrap().unwrap();
    let beside = store.beside().unwrap();
    for handle in [&store, &beside] {
        let held: Vec<_> = handle.leases().await.unwrap().iter().map(|held| held.token).collect();
        assert_eq!(held, [lease.token]);
    }
    beside.close().await;
    store.close().await;
    let store = directory.open();
    let next = store.claim(&name, &two, minute).await.unwrap().unwrap();
    assert!(next.token > lease.token);
}

/// So that a process has its leases on a full disk.
#[tokio::test]
async fn leases_are_claimed_renewed_and_released_without_a_write() {
    let directory = filled().await;
    let store = directory.open();
    let log = directory.0.path().join("store.db-wal");
    let facts = || std::fs::metadata(&log).map(|it| (it.len(), it.modified().unwrap())).ok();
    let (before, day) = (facts(), Duration::from_secs(86_400));
    let runner = RunnerId::parse(&"0".repeat(32)).unwrap();
    let names = [LeaseName::Job(Job::Cleanups), LeaseName::Runner(runner.clone())];
    for name in names.iter().cycle().take(10) {
        assert!(store.claim(name, &runner, day).await.unwrap().is_some());
    }
    let [lease, _] = store.leases().await.unwrap().try_into().unwrap();
    store.release(lease.token).await.unwrap();
    assert_eq!(facts(), before);
}

/// An instance whose document was given up is taken over by the next one, with all that belongs to it.
#[tokio::test]
async fn the_next_document_of_an_instance_takes_over_what_belongs_to_it() {
    let directory = filled().await;
    spoil(&directory, "UPDATE instances SET document = x'00', given_up = 1");
    let store = directory.open();
    let scope = sample::scope("one");
    assert_eq!(store.instance(&scope).await.unwrap(), None);
    assert_eq!(store.known_damage().await.unwrap().records, []);
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    store.close().await;
    let store = directory.open();
    assert!(store.instance(&scope).await.unwrap().is_some());
    assert!(store.configuration(&scope).await.unwrap().group(&sample::group_id("line")).unwrap().is_some());
    assert!(store.individual(&scope, &sample::registration_id("dev")).await.unwrap().is_some());
}

/// The pages of a listing go through an index and its table. Where they disagree, or a row cannot be read, the listing names
/// the row: rows never go missing without a word.
#[tokio::test]
async fn rows_that_only_an_index_has_are_named() {
    for table in ["individuals", "registrations", "cleanups"] {
        let directory = filled().await;
        let (store, scope) = (directory.open(), sample::scope("one"));
        let ids = ["x-1", "x-2", "x-3"];
        let changes = ids.iter().flat_map(|id| {
            let enrollment = EnrollmentRef::Group(sample::group_id("line"));
            let registration = Registration { enrollment, ..sample::registration(id) };
            let assigning = sample::while_assigning(sample::registration(&format!("y-{id}")));
            [
                Change::PutIndividual(Box::new(sample::individual(id))),
                Change::PutRegistration(Box::new(registration)),
                Change::PutRegistration(Box::new(assigning)),
                Change::PutCleanup(Box::new(sample::cleanup("hub-1.example", id))),
            ]
        });
        put(&store, changes.collect()).await;
        store.close().await;
        lose_row(&directory, table, "x-2");
        let store = directory.open();
        let all = || PageRequest { after: None, limit: 1000 };
        let named: Vec<_> = match table {
            "individuals" => store.individuals(&scope, all()).await.unwrap().damaged,
            "registrations" => {
                let of_group = store.registrations_of(&scope, &sample::group_id("line"), all()).await;
                let assigned = store.registrations_in(&scope, StatusKind::Assigned, all()).await.unwrap();
                assert_eq!(assigned.items.len(), 2, "{assigned:?}");
                let assigning = store.registrations_in(&scope, StatusKind::Assigning, all()).await.unwrap();
                assert_eq!(assigning.items.len(), 4, "{assigning:?}");
                of_group.unwrap().damaged
            }
            _ => store.cleanups(&scope, all()).await.unwrap().damaged,
        };
        assert!(matches!(named.as_slice(), [record] if record.id.ends_with("x-2")), "{table}: {named:?}");
        let hub = sample::hub_name("hub-1.example");
        let due = store.cleanups_due(&scope, &hub, Timestamp::from_unix_seconds(4_000_000_000), 9).await;
        let due = due.unwrap();
        let missing = usize::from(table == "cleanups");
        assert_eq!((due.items.len(), due.damaged.len()), (3 - missing, missing), "{table}");
    }
}

/// Takes a row from its table and leaves it in the indexes, as a lost page does.
pub fn lose_row(directory: &Directory, table: &str, id: &str) {
    let database = Connection::open(path(directory)).unwrap();
    // SQLite deletes from the indexes that the schema names: for a moment it names none.
    let hide = format!(
        "PRAGMA writable_schema = ON;
         CREATE TEMP TABLE kept AS SELECT rowid AS at, * FROM sqlite_schema WHERE tbl_name = '{table}' AND type = 'index';
         DELETE FROM sqlite_schema WHERE tbl_name = '{table}' AND type = 'index';
         UPDATE sqlite_schema SET sql = replace(replace(sql, ',
        UNIQUE (instance, id)', ''), 'UNIQUE (instance, id)', '') WHERE tbl_name = '{table}' AND type = 'table';"
    );
    let original: String = database
        .query_row("SELECT sql FROM sqlite_schema WHERE name = ?1 AND type = 'table'", [table], |row| {
            row.get(0)
        })
        .unwrap();
    let version: i64 = database.query_row("PRAGMA schema_version", [], |row| row.get(0)).unwrap();
    database.execute_batch(&hide).unwrap();
    database.execute_batch(&format!("PRAGMA schema_version = {}", version + 1)).unwrap();
    database.execute_batch("ATTACH ':memory:' AS other; DETACH other").unwrap();
    let bare = Connection::open(path(directory)).unwrap();
    let gone =
        bare.execute(&format!("DELETE FROM {table} WHERE id LIKE '%' || ?1 AND id NOT LIKE 'y-%'"), [id]);
    assert_eq!(gone.unwrap(), 1);
    drop(bare);
    database
        .execute("UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1 AND type = 'table'", [table, &original])
        .unwrap();
    database
        .execute_batch(&format!(
            "INSERT INTO sqlite_schema (rowid, type, name, tbl_name, rootpage, sql)
                 SELECT at, type, name, tbl_name, rootpage, sql FROM kept;
             PRAGMA schema_version = {};",
            version + 2
        ))
        .unwrap();
}

#[tokio::test]
async fn a_document_opens_only_in_its_own_row() {
    let directory = filled().await;
    let scope = sample::scope("one");
    let other = Change::PutIndividual(Box::new(sample::individual("other")));
    let store = directory.open();
    put(&store, vec![other]).await;
    store.close().await;
    spoil(
        &directory,
        "UPDATE individuals SET document = (SELECT document FROM individuals WHERE id = 'other')",
    );
    let store = directory.open();
    assert!(store.individual(&scope, &sample::registration_id("other")).await.unwrap().is_some());
    assert!(store.individual(&scope, &sample::registration_id("dev")).await.is_err());
}

#[tokio::test]
async fn a_wrong_key_is_told_when_opening() {
    let directory = filled().await;
    let error = EmbeddedStore::open(&path(&directory), Sealer::from_key([8; 32])).unwrap_err();
    assert!(matches!(error, OpenError::Key(KeyCheckError::WrongKey)), "{error:?}");
    assert!(directory.open().instance(&sample::scope("one")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_page_of_large_records_ends_early_and_goes_on() {
    let (directory, scope) = (filled().await, sample::scope("one"));
    let store = directory.open();
    let large = |number: u32| {
        let mut individual = sample::individual(&format!("dev-{number:03}"));
        let filler = serde_json::json!({ "filler": "x".repeat(90_000) });
        individual.device_information = Some(filler.as_object().unwrap().clone().into());
        Change::PutIndividual(Box::new(individual))
    };
    put(&store, (0..100).map(large).collect()).await;
    let (mut sizes, mut ids, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.individuals(&scope, PageRequest { after, limit: 1000 }).await.unwrap();
        sizes.push(page.items.len());
        ids.extend(page.items.into_iter().map(|it| it.registration_id.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(sizes.len() >= 3 && sizes.iter().all(|size| (1..=50).contains(size)), "{sizes:?}");
    let expected = std::iter::once("dev".to_owned()).chain((0..100).map(|number| format!("dev-{number:03}")));
    assert_eq!(ids, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_opens_once_at_a_time() {
    let directory = filled().await;
    let first = directory.open();
    let second = EmbeddedStore::open(&path(&directory), crate::sealer());
    assert!(matches!(second, Err(OpenError::Database(durable::OpenError::InUse { .. }))), "{second:?}");
    drop(first);
    directory.open();
}

#[tokio::test]
async fn secrets_are_not_in_the_files() {
    let directory = Directory::new();
    let store = directory.open();
    fill(&store).await;
    let files = |directory: &Directory| {
        let entries = fs::read_dir(directory.0.path()).unwrap();
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect::<Vec<_>>().concat()
    };
    let while_open = files(&directory);
    store.close().await;
    let closed = files(&directory);
    let secrets = [
        sample::key(10).to_base64(),
        sample::key(20).to_base64(),
        "webhook.example".to_owned(),
        "Küche".to_owned(),
    ];
    for content in [while_open, closed] {
        let holds = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("registrations_of"), "the search finds what is in clear");
        for secret in &secrets {
            assert!(!holds(secret), "{secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_share_their_fsync() {
    let directory = Directory::new();
    let store = directory.open();
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let before = store.batches();
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..400 {
        let store = store.clone();
        let change = Change::PutRegistration(Box::new(sample::registration(&format!("dev-{index}"))));
        tasks.spawn(async move { put(&store, vec![change]).await });
    }
    tasks.join_all().await;
    let batches = store.batches() - before;
    assert!(batches < 200, "{batches} batches for 400 commits");
}

#[tokio::test]
async fn a_closed_store_refuses_without_a_trace() {
    let directory = filled().await;
    let store = directory.open();
    store.clone().close().await;
    let scope = sample::scope("one");
    let change = Change::PutGroup(Box::new(sample::group("late")));
    let commit = Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(sample::by()) };
    assert!(matches!(store.commit(&scope, commit).await, Err(StoreError::Unwritable(_))));
    assert!(store.put_instance(sample::instance("late"), sample::by()).await.is_err());
    assert_eq!(store.configuration(&scope).await.unwrap().group(&sample::group_id("late")).unwrap(), None);
    assert_eq!(store.snapshot().await.unwrap().instances().len(), 1);
}

/// A closed store with one of everything.
async fn filled() -> Directory {
    let directory = Directory::new();
    let store = directory.open();
    fill(&store).await;
    store.close().await;
    directory
}

async fn fill(store: &EmbeddedStore) {
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let changes = vec![
        Change::PutIndividual(Box::new(sample::individual("dev"))),
        Change::PutGroup(Box::new(sample::group("line"))),
        Change::PutRegistration(Box::new(sample::while_assigning(sample::registration("dev")))),
    ];
    put(store, changes).await;
}

async fn put(store: &EmbeddedStore, changes: Vec<Change>) {
    let count = changes.len();
    let changes = changes.into_iter().map(|change| (Expect::Absent, change)).collect();
    let outcomes = store.commit(&sample::scope("one"), Commit { changes, ..Commit::by(sample::by()) }).await;
    assert_eq!(outcomes.unwrap(), vec![Outcome::Applied; count]);
}

/// Changes the file behind the store's back.
pub fn spoil(directory: &Directory, sql: &str) {
    Connection::open(path(directory)).unwrap().execute_batch(sql).unwrap();
}

pub fn path(directory: &Directory) -> std::path::PathBuf {
    directory.0.path().join("store.db")
}
