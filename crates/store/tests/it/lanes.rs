//! Lanes of the PostgreSQL engine: what becomes of commits when connections, processes and the server end under them.

use std::{sync::Arc, time::Duration};

use model::{Day, OperationKind};
use provisioning::ports::{
    Change, Commit, Commits, Enrollments, Expect, InstanceWriter, Instances, Outcome, Registrations,
    StoreError, Usage,
};
use store::{PostgresStore, postgres::Settings};
use testkit::{
    postgres::{Database, Durability, Postgres},
    sample,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_postgres::{Client, NoTls};

use crate::sealer;

const TODAY: Day = Day::from_number(20_780);

pub(crate) fn settings(database: &Database) -> Settings {
    Settings::parse(&database.url()).unwrap()
}

pub(crate) async fn connect(database: &Database) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::connect(settings(database), sealer()).await.unwrap())
}

/// Opens stores on an empty database with one instance.
pub(crate) async fn open<const N: usize>(database: &Database) -> [Arc<PostgresStore>; N] {
    let mut stores = Vec::new();
    for _ in 0..N {
        stores.push(connect(database).await);
    }
    stores[0].put_instance(sample::instance("one"), sample::by()).await.unwrap();
    stores.try_into().unwrap()
}

pub(crate) async fn client(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Returns the change of a registration to this version.
pub(crate) fn put(id: &str, etag: &str) -> Change {
    let mut registration = sample::registration(id);
    registration.record.etag = sample::etag(etag);
    Change::PutRegistration(Box::new(registration))
}

/// Makes one change, which counts as an operation.
pub(crate) async fn commit(
    store: &PostgresStore,
    expect: Expect,
    change: Change,
) -> Result<Outcome, StoreError> {
    let operation = Some((OperationKind::Registration, TODAY));
    let commit = Commit { changes: vec![(expect, change)], operation, ..Commit::by(sample::by()) };
    Ok(store.commit(&sample::scope("one"), commit).await?[0])
}

pub(crate) async fn etag(store: &PostgresStore, id: &str) -> Option<String> {
    let found = store.registration(&sample::scope("one"), &sample::registration_id(id)).await.unwrap();
    found.map(|registration| registration.record.etag.to_string())
}

pub(crate) async fn counted(store: &PostgresStore) -> u64 {
    let rows = store.usage(&sample::scope("one"), TODAY, TODAY).await.unwrap();
    rows.iter().map(|row| row.count).sum()
}

/// Raises the number that is the version of a record by one, again and again; returns how often it did.
async fn raise(store: Arc<PostgresStore>, id: String, tries: usize) -> u64 {
    let mut won = 0;
    for _ in 0..tries {
        let version = etag(&store, &id).await.unwrap();
        let next = (version.parse::<u64>().unwrap() + 1).to_string();
        let expect = Expect::Version(sample::etag(&version));
        match commit(&store, expect, put(&id, &next)).await.unwrap() {
            Outcome::Applied => won += 1,
            Outcome::OtherVersion => {}
            other => panic!("{other:?}"),
        }
    }
    won
}

/// Twenty records, which eight tasks of two processes change at the same time through four lanes.
#[tokio::test(flavor = "multi_thread")]
async fn versions_and_usage_equal_the_commits_that_won() {
    let database = Postgres::shared().database();
    let stores: [_; 2] = open(&database).await;
    let ids: Vec<String> = (0..20).map(|number| format!("dev-{number}")).collect();
    for id in &ids {
        assert_eq!(commit(&stores[0], Expect::Absent, put(id, "0")).await.unwrap(), Outcome::Applied);
    }
    let mut tasks = JoinSet::new();
    for number in 0..160 {
        let (store, id) = (Arc::clone(&stores[number % 2]), ids[number % 20].clone());
        tasks.spawn(raise(store, id, 10));
    }
    let won: u64 = tasks.join_all().await.into_iter().sum();
    let mut versions = 0;
    for id in &ids {
        versions += etag(&stores[1], id).await.unwrap().parse::<u64>().unwrap();
    }
    assert!(won > 100 && won < 1600, "{won} of 1600");
    assert_eq!((versions, counted(&stores[0]).await), (won, won + 20));
}

/// One commit of many is refused by the database itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_database_refuses_fails_alone() {
    let database = Postgres::shared().database();
    let [store] = open(&database).await;
    Postgres::shared().execute(&database.name, "ALTER TABLE registrations ADD CHECK (id <> 'dev-7')");
    let mut tasks = JoinSet::new();
    for number in 0..128 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let id = format!("dev-{number}");
            (number, commit(&store, Expect::Absent, put(&id, "1")).await)
        });
    }
    for (number, outcome) in tasks.join_all().await {
        match outcome {
            Ok(outcome) => assert!(number != 7 && outcome == Outcome::Applied, "{number}: {outcome:?}"),
            Err(StoreError::Broken(text)) if number == 7 => {
                // The rule is named, and nothing of the row, which PostgreSQL adds as a detail.
                assert!(text.contains("constraint registrations_id_check"), "{text}");
                assert!(!text.contains("DETAIL") && !text.contains("dev-7"), "{text}");
            }
            Err(error) => panic!("{number}: {error}"),
        }
    }
    assert_eq!(counted(&store).await, 127);
}

/// The server ends the connections of lanes while their transactions wait for a row.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_connection_is_cut_takes_effect_once() {
    let database = Postgres::shared().database();
    let [store] = open(&database).await;
    commit(&store, Expect::Absent, put("dev", "0")).await.unwrap();
    for round in 0..3 {
        let other = client(&database).await;
        other.batch_execute("BEGIN; SELECT 1 FROM registrations WHERE id = 'dev' FOR UPDATE").await.unwrap();
        let waiting = {
            let (store, expect) = (Arc::clone(&store), Expect::Version(sample::etag(&round.to_string())));
            tokio::spawn(async move { commit(&store, expect, put("dev", &(round + 1).to_string())).await })
        };
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while other.query_one(cut, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), Outcome::Applied);
    }
    assert_eq!((etag(&store, "dev").await.as_deref(), counted(&store).await), (Some("3"), 4));
}

/// Another process takes the lanes, as it does once their process was silent for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_lanes_were_taken_goes_on_with_others() {
    let database = Postgres::shared().database();
    let [store] = open(&database).await;
    for number in 0..8 {
        commit(&store, Expect::Absent, put(&format!("dev-{number}"), "0")).await.unwrap();
    }
    let taken = "UPDATE lanes SET epoch = epoch + 1, seq = seq + 1, until = now() + interval '1 hour'";
    Postgres::shared().execute(&database.name, taken);
    let last = "SELECT max(seq) FROM lanes WHERE lane <= 2";
    let before = Postgres::shared().execute(&database.name, last);
    for number in 0..8 {
        let expect = Expect::Version(sample::etag("0"));
        let outcome = commit(&store, expect, put(&format!("dev-{number}"), "1")).await.unwrap();
        assert_eq!(outcome, Outcome::Applied);
    }
    assert_eq!(counted(&store).await, 16);
    assert_eq!(Postgres::shared().execute(&database.name, last), before, "what it lost is not written");
}

/// The server is killed again and again while devices are written.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let server = Arc::new(Postgres::start(Durability::Fsync));
    let database = server.database();
    let [store] = open(&database).await;
    let end = Instant::now() + Duration::from_secs(6);
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let id = format!("dev-{task}");
            let mut version = 0_u64;
            commit(&store, Expect::Absent, put(&id, "0")).await.unwrap();
            while Instant::now() < end {
                let expect = Expect::Version(sample::etag(&version.to_string()));
                let outcome = commit(&store, expect, put(&id, &(version + 1).to_string())).await;
                assert_eq!(outcome.unwrap(), Outcome::Applied, "{id} at {version}");
                version += 1;
            }
            (id, version)
        });
    }
    for _ in 0..3 {
        sleep(Duration::from_millis(1200)).await;
        let server = Arc::clone(&server);
        let restart = move || {
            server.kill();
            server.start_again();
        };
        tokio::task::spawn_blocking(restart).await.unwrap();
    }
    let written = tasks.join_all().await;
    let mut acknowledged = 0;
    for (id, version) in written {
        assert_eq!(etag(&store, &id).await, Some(version.to_string()), "{id}");
        acknowledged += version + 1;
    }
    assert_eq!(counted(&store).await, acknowledged);
}

/// Requests wait for a server that comes back, and fail within bounds when it does not.
#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_database_that_is_away() {
    let server = Arc::new(Postgres::start(Durability::NoFsync));
    let database = server.database();
    let [store] = open(&database).await;
    commit(&store, Expect::Absent, put("dev", "0")).await.unwrap();
    server.stop();
    let begin = Instant::now();
    let requests = |version: u64| {
        let (one, two) = (Arc::clone(&store), Arc::clone(&store));
        let expect = Expect::Version(sample::etag(&version.to_string()));
        let write = async move { commit(&one, expect, put("dev", &(version + 1).to_string())).await };
        let read = async move {
            two.registration(&sample::scope("one"), &sample::registration_id("dev")).await.map(drop)
        };
        let operator = Arc::clone(&store);
        let list = async move { operator.snapshot().await.map(drop) };
        (tokio::spawn(write), tokio::spawn(read), tokio::spawn(list))
    };
    let (write, read, list) = requests(0);
    sleep(Duration::from_secs(2)).await;
    server.start_again();
    assert_eq!(write.await.unwrap().unwrap(), Outcome::Applied);
    read.await.unwrap().unwrap();
    list.await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());

    server.stop();
    let begin = Instant::now();
    let (write, read, list) = requests(1);
    for failed in [write.await.unwrap().map(drop), read.await.unwrap(), list.await.unwrap()] {
        assert!(matches!(failed, Err(StoreError::Unwritable(_))), "{failed:?}");
    }
    let waited = begin.elapsed();
    assert!(waited > Duration::from_secs(15) && waited < Duration::from_secs(40), "{waited:?}");
}

/// A change that one process acknowledged counts for the next device of another one.
#[tokio::test(flavor = "multi_thread")]
async fn no_device_is_judged_by_an_older_configuration() {
    let database = Postgres::shared().database();
    let [one, two] = open(&database).await;
    let scope = sample::scope("one");
    commit(&one, Expect::Absent, put("dev", "0")).await.unwrap();
    let mut stale = 0;
    for round in 0..ROUNDS {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let mut group = sample::group("line");
        group.record.etag = sample::etag(&round.to_string());
        let change = match round % 5 {
            4 => Change::DeleteGroup(sample::group_id("line")),
            _ => Change::PutGroup(Box::new(group)),
        };
        commit(writer, Expect::Anything, change).await.unwrap();
        reader.registration(&scope, &sample::registration_id("dev")).await.unwrap();
        reader.individual(&scope, &sample::registration_id("dev")).await.unwrap();
        let configuration = reader.configuration(&scope).await.unwrap();
        let found = configuration.group(&sample::group_id("line")).unwrap().cloned();
        let expected = (round % 5 != 4).then(|| round.to_string());
        stale += usize::from(found.map(|group| group.record.etag.to_string()) != expected);
    }
    assert_eq!(stale, 0, "of {ROUNDS}");
}

const ROUNDS: usize = 10_000;
