//! Devices register continuously while the process is killed at random moments. Afterwards every acknowledged registration
//! must exist, and metering must match the operations. `cluster` does the same to several nodes and their database.
//!
//! `MUSTER_CRASH_ROUNDS` sets the number of kills, and `MUSTER_CRASH_SEED` repeats the load of an earlier run. The exact
//! moment of a kill depends on the machine, so a seed repeats the load, not the failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod cluster;
mod deployment;
mod inspector;
mod moves;
mod process;
mod random;
mod scene;
mod worker;

use std::time::Duration;

use deployment::Deployment;
use inspector::Inspector;
use process::Muster;
use random::Random;
use scene::Scene;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{Entry, Worker};

/// The number of devices that connect to their hub at the end.
const CONNECTED: usize = 30;

/// The default number of kills.
const ROUNDS: u64 = 15;

/// The number of devices that register concurrently.
const WORKERS: usize = 8;

/// The longest time, in milliseconds, from the start of the devices to the kill.
const STORM_MILLIS: u64 = 700;

/// The longest time, in milliseconds, from a start to its kill. A quarter of the rounds kill the recovery, too.
const RECOVERY_MILLIS: u64 = 150;

/// The number of devices of earlier rounds that each round examines again; the end examines all.
const SAMPLE: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_registrations_survive_kills() {
    let rounds = from_environment("MUSTER_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = from_environment("MUSTER_CRASH_SEED").unwrap_or_else(random::fresh_seed);
    println!("MUSTER_CRASH_ROUNDS={rounds} MUSTER_CRASH_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();

    let mut muster = Muster::start(folder.path()).await;
    let scene = Scene::set(&muster.deployment()).await;
    let mut workers: Vec<Worker> =
        (0..WORKERS).map(|number| Worker::new(number, random.fork(), scene.clone())).collect();
    for round in 1..=rounds {
        let known: Vec<usize> = workers.iter().map(|worker| worker.entries.len()).collect();
        workers = storm(muster, workers, Duration::from_millis(random.below(STORM_MILLIS))).await;
        if random.below(4) == 0 {
            Muster::start_and_kill(folder.path(), Duration::from_millis(random.below(RECOVERY_MILLIS))).await;
        }
        muster = Muster::start(folder.path()).await;
        let mut inspector = Inspector::new(&muster.deployment());
        for (worker, known) in workers.iter_mut().zip(known) {
            let (old, new) = worker.entries.split_at_mut(known);
            for entry in new.iter_mut().chain(sample(old, &mut random)) {
                inspector.examine(entry).await;
            }
        }
        println!("round {round}: {}", Tally::of(&workers));
    }
    assert!(workers.iter().all(|worker| worker.unavailable.is_empty()), "the service was never unavailable");
    let entries: Vec<Entry> = workers.into_iter().flat_map(|worker| worker.entries).collect();
    examine_all(&muster.deployment(), entries).await;
    muster.stop().await;
}

/// Runs the workers until the process is killed, and returns them when all have stopped.
async fn storm(muster: Muster, workers: Vec<Worker>, moment: Duration) -> Vec<Worker> {
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(worker.run(muster.deployment().endpoint, stop.clone()));
    }
    tokio::time::sleep(moment).await;
    muster.kill().await;
    stop.cancel();
    let mut workers = running.join_all().await;
    workers.sort_by_key(|worker| worker.number);
    workers
}

async fn examine_all(deployment: &Deployment, mut entries: Vec<Entry>) {
    let mut inspector = Inspector::new(deployment);
    let assigned = inspector.examine_all(&mut entries).await;
    inspector.audit(&entries, assigned).await;
    for entry in entries.iter().filter(|entry| entry.acknowledged > 0).take(CONNECTED) {
        inspector.connect(entry).await;
    }
    println!("end: {assigned} assigned");
}

fn sample<'a>(entries: &'a mut [Entry], random: &mut Random) -> Vec<&'a mut Entry> {
    let every = (entries.len() as u64 / SAMPLE).max(1);
    let first = random.below(every) as usize;
    entries.iter_mut().skip(first).step_by(every as usize).collect()
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} must be a number")))
}

/// The totals over all devices.
#[derive(Default)]
struct Tally {
    devices: usize,
    attempts: u64,
    acknowledged: u64,
}

impl Tally {
    fn of(workers: &[Worker]) -> Tally {
        let entries = || workers.iter().flat_map(|worker| &worker.entries);
        Tally {
            devices: entries().count(),
            attempts: entries().map(|entry| entry.attempts).sum(),
            acknowledged: entries().map(|entry| entry.acknowledged).sum(),
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} devices, {} attempts, {} acknowledged", self.devices, self.attempts, self.acknowledged)
    }
}
