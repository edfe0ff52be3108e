//! Faults of the database at the worst moment: logins that hang, commits that are cut off, settings that lose commits.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use provisioning::ports::{Expect, LeaseName, Leases, Outcome, RunnerId, StoreError};
use store::{
    PostgresStore,
    postgres::{ConnectError, Settings},
};
use testkit::{
    entropy::SeededEntropy,
    postgres::{Durability, Postgres},
    sample,
};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_postgres::Client;

use crate::{
    lanes::{client, commit, connect, counted, etag, open, put},
    sealer,
};

/// Something accepts connections and says nothing, as a server that hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let settings = Settings::parse(&format!("postgres://m@127.0.0.1:{port}/muster?sslmode=disable")).unwrap();
    let begin = Instant::now();
    let refused = timeout(Duration::from_secs(20), PostgresStore::connect(settings, sealer())).await;
    let error = refused.expect("it is bounded").unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(..)), "{error}");
    assert!(begin.elapsed() > Duration::from_secs(2), "it waited for an answer: {:?}", begin.elapsed());
    accepting.abort();
}

/// A server that waits for a standby in each COMMIT, or for none.
async fn wait_for_standby(server: &Postgres, standby: &str) {
    server.execute("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'"));
    server.execute("postgres", "SELECT pg_reload_conf()");
    // Another process of the server turns it on and off.
    sleep(Duration::from_millis(200)).await;
}

/// Commits that a lane has sent, and the server has not answered.
const WAITING: &str = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database() AND query = 'COMMIT'";

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Starts commits until one waits for a standby that does not exist. Returns it with the version that it is to replace.
async fn commit_waiting(
    store: &Arc<PostgresStore>,
    client: &Client,
    mut version: u64,
) -> (JoinHandle<Result<Outcome, StoreError>>, u64) {
    loop {
        let (store, expect) = (Arc::clone(store), Expect::Version(sample::etag(&version.to_string())));
        let change = put("dev", &(version + 1).to_string());
        let running = tokio::spawn(async move { commit(&store, expect, change).await });
        while !running.is_finished() {
            if count(client, &format!("SELECT count(*) {WAITING}")).await > 0 {
                return (running, version);
            }
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(running.await.unwrap().unwrap(), Outcome::Applied);
        version += 1;
    }
}

/// The connection is cut after COMMIT was sent, and before it was answered: it has taken effect, and is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_cut_off_is_settled_once() {
    let server = Postgres::start(Durability::NoFsync);
    let database = server.database();
    let [store] = open(&database).await;
    commit(&store, Expect::Absent, put("dev", "0")).await.unwrap();
    let other = client(&database).await;
    let mut version = 0;
    for _ in 0..3 {
        wait_for_standby(&server, "missing").await;
        let (running, replaced) = commit_waiting(&store, &other, version).await;
        assert_eq!(count(&other, &format!("SELECT count(pg_terminate_backend(pid)) {WAITING}")).await, 1);
        sleep(Duration::from_millis(100)).await;
        wait_for_standby(&server, "").await;
        assert_eq!(running.await.unwrap().unwrap(), Outcome::Applied);
        version = replaced + 1;
        assert_eq!(etag(&store, "dev").await, Some(version.to_string()));
        assert_eq!(counted(&store).await, version + 1);
    }
}

/// The database has lost transactions when the lane asks it what became of the last: that is not known, and nothing is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_not_repeated_in_a_database_that_has_lost_others() {
    let server = Postgres::start(Durability::NoFsync);
    let database = server.database();
    let [store] = open(&database).await;
    commit(&store, Expect::Absent, put("dev", "0")).await.unwrap();
    let (other, loser) = (client(&database).await, client(&database).await);
    wait_for_standby(&server, "missing").await;
    let (running, replaced) = commit_waiting(&store, &other, 0).await;
    loser.batch_execute("SET synchronous_commit = local").await.unwrap();
    // It waits for the row, and has its turn before the lane comes back.
    let losing =
        tokio::spawn(
            async move { loser.batch_execute("UPDATE lanes SET seq = seq - 2; DELETE FROM log").await },
        );
    let blocked =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE lanes%'";
    while count(&other, blocked).await == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    count(&other, &format!("SELECT count(pg_terminate_backend(pid)) {WAITING}")).await;
    losing.await.unwrap().unwrap();
    wait_for_standby(&server, "").await;
    let outcome = running.await.unwrap();
    let is_open = matches!(&outcome, Err(StoreError::Unwritable(text)) if text.contains("lost transactions"));
    assert!(is_open, "{outcome:?}");
    // The lane goes on.
    let version = etag(&store, "dev").await.unwrap();
    assert_eq!(version, (replaced + 1).to_string());
    let outcome = commit(&store, Expect::Version(sample::etag(&version)), put("dev", "next")).await;
    assert_eq!(outcome.unwrap(), Outcome::Applied);
    assert_eq!(counted(&store).await, replaced + 3);
}

/// What is acknowledged is on disk, whatever the database sets.
#[tokio::test(flavor = "multi_thread")]
async fn commits_wait_for_the_disk() {
    let database = Postgres::shared().database();
    let [first] = open(&database).await;
    drop(first);
    let other = client(&database).await;
    let sql = "ALTER TABLE registrations ADD sync text DEFAULT current_setting('synchronous_commit')";
    other.batch_execute(sql).await.unwrap();
    for (set, expected) in [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply"), ("on", "on")]
    {
        let sql = format!("ALTER DATABASE {} SET synchronous_commit = {set}", database.name);
        other.batch_execute(&sql).await.unwrap();
        let store = connect(&database).await;
        commit(&store, Expect::Absent, put(set, "1")).await.unwrap();
        let sql = "SELECT sync FROM registrations WHERE id = $1";
        assert_eq!(other.query_one(sql, &[&set]).await.unwrap().get::<_, String>(0), expected, "{set}");
    }
}

/// Returns the epochs of the lanes that processes have.
async fn epochs(client: &Client) -> BTreeSet<i64> {
    let rows = client.query("SELECT epoch FROM lanes WHERE until > now()", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn write_all(store: &PostgresStore, expect: &Expect, version: &str) {
    for number in 0..8 {
        let id = format!("dev-{number}");
        assert_eq!(commit(store, expect.clone(), put(&id, version)).await.unwrap(), Outcome::Applied);
    }
}

/// A failover loses that a process took lanes, and another process takes them: the first is not taken for the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_taken_again_after_a_loss_is_not_shared() {
    let database = Postgres::shared().database();
    let [one, two] = open(&database).await;
    write_all(&one, &Expect::Absent, "1").await;
    let other = client(&database).await;
    let first = epochs(&other).await;
    let lost =
        "UPDATE lanes SET epoch = 0, seq = seq - 1, until = now() - interval '1 second'; DELETE FROM log";
    other.batch_execute(lost).await.unwrap();
    write_all(&two, &Expect::Version(sample::etag("1")), "2").await;
    let second = epochs(&other).await;
    assert!(first.is_disjoint(&second) && second.len() == 2, "{first:?} {second:?}");
    write_all(&one, &Expect::Version(sample::etag("2")), "3").await;
    write_all(&two, &Expect::Version(sample::etag("3")), "4").await;
    let third = epochs(&other).await;
    assert!(second.is_subset(&third) && third.len() == 4, "{second:?} {third:?}");
    assert_eq!(counted(&one).await, 32);
}

/// A server process that hangs has locked the row of a lane that its client gave up: no process waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_locked_is_passed_over() {
    let database = Postgres::shared().database();
    let [first] = open(&database).await;
    write_all(&first, &Expect::Absent, "1").await;
    let other = client(&database).await;
    other.batch_execute("UPDATE lanes SET epoch = 0, until = now() - interval '1 second'").await.unwrap();
    other.batch_execute("BEGIN; SELECT 1 FROM lanes WHERE lane = 1 FOR UPDATE").await.unwrap();
    let second: Arc<PostgresStore> = connect(&database).await;
    write_all(&second, &Expect::Version(sample::etag("1")), "2").await;
    other.batch_execute("COMMIT").await.unwrap();
}

/// A failover loses leases: what their holders still write is refused all the same.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_leases_are_not_given_again_after_a_loss() {
    let database = Postgres::shared().database();
    let [store] = open(&database).await;
    let mut given = BTreeSet::new();
    for number in 0..4 {
        let holder = RunnerId::random(&SeededEntropy::new(number));
        let lease = store.claim(&LeaseName::Runner(holder.clone()), &holder, Duration::from_secs(60)).await;
        assert!(given.insert(lease.unwrap().unwrap().token), "{given:?}");
        let lost = "DELETE FROM leases; UPDATE lease_tokens SET last = 0";
        client(&database).await.batch_execute(lost).await.unwrap();
    }
}
