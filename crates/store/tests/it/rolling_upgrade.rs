//! Versions of the tables in a PostgreSQL database: releases before, of now and after on the same one.

use std::{collections::BTreeSet, time::Duration};

use model::RegistrationId;
use provisioning::ports::{Change, Commit, Commits, Enrollments, Expect, InstanceWriter, Usage};
use store::{
    PostgresStore,
    postgres::{ConnectError, Schema, SchemaError},
};
use testkit::{
    postgres::{NEXT_RELEASE, Postgres},
    sample,
};

use crate::{postgres::Location, sealer};

fn version(location: &Location) -> String {
    Postgres::shared().execute(location.name(), "SELECT version FROM schema")
}

fn set_version(location: &Location, version: usize) {
    Postgres::shared().execute(location.name(), &format!("UPDATE schema SET version = {version}"));
}

/// Creates an enrollment and counts it.
async fn enroll(store: &PostgresStore, number: usize) {
    let id = RegistrationId::parse(format!("dev-{number}")).unwrap();
    let changes = vec![(Expect::Absent, Change::PutIndividual(Box::new(sample::individual(id.as_str()))))];
    let commit = Commit { changes, ..Commit::by(sample::by()) };
    store.commit(&sample::scope("one"), commit).await.unwrap();
}

/// Every version that was released leads to the same tables as a new database has.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_each_release_is_migrated_to_the_same_tables() {
    let tables = |location: &Location| {
        let sql = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns \
                   WHERE table_schema = 'public' ORDER BY 1, 2";
        let columns = Postgres::shared().execute(location.name(), sql);
        columns.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let new = Location::new();
    new.connect().await;
    let newest: usize = version(&new).parse().unwrap();
    for released in 1..newest {
        let location = Location::new();
        PostgresStore::migrate(location.settings(), Schema::default().up_to(released)).await.unwrap();
        assert_eq!(version(&location), released.to_string());
        let refused = PostgresStore::connect(location.settings(), sealer()).await.unwrap_err();
        assert!(refused.to_string().contains("muster store migrate"), "{refused}");
        let refused = PostgresStore::look(location.settings(), sealer()).await;
        assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::Older { .. }))), "{refused:?}");
        PostgresStore::migrate(location.settings(), Schema::default()).await.unwrap();
        assert_eq!(tables(&location), tables(&new));
        location.connect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_the_next_version_are_used_and_later_ones_are_refused() {
    let location = Location::new();
    location.connect().await;
    let newest: usize = version(&location).parse().unwrap();
    set_version(&location, newest + 1);
    location.connect().await;
    set_version(&location, newest + 2);
    let refused = PostgresStore::connect(location.settings(), sealer()).await;
    assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::Newer { .. }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_goes_on_while_a_later_release_migrates_its_tables() {
    let location = Location::new();
    let store = location.connect().await;
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let next = Schema::default().followed_by(NEXT_RELEASE);
    let migrate = || tokio::spawn(PostgresStore::migrate(location.settings(), next.clone()));
    // Statements were prepared before.
    enroll(&store, 0).await;
    let migrations = [migrate(), migrate(), migrate()];
    let mut count = 1;
    while !migrations.iter().all(tokio::task::JoinHandle::is_finished) || count < 50 {
        enroll(&store, count).await;
        count += 1;
    }
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    enroll(&store, count).await;
    let found = "SELECT count(*) FROM individuals WHERE note = ''";
    assert_eq!(Postgres::shared().execute(location.name(), found), (count + 1).to_string());
    let lease = "SELECT count(*) FROM leases WHERE name = 'schema/migration'";
    assert_eq!(Postgres::shared().execute(location.name(), lease), "0", "it is released");

    let beside = location.connect().await;
    enroll(&beside, count + 1).await;
    let id = RegistrationId::parse(format!("dev-{}", count + 1)).unwrap();
    assert!(store.individual(&sample::scope("one"), &id).await.unwrap().is_some());
}

/// The holder of the lease ended in the middle, and another one follows when the lease has ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_migration_is_repeated() {
    let location = Location::new();
    location.connect().await;
    let newest: usize = version(&location).parse().unwrap();
    let sql = |sql: &str| Postgres::shared().execute(location.name(), sql);
    sql(
        "CREATE TABLE of_the_next_release (instance int NOT NULL, id text NOT NULL, PRIMARY KEY (instance, id))",
    );
    sql("INSERT INTO leases VALUES (1000, 'schema/migration', 'another', now() + interval '1 second')");
    let next = Schema::default().followed_by(NEXT_RELEASE);
    PostgresStore::migrate(location.settings(), next).await.unwrap();
    assert_eq!(version(&location), (newest + 1).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_locks_only_briefly() {
    let location = Location::new();
    let store = location.connect().await;
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let settings = location.settings();
    let reader = tokio::task::spawn_blocking({
        let name = location.name().to_owned();
        move || {
            // As a backup does, which reads for long.
            Postgres::shared()
                .execute(&name, "BEGIN; SELECT count(*) FROM individuals; SELECT pg_sleep(3); COMMIT")
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let migration =
        tokio::spawn(PostgresStore::migrate(settings, Schema::default().followed_by(NEXT_RELEASE)));
    let mut longest = Duration::ZERO;
    for number in 0..20 {
        let started = std::time::Instant::now();
        enroll(&store, number).await;
        longest = longest.max(started.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(longest < Duration::from_millis(2500), "a commit took {longest:?}");
    reader.await.unwrap();
    migration.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_copy_is_opened_by_nothing_but_a_copy() {
    let location = Location::new();
    let begin = async || PostgresStore::begin_copy(location.settings(), sealer(), "old.db").await;
    let copy = begin().await.unwrap();
    copy.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    for refused in [
        PostgresStore::connect(location.settings(), sealer()).await.map(drop),
        PostgresStore::look(location.settings(), sealer()).await.map(drop),
    ] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("muster store copy --from sqlite:old.db"), "{text}");
    }
    begin().await.unwrap().finish_copy().await.unwrap();
    let store = location.connect().await;
    assert_eq!(
        store
            .usage(&sample::scope("one"), model::Day::from_number(0), model::Day::from_number(1))
            .await
            .unwrap(),
        []
    );
    let refused = begin().await;
    assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::NotEmpty))), "{refused:?}");
}
