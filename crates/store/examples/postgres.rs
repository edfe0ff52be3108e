//! What a registration costs a PostgreSQL server: `cargo run --release -p store --example postgres [-- DEVICES]`.
//!
//! For each number of calls in flight, new devices are ordered and assigned (two commits each, with their entries in the change
//! log; the second counts an operation), and read. The CPU is the server's, of all of its processes, by
//! `/proc/*/schedstat`; that of this process includes making the records. The server runs on this machine and writes through
//! (`fsync`).

#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use durable::Sealer;
use model::{Day, OperationKind};
use provisioning::ports::{Change, Commit, Commits, Expect, InstanceWriter, Outcome, Registrations};
use store::{PostgresStore, postgres::Settings};
use testkit::{
    postgres::{Durability, Postgres},
    sample,
};
use tokio::task::JoinSet;

const IN_FLIGHT: [u64; 4] = [1, 8, 64, 512];
const ORDERED: &str = "6f1d0a9c7b3e5824";
const ASSIGNED: &str = "91c3b5d7e0f2a468";

#[tokio::main]
async fn main() {
    let devices = std::env::args().nth(1).map_or(20_000, |devices| devices.parse().unwrap());
    let server = Postgres::start(Durability::Fsync);
    let url = server.database().url();
    let store =
        PostgresStore::connect(Settings::parse(&url).unwrap(), Sealer::from_key([7; 32])).await.unwrap();
    store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let store = Arc::new(store);
    println!("in flight  step      calls/s  server CPU µs/call");
    for in_flight in IN_FLIGHT {
        // One in flight takes long, and needs fewer to be measured.
        let devices = if in_flight < 8 { devices / 10 } else { devices };
        for step in [Step::Order, Step::Assign, Step::Read] {
            let (start, before) = (Instant::now(), server_cpu(server.port()));
            step.run_all(&store, in_flight, devices).await;
            let (seconds, cpu) = (start.elapsed().as_secs_f64(), server_cpu(server.port()) - before);
            let calls = devices as f64;
            let name = format!("{step:?}");
            println!("{in_flight:>9}  {name:<8} {:>8.0}  {:>18.1}", calls / seconds, cpu * 1e6 / calls);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Order,
    Assign,
    Read,
}

impl Step {
    async fn run_all(self, store: &Arc<PostgresStore>, in_flight: u64, devices: u64) {
        let mut callers = JoinSet::new();
        for caller in 0..in_flight {
            let store = Arc::clone(store);
            callers.spawn(async move {
                for device in (caller..devices).step_by(in_flight as usize) {
                    self.run(&store, &id(in_flight, device)).await;
                }
            });
        }
        callers.join_all().await;
    }

    async fn run(self, store: &PostgresStore, id: &str) {
        let mut registration = sample::registration_of(id, "line");
        let (expect, operation) = match self {
            Step::Order => {
                registration.record.etag = sample::etag(ORDERED);
                registration = sample::while_assigning(registration);
                (Expect::Absent, None)
            }
            Step::Assign => {
                registration.record.etag = sample::etag(ASSIGNED);
                (
                    Expect::Version(sample::etag(ORDERED)),
                    Some((OperationKind::Registration, Day::from_number(20_780))),
                )
            }
            Step::Read => {
                let found = store.registration(&sample::scope("one"), &registration.registration_id).await;
                assert!(found.unwrap().is_some());
                return;
            }
        };
        let changes = vec![(expect, Change::PutRegistration(Box::new(registration)))];
        let commit = Commit { changes, operation, ..Commit::by(sample::by()) };
        assert_eq!(store.commit(&sample::scope("one"), commit).await.unwrap(), [Outcome::Applied]);
    }
}

/// IDs do not come in order: a number, scattered.
fn id(in_flight: u64, device: u64) -> String {
    format!("dev-{in_flight}-{:016x}", device.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Seconds of CPU that the processes of the server have used. Those that ended in between are missing, so connections must last.
fn server_cpu(port: u16) -> f64 {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let processes: Vec<PathBuf> = processes.filter(|path| read(path, "comm").trim() == "postgres").collect();
    let is_postmaster =
        |path: &&PathBuf| read(path, "cmdline").split('\0').any(|argument| argument == port.to_string());
    let postmaster = processes.iter().find(is_postmaster).unwrap();
    let id = postmaster.file_name().unwrap().to_str().unwrap();
    // After the name come the state and the parent (proc_pid_stat(5)).
    let parent =
        |path: &PathBuf| Some(read(path, "stat").rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned());
    let of_server =
        processes.iter().filter(|path| *path == postmaster || parent(path).as_deref() == Some(id));
    let nanos = |path: &PathBuf| read(path, "schedstat").split_whitespace().next()?.parse::<f64>().ok();
    of_server.filter_map(nanos).sum::<f64>() / 1e9
}

fn read(process: &Path, file: &str) -> String {
    fs::read_to_string(process.join(file)).unwrap_or_default()
}
