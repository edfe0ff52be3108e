//! The engine in a PostgreSQL database: what the conformance suite does not say.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Attribution, IndividualEnrollment, Timestamp};
use provisioning::ports::{
    Change, ChangeLog, Clock, Commit, Commits, Enrollments, Expect, InstanceWriter, LogQuery, LogRetention,
    Store,
};
use store::{
    PostgresStore, SystemClock,
    postgres::{ConnectError, SchemaError, Settings},
};
use testkit::{
    ca::Authority,
    postgres::{Database, Postgres},
    sample,
    store_suite::{self, StoreLocation},
};

use crate::sealer;

/// An empty database, in which a store is opened.
pub(crate) struct Location(Database);

impl Location {
    pub(crate) fn new() -> Location {
        Location(Postgres::shared().database())
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::parse(&self.0.url()).unwrap()
    }

    pub(crate) async fn connect(&self) -> PostgresStore {
        PostgresStore::connect(self.settings(), sealer()).await.unwrap()
    }
}

#[async_trait]
impl StoreLocation for Location {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.connect().await)
    }

    async fn open_twice(&self) -> [Arc<dyn Store>; 2] {
        [self.open().await, self.open().await]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_passes_the_conformance_suite() {
    store_suite::run(Location::new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_opened_with_the_key_it_was_written_with() {
    let location = Location::new();
    location.connect().await;
    let other = durable::Sealer::from_key([8; 32]);
    let refused = PostgresStore::connect(location.settings(), other).await;
    assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::WrongKey))), "{refused:?}");
    location.connect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_create_the_tables_at_the_same_time() {
    let location = Arc::new(Location::new());
    let start = |_| {
        let location = Arc::clone(&location);
        tokio::spawn(async move { location.connect().await })
    };
    for started in (0..4).map(start).collect::<Vec<_>>() {
        started.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_closed_leaves_its_lanes_to_the_next() {
    let location = Location::new();
    for round in 0..5 {
        let store = location.connect().await;
        if round == 0 {
            store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
        }
        for number in 0..8 {
            let group = sample::group(&format!("line-{number}"));
            let changes = vec![(Expect::Anything, Change::PutGroup(Box::new(group)))];
            let commit = Commit { changes, ..Commit::by(sample::by()) };
            store.commit(&sample::scope("one"), commit).await.unwrap();
        }
        drop(store);
        let left =
            || Postgres::shared().execute(&location.0.name, "SELECT count(*) FROM lanes WHERE until > now()");
        while left() != "0" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert_eq!(Postgres::shared().execute(&location.0.name, "SELECT count(*) FROM lanes"), "2");
}

/// Nodes have clocks that differ, and name their own times in entries: the age of an entry is measured by the database.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_trimmed_by_the_clock_of_the_database() {
    let location = Location::new();
    let (store, scope) = (location.connect().await, sample::scope("one"));
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    for seconds in [0, 9_000_000_000] {
        let by = Attribution { at: Timestamp::from_unix_seconds(seconds), ..sample::by() };
        let changes = vec![(Expect::Anything, Change::PutGroup(Box::new(sample::group("line"))))];
        store.commit(&scope, Commit { changes, ..Commit::by(by) }).await.unwrap();
    }
    let left = async || {
        let keep = LogRetention { since: SystemClock.now().plus_seconds(-86_400), rows: 1000 };
        assert!(!store.trim_log(keep).await.unwrap());
        let query = LogQuery { limit: 100, ..LogQuery::default() };
        store.read_log(&scope, query).await.unwrap().entries.len()
    };
    assert_eq!(left().await, 3);
    let older = "UPDATE log SET written = written - interval '2 days' WHERE kind = 0";
    Postgres::shared().execute(&location.0.name, older);
    assert_eq!(left().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_enrollments_are_like_committed_ones() {
    let leaf = Authority::root("maker").certificate();
    let attestations = sample::individual_attestations(&leaf).into_iter().enumerate();
    let enrollments: Vec<_> = attestations
        .map(|(number, (_, attestation))| IndividualEnrollment {
            attestation,
            ..sample::individual(&format!("Dev-{number}"))
        })
        .collect();
    let (imported, committed) = (Location::new(), Location::new());
    let (imported_to, committed_to) = (imported.connect().await, committed.connect().await);
    let scope = sample::scope("one");
    for store in [&imported_to, &committed_to] {
        store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    }
    for enrollment in enrollments.clone() {
        let changes = vec![(Expect::Absent, Change::PutIndividual(Box::new(enrollment)))];
        committed_to.commit(&scope, Commit { changes, ..Commit::by(sample::by()) }).await.unwrap();
    }
    assert!(imported_to.import_individuals(&scope, enrollments.clone()).await.unwrap());
    for enrollment in &enrollments {
        let found = imported_to.individual(&scope, &enrollment.registration_id).await.unwrap();
        assert_eq!(found.as_ref(), Some(enrollment));
    }
    let rows = |location: &Location| {
        let sql = "SELECT instance, id, etag, expires, length(document) FROM individuals ORDER BY id";
        Postgres::shared().execute(&location.0.name, sql)
    };
    assert_eq!(rows(&imported), rows(&committed));

    let again = [enrollments[0].clone(), sample::individual("new")];
    assert!(!imported_to.import_individuals(&scope, again.into()).await.unwrap(), "one is there already");
    assert_eq!(rows(&imported), rows(&committed), "none is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    let settings = Settings::parse("postgres://muster:secret@127.0.0.1:1/muster?sslmode=disable").unwrap();
    let refused = PostgresStore::connect(settings, sealer()).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("127.0.0.1:1/muster") && !text.contains("secret"), "{text}");
}
