//! Versions of the tables in a PostgreSQL database: releases before, of now and after on the same one.

use std::{collections::BTreeSet, time::Duration};

use model::RegistrationId;
use provisioning::ports::{Change, Enrollments, Expect, InstanceWriter, Usage};
use store::{
    PostgresStore,
    postgres::{ConnectError, Schema, SchemaError},
};
use testkit::{
    postgres::{Database, NEXT_RELEASE, Postgres},
    sample,
};

use crate::{
    lanes::{commit, connect, open, settings},
    sealer,
};

fn version(database: &Database) -> String {
    Postgres::shared().execute(&database.name, "SELECT version FROM schema")
}

fn set_version(database: &Database, version: usize) {
    Postgres::shared().execute(&database.name, &format!("UPDATE schema SET version = {version}"));
}

/// Creates an enrollment and counts it.
async fn enroll(store: &PostgresStore, number: usize) {
    let id = RegistrationId::parse(format!("dev-{number}")).unwrap();
    let change = Change::PutIndividual(Box::new(sample::individual(id.as_str())));
    commit(store, Expect::Absent, change).await.unwrap();
}

/// Every version that was released leads to the same tables as a new database has.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_each_release_is_migrated_to_the_same_tables() {
    let tables = |database: &Database| {
        let sql = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns \
                   WHERE table_schema = 'public' ORDER BY 1, 2";
        let columns = Postgres::shared().execute(&database.name, sql);
        columns.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let new = Postgres::shared().database();
    connect(&new).await;
    let newest: usize = version(&new).parse().unwrap();
    for released in 1..newest {
        let database = Postgres::shared().database();
        PostgresStore::migrate(settings(&database), Schema::default().up_to(released)).await.unwrap();
        assert_eq!(version(&database), released.to_string());
        let refused = PostgresStore::connect(settings(&database), sealer()).await.unwrap_err();
        assert!(refused.to_string().contains("muster store migrate"), "{refused}");
        let refused = PostgresStore::look(settings(&database), sealer()).await;
        assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::Older { .. }))), "{refused:?}");
        PostgresStore::migrate(settings(&database), Schema::default()).await.unwrap();
        assert_eq!(tables(&database), tables(&new));
        connect(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_the_next_version_are_used_and_later_ones_are_refused() {
    let database = Postgres::shared().database();
    connect(&database).await;
    let newest: usize = version(&database).parse().unwrap();
    set_version(&database, newest + 1);
    connect(&database).await;
    set_version(&database, newest + 2);
    let refused = PostgresStore::connect(settings(&database), sealer()).await;
    assert!(matches!(refused, Err(ConnectError::Schema(SchemaError::Newer { .. }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_goes_on_while_a_later_release_migrates_its_tables() {
    let database = Postgres::shared().database();
    let [store] = open(&database).await;
    let next = Schema::default().followed_by(NEXT_RELEASE);
    let migrate = || tokio::spawn(PostgresStore::migrate(settings(&database), next.clone()));
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
    assert_eq!(Postgres::shared().execute(&database.name, found), (count + 1).to_string());
    let lease = "SELECT count(*) FROM leases WHERE name = 'schema/migration'";
    assert_eq!(Postgres::shared().execute(&database.name, lease), "0", "it is released");

    let beside = connect(&database).await;
    enroll(&beside, count + 1).await;
    let id = RegistrationId::parse(format!("dev-{}", count + 1)).unwrap();
    assert!(store.individual(&sample::scope("one"), &id).await.unwrap().is_some());
}

/// The holder of the lease ended in the middle, and another one follows when the lease has ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_migration_is_repeated() {
    let database = Postgres::shared().database();
    connect(&database).await;
    let newest: usize = version(&database).parse().unwrap();
    let sql = |sql: &str| Postgres::shared().execute(&database.name, sql);
    sql(
        "CREATE TABLE of_the_next_release (instance int NOT NULL, id text NOT NULL, PRIMARY KEY (instance, id))",
    );
    sql("INSERT INTO leases VALUES (1000, 'schema/migration', 'another', now() + interval '1 second')");
    let next = Schema::default().followed_by(NEXT_RELEASE);
    PostgresStore::migrate(settings(&database), next).await.unwrap();
    assert_eq!(version(&database), (newest + 1).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_locks_only_briefly() {
    let database = Postgres::shared().database();
    let [store] = open(&database).await;
    let reader = tokio::task::spawn_blocking({
        let name = database.name.clone();
        move || {
            // As a backup does, which reads for long.
            Postgres::shared()
                .execute(&name, "BEGIN; SELECT count(*) FROM individuals; SELECT pg_sleep(3); COMMIT")
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let next = Schema::default().followed_by(NEXT_RELEASE);
    let migration = tokio::spawn(PostgresStore::migrate(settings(&database), next));
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
    let database = Postgres::shared().database();
    let begin = async || PostgresStore::begin_copy(settings(&database), sealer(), "old.db").await;
    let copy = begin().await.unwrap();
    copy.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    for refused in [
        PostgresStore::connect(settings(&database), sealer()).await.map(drop),
        PostgresStore::look(settings(&database), sealer()).await.map(drop),
    ] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("muster store copy --from sqlite:old.db"), "{text}");
    }
    begin().await.unwrap().finish_copy().await.unwrap();
    let store = connect(&database).await;
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
