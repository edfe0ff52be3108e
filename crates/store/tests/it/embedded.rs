//! What is the embedded store's own: its file, its key, and what it does not read.

use std::fs;

use durable::rusqlite::Connection;
use durable::{KeyCheckError, Sealer};
use provisioning::ports::{Change, Commit, Expect, Outcome, PageRequest, Store, StoreError};
use store::{EmbeddedStore, OpenError};
use testkit::sample;

use crate::Directory;

#[tokio::test]
async fn opening_reads_neither_enrollments_nor_registrations() {
    let directory = filled().await;
    spoil(&directory, "UPDATE individuals SET document = x'00'; UPDATE registrations SET document = x'00'");
    let store = directory.open();
    let scope = sample::scope("one");
    assert!(store.group(&scope, &sample::group_id("line")).await.unwrap().is_some());
    let unreadable = store.individual(&scope, &sample::registration_id("dev")).await;
    assert!(matches!(&unreadable, Err(StoreError::Broken(text)) if text.contains("dev")), "{unreadable:?}");
    assert!(store.registration(&scope, &sample::registration_id("dev")).await.is_err());
}

#[tokio::test]
async fn what_is_read_when_opening_must_be_readable() {
    for table in ["instances", "groups"] {
        let directory = filled().await;
        spoil(&directory, &format!("UPDATE {table} SET document = x'00'"));
        let error = EmbeddedStore::open(&path(&directory), crate::sealer()).unwrap_err();
        assert!(matches!(&error, OpenError::Content(_)), "{error:?}");
        assert!(error.to_string().contains(table), "{error}");
    }
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
    store.put_instance(sample::instance("one")).await.unwrap();
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
    let commit = Commit { changes: vec![(Expect::Anything, change)], operation: None };
    assert!(matches!(store.commit(&scope, commit).await, Err(StoreError::Unwritable(_))));
    assert!(store.put_instance(sample::instance("late")).await.is_err());
    assert_eq!(store.group(&scope, &sample::group_id("late")).await.unwrap(), None);
    assert_eq!(store.instances().await.unwrap().len(), 1);
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
    store.put_instance(sample::instance("one")).await.unwrap();
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
    let outcomes = store.commit(&sample::scope("one"), Commit { changes, operation: None }).await;
    assert_eq!(outcomes.unwrap(), vec![Outcome::Applied; count]);
}

/// Changes the file behind the store's back.
fn spoil(directory: &Directory, sql: &str) {
    Connection::open(path(directory)).unwrap().execute_batch(sql).unwrap();
}

fn path(directory: &Directory) -> std::path::PathBuf {
    directory.0.path().join("store.db")
}
