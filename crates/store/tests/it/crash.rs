//! SIGKILL while many commits are under way: what was acknowledged is there, and nothing is there by half.
//!
//! The test starts itself as a child, which registers devices as fast as it can and prints each ID once it is
//! acknowledged; it is killed at a moment that differs from round to round.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use model::{Day, OperationKind, Registration, Status, StatusKind};
use provisioning::ports::{Change, Commit, Expect, InstanceWriter, PageRequest, Registrations, Store, Usage};
use store::EmbeddedStore;
use testkit::sample;
use tokio::task::JoinSet;

use crate::{Directory, sealer};

#[tokio::test]
async fn a_killed_process_loses_nothing_it_acknowledged() {
    let directory = Directory::new();
    directory.open().put_instance(sample::instance("one"), sample::by()).await.unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let life = Duration::from_millis(150 + 70 * u64::from(round));
        acknowledged.extend(run_and_kill(directory.0.path(), round, life));
        check(&directory.open(), &acknowledged).await;
    }
    assert!(acknowledged.len() > 100, "only {} registrations in {ROUNDS} rounds", acknowledged.len());
}

/// The child. Does nothing unless it is started as one.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "how the child is told its task")]
async fn child_that_registers_until_it_is_killed() {
    let (Ok(directory), Ok(round)) = (std::env::var(DIRECTORY), std::env::var(ROUND)) else { return };
    let store = EmbeddedStore::open(&Path::new(&directory).join("store.db"), sealer()).unwrap();
    let store = Arc::new(store);
    let mut devices = JoinSet::new();
    for device in 0..32 {
        let (store, round) = (Arc::clone(&store), round.clone());
        devices.spawn(async move {
            for number in 0.. {
                register(&*store, &format!("dev-{round}-{device}-{number}")).await;
            }
        });
    }
    devices.join_all().await;
}

/// One registration as the service makes it: the order first, then the assignment, which counts as an operation.
async fn register(store: &dyn Store, id: &str) {
    let assigned = sample::registration_of(id, "line");
    let assigning = sample::while_assigning(assigned.clone());
    let version = Expect::Version(assigning.record.etag.clone());
    let steps =
        [(Expect::Absent, assigning, None), (version, assigned, Some((OperationKind::Registration, TODAY)))];
    for (expect, registration, operation) in steps {
        let changes = vec![(expect, Change::PutRegistration(Box::new(registration)))];
        let outcomes = store
            .commit(&sample::scope("one"), Commit { changes, operation, ..Commit::by(sample::by()) })
            .await
            .unwrap();
        assert_eq!(outcomes, [provisioning::ports::Outcome::Applied]);
    }
    println!("{ACKNOWLEDGED}{id}");
}

/// The IDs that the child acknowledged in its life.
fn run_and_kill(directory: &Path, round: u32, life: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_registers_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.filter_map(|line| line.strip_prefix(ACKNOWLEDGED).map(str::to_owned)).collect()
    });
    std::thread::sleep(life);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    reader.join().unwrap()
}

async fn check(store: &EmbeddedStore, acknowledged: &BTreeSet<String>) {
    let scope = sample::scope("one");
    for id in acknowledged {
        let found = store.registration(&scope, &sample::registration_id(id)).await.unwrap();
        assert_eq!(found.as_ref(), Some(&sample::registration_of(id, "line")), "{id} was acknowledged");
    }
    let all = all_of_group(store).await;
    let assigned =
        all.iter().filter(|registration| matches!(registration.status, Status::Assigned(_))).count();
    let usage = store.usage(&scope, TODAY, TODAY).await.unwrap();
    assert_eq!(usage.iter().map(|row| row.count).sum::<u64>(), assigned as u64, "operations and assignments");
    let assigning = store
        .registrations_in(&scope, StatusKind::Assigning, PageRequest { after: None, limit: 1000 })
        .await
        .unwrap();
    assert_eq!(assigning.items.len(), all.len() - assigned, "orders and their index");
}

async fn all_of_group(store: &EmbeddedStore) -> Vec<Registration> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { after, limit: 1000 };
        let page =
            store.registrations_of(&sample::scope("one"), &sample::group_id("line"), page).await.unwrap();
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

const ROUNDS: u32 = 6;
const TODAY: Day = Day::from_number(20_780);
const DIRECTORY: &str = "MUSTER_TEST_CRASH_DIRECTORY";
const ROUND: &str = "MUSTER_TEST_CRASH_ROUND";
/// Before each acknowledged ID, to tell it from what the test runner prints.
const ACKNOWLEDGED: &str = "acknowledged ";
