//! What the embedded store costs at several sizes: `cargo run --release -p store --example load [-- ROWS…]`.
//!
//! For each number of rows it fills a new store, in a temporary directory beside the program, with that many individual
//! enrollments, then registers that many devices of a group (two durable commits each: the order, then the
//! assignment with its operation), counts that many operations alone, reads that many registrations at random, and opens
//! the store again. CPU time is the whole process's: making the records and their comparison with what is expected are
//! in it. Disk is what the step added to the files.

#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use durable::Sealer;
use model::{Day, EnrollmentSettings, OperationKind, RegistrationId};
use provisioning::ports::{Change, Commit, Commits, Expect, InstanceWriter, Outcome, Registrations};
use store::EmbeddedStore;
use testkit::sample;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() {
    let given: Vec<u64> = std::env::args().skip(1).map(|rows| rows.parse().unwrap()).collect();
    let program = std::env::current_exe().unwrap();
    let beside = program.parent().unwrap().to_owned(); // the temporary directory may be in memory, where fsync is free
    let sizes = if given.is_empty() { SIZES.to_vec() } else { given };
    println!("{CALLERS} callers; every commit is on disk before it is acknowledged");
    println!(
        "     rows  step                   calls/s  CPU µs/call  calls/fsync  disk B/row  heap MB  mapped MB"
    );
    for rows in sizes {
        let directory = tempfile::tempdir_in(&beside).unwrap();
        measure(rows, directory.path()).await;
    }
}

async fn measure(rows: u64, directory: &Path) {
    let path = directory.join("store.db");
    let store = Arc::new(EmbeddedStore::open(&path, sealer()).unwrap());
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let steps = [
        ("enroll", Step::Enroll),
        ("register: the order", Step::Order),
        ("register: assigned", Step::Assign),
        ("count an operation", Step::Count),
        ("read a registration", Step::Read),
    ];
    for (name, step) in steps {
        let before = Usage::now(directory, &store);
        step.run_all(&store, rows).await;
        Usage::now(directory, &store).report(&before, name, rows);
    }
    drop(store);
    let start = Instant::now();
    drop(EmbeddedStore::open(&path, sealer()).unwrap());
    println!("{rows:>9}  {:<20} {:>8.1} ms", "open again", start.elapsed().as_secs_f64() * 1000.0);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enroll,
    Order,
    Assign,
    Count,
    Read,
}

impl Step {
    /// Runs the step for every row, from many tasks at once.
    async fn run_all(self, store: &Arc<EmbeddedStore>, rows: u64) {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let store = Arc::clone(store);
            callers.spawn(async move {
                for row in (caller..rows).step_by(CALLERS as usize) {
                    self.run(&store, row).await;
                }
            });
        }
        callers.join_all().await;
    }

    async fn run(self, store: &EmbeddedStore, row: u64) {
        let id = id(row);
        let registration = |etag| {
            let mut registration = sample::registration_of(id.as_str(), "line");
            registration.record.etag = sample::etag(etag);
            registration
        };
        let (expect, change, operation) = match self {
            Step::Enroll => {
                let mut record = sample::individual(id.as_str());
                record.settings = settings();
                let change = Change::PutIndividual(Box::new(record));
                (Expect::Absent, Some(change), Some(OperationKind::EnrollmentChange))
            }
            Step::Order => {
                let registration = sample::while_assigning(registration("6f1d0a9c7b3e5824"));
                (Expect::Absent, Some(Change::PutRegistration(Box::new(registration))), None)
            }
            Step::Assign => {
                let change = Change::PutRegistration(Box::new(registration("91c3b5d7e0f2a468")));
                let ordered = Expect::Version(sample::etag("6f1d0a9c7b3e5824"));
                (ordered, Some(change), Some(OperationKind::Registration))
            }
            Step::Count => (Expect::Anything, None, Some(OperationKind::Reregistration)),
            Step::Read => {
                assert!(store.registration(&sample::scope("one"), &id).await.unwrap().is_some());
                return;
            }
        };
        let changes: Vec<_> = change.map(|change| (expect, change)).into_iter().collect();
        let expected = vec![Outcome::Applied; changes.len()];
        let commit = Commit {
            changes,
            operation: operation.map(|kind| (kind, Day::from_number(20_780))),
            ..Commit::by(sample::by())
        };
        assert_eq!(store.commit(&sample::scope("one"), commit).await.unwrap(), expected);
    }
}

/// What the process and the store have used so far.
struct Usage {
    start: Instant,
    cpu: Duration,
    batches: u64,
    disk: u64,
}

impl Usage {
    fn now(directory: &Path, store: &EmbeddedStore) -> Usage {
        Usage { start: Instant::now(), cpu: cpu_time(), batches: store.batches(), disk: disk(directory) }
    }

    fn report(&self, before: &Usage, step: &str, rows: u64) {
        let calls = rows as f64;
        let rate = calls / (self.start - before.start).as_secs_f64();
        let cpu = (self.cpu - before.cpu).as_secs_f64() * 1e6 / calls;
        let batch = match self.batches - before.batches {
            0 => "-".to_owned(),
            batches => format!("{:.1}", calls / batches as f64),
        };
        let disk = self.disk.saturating_sub(before.disk) / rows;
        let (heap, mapped) = (resident("RssAnon:"), resident("RssFile:"));
        println!(
            "{rows:>9}  {step:<20} {rate:>9.0}  {cpu:>11.1}  {batch:>11}  {disk:>10}  {heap:>7}  {mapped:>9}"
        );
    }
}

/// Of this process, in user and kernel mode (proc_pid_stat(5), fields 14 and 15, in hundredths of a second).
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Megabytes of this process's memory of one kind.
fn resident(kind: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn disk(directory: &Path) -> u64 {
    fs::read_dir(directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// Device names do not come in order: a row's number, scattered.
fn id(row: u64) -> RegistrationId {
    sample::registration_id(&format!("dev-{:016x}", row.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// A usual enrollment: a small initial twin, the rest left to the service.
fn settings() -> EnrollmentSettings {
    EnrollmentSettings { initial_twin: Some(sample::twin()), ..EnrollmentSettings::default() }
}

fn sealer() -> Sealer {
    Sealer::from_key([7; 32])
}

const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];

/// Commits under way at once.
const CALLERS: u64 = 256;
