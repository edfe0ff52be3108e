//! Two runners on one store.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{sync::Arc, time::Duration};

use durable::Sealer;
use model::{
    Day, DeviceSpec, HubName, IndividualEnrollment, Instance, LinkedHub, PendingStep, ProvisioningStatus,
    Registration, Status,
};
use provisioning::{
    Ports, Provisioning,
    ports::{
        AssignmentRuns, Change, Commit, Commits, Expect, InstanceWriter, Instances, Leases, Registrations,
        RunnerId, Unknown, Usage,
    },
};
use runner::Runner;
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::{
    clock::SteppedClock,
    entropy::SeededEntropy,
    hub::{FakeHub, FakeHubs},
    sample,
    webhook::FakeWebhook,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const SCOPE: &str = "one";
const ID: &str = "dev-1";

/// A store with one linked hub, and one run that is not finished.
struct World {
    store: EmbeddedStore,
    hubs: Arc<FakeHubs>,
    _directory: TempDir,
}

/// A runner with its jobs.
struct Process {
    runner: Arc<Runner>,
    /// Ends it as a process does that is stopped: it releases its leases.
    ended: CancellationToken,
}

impl World {
    async fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let store =
            EmbeddedStore::open(&directory.path().join("store.db"), Sealer::from_key([7; 32])).unwrap();
        let instance = sample::instance(SCOPE);
        let hub = LinkedHub { takes_new_devices: true, ..instance.linked_hubs[0].clone() };
        let hubs = Arc::new(FakeHubs::new([hub.name.clone()]));
        store.put_instance(Instance { linked_hubs: vec![hub], ..instance }, sample::by()).await.unwrap();
        World { store, hubs, _directory: directory }
    }

    async fn hub_name(&self) -> HubName {
        self.store.instance(&sample::scope(SCOPE)).await.unwrap().unwrap().linked_hubs[0].name.clone()
    }

    async fn hub(&self) -> Arc<FakeHub> {
        self.hubs.hub(&self.hub_name().await).unwrap()
    }

    /// Writes down a run that is to be executed under the lease of this process.
    async fn assign(&self, process: &Process) {
        let mut enrollment: IndividualEnrollment = sample::individual(ID);
        enrollment.settings.provisioning_status = ProvisioningStatus::Enabled;
        let mut registration: Registration = sample::while_assigning(sample::registration(ID));
        let hub = self.hub_name().await;
        if let Status::Assigning { step, runner, .. } = &mut registration.status {
            *step = PendingStep::Ensure(Box::new(DeviceSpec { hub, ..sample::device_spec(ID) }));
            *runner = process.runner.assignments().lease();
            assert!(runner.is_some());
        }
        let changes = vec![
            (Expect::Absent, Change::PutIndividual(Box::new(enrollment))),
            (Expect::Absent, Change::PutRegistration(Box::new(registration))),
        ];
        let commit = Commit { changes, ..Commit::by(sample::by()) };
        self.store.commit(&sample::scope(SCOPE), commit).await.unwrap();
    }

    /// Starts a process on a handle of its own.
    async fn start(&self, number: u64) -> Process {
        let store = self.store.beside().unwrap();
        let entropy = Arc::new(SeededEntropy::new(number));
        let provisioning = Provisioning::new(Ports {
            store: Arc::new(store.clone()),
            hubs: self.hubs.clone(),
            webhook: Arc::new(FakeWebhook::default()),
            topology: Arc::new(Unknown),
            clock: Arc::new(SteppedClock::default()),
            entropy: entropy.clone(),
        });
        let id = RunnerId::random(&*entropy);
        let runner = Arc::new(Runner::new(Arc::new(provisioning), Arc::new(store), id));
        runner.start().await.unwrap();
        let process = Process { runner, ended: CancellationToken::new() };
        let (keeper, worker) = (Arc::clone(&process.runner), Arc::clone(&process.runner));
        let (kept, worked) = (process.ended.clone(), process.ended.clone());
        tokio::spawn(async move { keeper.keep_leases(kept).await });
        tokio::spawn(async move { worker.work(worked).await });
        process
    }

    async fn is_assigned(&self) -> bool {
        let found = self.store.registration(&sample::scope(SCOPE), &sample::registration_id(ID)).await;
        matches!(found.unwrap().unwrap().status, Status::Assigned(_))
    }

    async fn counted(&self) -> u64 {
        let days = (Day::from_number(0), Day::from_number(1_000_000));
        let rows = self.store.usage(&sample::scope(SCOPE), days.0, days.1).await.unwrap();
        rows.iter().map(|row| row.count).sum()
    }
}

impl Process {
    fn in_flight(&self) -> usize {
        self.runner.assignments().in_flight()
    }
}

async fn reach(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.unwrap();
}

#[tokio::test]
async fn a_second_runner_takes_over_what_the_first_one_released() {
    let world = World::new().await;
    let one = world.start(1).await;
    let hub = world.hub().await;
    let held = hub.hold().await;
    world.assign(&one).await;
    reach(async || one.in_flight() == 1).await;
    let two = world.start(2).await;
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(two.in_flight(), 0, "the first one has it");
    one.ended.cancel();
    reach(async || two.in_flight() == 1).await;
    drop(held);
    reach(async || world.is_assigned().await).await;
    reach(async || one.in_flight() + two.in_flight() == 0).await;
    assert_eq!(world.counted().await, 1, "what the first one wrote was refused");
}

/// A process that is killed lets go of nothing, but it was the only one: its successor opens the file.
#[tokio::test]
async fn a_restart_resumes_runs_at_once() {
    let world = World::new().await;
    let one = world.start(1).await;
    let hub = world.hub().await;
    let held = hub.hold().await;
    world.assign(&one).await;
    reach(async || one.in_flight() == 1).await;
    for lease in world.store.leases().await.unwrap() {
        world.store.release(lease.token).await.unwrap();
    }
    let two = world.start(2).await;
    assert_eq!(two.in_flight(), 1);
    drop(held);
    reach(async || world.is_assigned().await).await;
    assert_eq!(world.counted().await, 1);
}
