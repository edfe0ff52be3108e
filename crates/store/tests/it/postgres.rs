//! The engine in a PostgreSQL database: what the conformance suite does not say.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Attribution, IndividualEnrollment, Timestamp};
use provisioning::ports::{
    Change, ChangeLog, Clock, Commit, Commits, Enrollments, Expect, LogQuery, LogRetention, Store,
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

use crate::{
    lanes::{commit, connect, open, settings},
    sealer,
};

/// An empty database, in which a store is opened.
struct Location(Database);

#[async_trait]
impl StoreLocation for Location {
    async fn open(&self) -> Arc<dyn Store> {
        connect(&self.0).await
    }

    async fn open_twice(&self) -> [Arc<dyn Store>; 2] {
        [self.open().await, self.open().await]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_passes_the_conformance_suite() {
    store_suite::run(|| Location(Postgres::shared().database())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_opened_with_the_key_it_was_written_with() {
    let database = Postgres::shared().database();
    connect(&database).await;
    let other = durable::Sealer::from_key([8; 32]);
    let refused = PostgresStore::connect(settings(&database), other).await;
    assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::WrongKey))), "{refused:?}");
    connect(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_create_the_tables_at_the_same_time() {
    let database = Postgres::shared().database();
    let start = |_| {
        let database = database.clone();
        tokio::spawn(async move { connect(&database).await })
    };
    for started in (0..4).map(start).collect::<Vec<_>>() {
        started.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_closed_leaves_its_lanes_to_the_next() {
    let database = Postgres::shared().database();
    let [mut store] = open(&database).await;
    let sql = |sql: &str| Postgres::shared().execute(&database.name, sql);
    for _ in 0..5 {
        for number in 0..8 {
            let group = sample::group(&format!("line-{number}"));
            commit(&store, Expect::Anything, Change::PutGroup(Box::new(group))).await.unwrap();
        }
        drop(store);
        while sql("SELECT count(*) FROM lanes WHERE until > now()") != "0" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        store = connect(&database).await;
    }
    assert_eq!(sql("SELECT count(*) FROM lanes"), "2");
}

/// Nodes have clocks that differ, and name their own times in entries: the age of an entry is measured by the database.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_trimmed_by_the_clock_of_the_database() {
    let (database, scope) = (Postgres::shared().database(), sample::scope("one"));
    let [store] = open(&database).await;
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
    Postgres::shared().execute(&database.name, older);
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
    let [imported, committed] = [(); 2].map(|()| Postgres::shared().database());
    let ([imported_to], [committed_to]) = (open(&imported).await, open(&committed).await);
    let scope = sample::scope("one");
    for enrollment in enrollments.clone() {
        let change = Change::PutIndividual(Box::new(enrollment));
        commit(&committed_to, Expect::Absent, change).await.unwrap();
    }
    assert!(imported_to.import_individuals(&scope, enrollments.clone()).await.unwrap());
    for enrollment in &enrollments {
        let found = imported_to.individual(&scope, &enrollment.registration_id).await.unwrap();
        assert_eq!(found.as_ref(), Some(enrollment));
    }
    let rows = |database: &Database| {
        let sql = "SELECT instance, id, etag, expires, length(document) FROM individuals ORDER BY id";
        Postgres::shared().execute(&database.name, sql)
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
