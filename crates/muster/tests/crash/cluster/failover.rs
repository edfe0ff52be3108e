//! A primary with a synchronous standby: the primary is killed under load, and the standby takes its place.

use std::time::{Duration, Instant};

use testkit::postgres::{Database, Durability, Postgres};
use tokio::{task::block_in_place, time::sleep};

use super::{CALM_MILLIS, Storm, fixture::Cluster};
use crate::from_environment;

/// The default number of failovers; `MUSTER_FAILOVER_ROUNDS` overrides it.
const ROUNDS: u64 = 5;

/// How often it is looked whether the standby follows.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A database with a standby that every commit waits for.
struct Pair {
    primary: Postgres,
    standby: Postgres,
}

impl Pair {
    fn start() -> Pair {
        let primary = Postgres::start(Durability::Fsync);
        primary.execute("postgres", "CREATE DATABASE muster");
        let standby = primary.start_standby("second");
        primary.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'second'");
        primary.execute("postgres", "SELECT pg_reload_conf()");
        let is_followed =
            || primary.execute("postgres", "SELECT sync_state FROM pg_stat_replication") == "sync";
        while !is_followed() {
            std::thread::sleep(POLL_INTERVAL);
        }
        Pair { primary, standby }
    }

    /// Names both servers: clients take the one that accepts writes.
    fn url(&self) -> String {
        let (one, two) = (self.primary.port(), self.standby.port());
        format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{two}/muster?sslmode=disable")
    }

    /// Kills the primary and promotes the standby, which then has none. Returns how long there was no primary.
    fn fail_over(&self) -> Duration {
        let started = Instant::now();
        self.primary.kill();
        // The configuration was copied with the files: without a standby of its own, commits would wait for ever.
        self.standby.promote();
        self.standby.execute("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
        self.standby.execute("postgres", "SELECT pg_reload_conf()");
        started.elapsed()
    }

    fn database(&self) -> Database {
        Database { name: "muster".to_owned(), port: self.standby.port() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_standby_takes_over() {
    let rounds = from_environment("MUSTER_FAILOVER_ROUNDS").unwrap_or(ROUNDS);
    let (mut without, mut waited, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let pair = block_in_place(Pair::start);
        let cluster = Cluster::start(&[pair.url(), pair.url()]).await;
        let mut storm = Storm::new("failover", cluster.deployment()).await;
        let moment = Duration::from_millis(300 + storm.random.below(CALM_MILLIS));
        let failing = async {
            sleep(moment).await;
            let without = block_in_place(|| pair.fail_over());
            // Until devices are served again.
            cluster.until_ready().await;
            without
        };
        without.push(storm.during(failing).await);
        waited.push(storm.longest_wait());
        refused.push(storm.unavailable_for());
        println!("round {round}: then {}", pair.database().url());
        storm.examine().await;
    }
    println!("{rounds} failovers");
    report("no primary", without);
    report("the longest wait of a device", waited);
    report("devices were told 503", refused);
}

/// Prints the median and the maximum of the rounds.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |index: usize| times.get(index).copied().unwrap_or_default().as_millis();
    println!("{what}: median {} ms, at most {} ms", at(times.len() / 2), at(times.len().saturating_sub(1)));
}
