//! A store with one instance, and processes on handles of their own.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use durable::Sealer;
use model::{
    Attribution, Day, DeviceSpec, HubName, IndividualEnrollment, Instance, LeaseToken, LinkedHub,
    PendingStep, ProvisioningStatus, Registration, Status,
};
use provisioning::{
    Ports, Provisioning,
    ports::{
        AssignmentRuns, Change, Clock, Commit, Commits, Expect, InstanceWriter, Instances, Lease, LeaseName,
        Leases, LogLimits, Registrations, RunnerId, StoreError, Unknown, Usage,
    },
};
use runner::{JobPorts, Retention, Runner, RunnerLimits};
use store::{EmbeddedStore, SystemClock};
use tempfile::TempDir;
use testkit::{
    clock::SteppedClock,
    entropy::SeededEntropy,
    hub::{FakeHub, FakeHubs},
    revocation_lists::FakeListSource,
    sample,
    webhook::FakeWebhook,
};
use tokio::{
    sync::OwnedRwLockWriteGuard,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub const SCOPE: &str = "one";
pub const ID: &str = "dev-1";

/// A store with one linked hub.
pub struct World {
    pub store: EmbeddedStore,
    pub hubs: Arc<FakeHubs>,
    pub lists: Arc<FakeListSource>,
    /// The clock of the processes.
    pub clock: Arc<SteppedClock>,
    pub change_log: LogLimits,
    _directory: TempDir,
}

/// The leases of a process, which may be cut off from the store.
pub struct ProcessLeases {
    store: EmbeddedStore,
    is_cut_off: AtomicBool,
}

/// A process with its runner.
pub struct Process {
    pub provisioning: Arc<Provisioning>,
    pub runner: Arc<Runner>,
    /// Ends it as a process does that is stopped: it releases its leases.
    pub ended: CancellationToken,
    draining: CancellationToken,
    leases: Arc<ProcessLeases>,
    tasks: JoinSet<()>,
}

impl World {
    pub async fn new() -> World {
        let clock = Arc::new(SteppedClock::default());
        World::with_clocks(clock.clone(), clock).await
    }

    /// Creates a world whose store measures leases by the time that passes.
    pub async fn in_real_time() -> World {
        World::with_clocks(Arc::new(SteppedClock::default()), Arc::new(SystemClock)).await
    }

    async fn with_clocks(clock: Arc<SteppedClock>, of_leases: Arc<dyn Clock>) -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("store.db"), Sealer::from_key([7; 32]));
        let store = store.unwrap().with_lease_clock(of_leases);
        let instance = sample::instance(SCOPE);
        let hub = LinkedHub { takes_new_devices: true, ..instance.linked_hubs[0].clone() };
        let hubs = Arc::new(FakeHubs::new([hub.name.clone()]));
        // The oldest entry of the change log.
        let by = Attribution { at: clock.now().plus_seconds(-20 * 86_400), ..sample::by() };
        store.put_instance(Instance { linked_hubs: vec![hub], ..instance }, by).await.unwrap();
        let change_log = LogLimits { days: 30, rows: 1_000 };
        World { store, hubs, lists: Arc::default(), clock, change_log, _directory: directory }
    }

    pub async fn instance(&self) -> Arc<Instance> {
        self.store.instance(&sample::scope(SCOPE)).await.unwrap().unwrap()
    }

    async fn hub_name(&self) -> HubName {
        self.instance().await.linked_hubs[0].name.clone()
    }

    pub async fn hub(&self) -> Arc<FakeHub> {
        self.hubs.hub(&self.hub_name().await).unwrap()
    }

    /// Writes down a run that is to be executed under the lease of this process.
    pub async fn assign(&self, process: &Process) {
        let mut enrollment: IndividualEnrollment = sample::individual(ID);
        enrollment.settings.provisioning_status = ProvisioningStatus::Enabled;
        let mut registration: Registration = sample::while_assigning(sample::registration(ID));
        registration.record.last_updated = self.clock.now();
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

    /// Starts a run at this process, and holds it up at the hub until the guard is dropped.
    pub async fn assign_held(&self, process: &Process) -> OwnedRwLockWriteGuard<()> {
        let held = self.hub().await.hold().await;
        self.assign(process).await;
        reach(async || process.in_flight() == 1).await;
        held
    }

    /// Lets the hub answer a run that was held up, and waits until the device is assigned.
    pub async fn finish(&self, held: OwnedRwLockWriteGuard<()>) {
        drop(held);
        reach(async || self.is_assigned().await).await;
    }

    /// Returns the verbs over a handle of their own.
    pub fn verbs(&self, number: u64) -> Arc<Provisioning> {
        Arc::new(Provisioning::new(Ports {
            store: Arc::new(self.store.beside().unwrap()),
            hubs: self.hubs.clone(),
            webhook: Arc::new(FakeWebhook::default()),
            topology: Arc::new(Unknown),
            clock: self.clock.clone(),
            entropy: Arc::new(SeededEntropy::new(number)),
        }))
    }

    /// Starts a process whose work another one takes over within 20 seconds.
    pub async fn start(&self, number: u64) -> Process {
        self.start_with(number, RunnerLimits::default()).await
    }

    /// Starts a process with these limits.
    pub async fn start_with(&self, number: u64, limits: RunnerLimits) -> Process {
        let store = self.store.beside().unwrap();
        let leases = Arc::new(ProcessLeases { store, is_cut_off: AtomicBool::new(false) });
        let provisioning = self.verbs(number);
        let retention = Retention { change_log: self.change_log, attempts_days: 30 };
        let jobs = JobPorts { lists: self.lists.clone(), retention };
        let id = RunnerId::random(&SeededEntropy::new(number));
        let runner = Runner::with_limits(Arc::clone(&provisioning), leases.clone(), id, limits);
        let runner = Arc::new(runner.with_jobs(jobs));
        runner.start().await.unwrap();
        let (ended, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let draining = ended.child_token();
        let (keeper, worker) = (Arc::clone(&runner), Arc::clone(&runner));
        let (kept, worked) = (ended.clone(), draining.clone());
        tasks.spawn(async move { keeper.keep_leases(kept).await });
        tasks.spawn(async move { worker.work(worked).await });
        Process { provisioning, runner, ended, draining, leases, tasks }
    }

    async fn is_assigned(&self) -> bool {
        let found = self.store.registration(&sample::scope(SCOPE), &sample::registration_id(ID)).await;
        matches!(found.unwrap().unwrap().status, Status::Assigned(_))
    }

    pub async fn counted(&self) -> u64 {
        let days = (Day::from_number(0), Day::from_number(1_000_000));
        let rows = self.store.usage(&sample::scope(SCOPE), days.0, days.1).await.unwrap();
        rows.iter().map(|row| row.count).sum()
    }
}

impl Process {
    pub fn in_flight(&self) -> usize {
        self.runner.assignments().in_flight()
    }

    /// Begins its shutdown: it starts nothing any more, and its runs go on.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Ends the process without notice.
    pub async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Cuts its leases off from the store: it cannot renew them, and does not know of other holders.
    pub fn cut_off(&self) {
        self.leases.is_cut_off.store(true, Ordering::SeqCst);
    }

    /// Whether it may register devices.
    pub fn is_ready(&self) -> bool {
        self.runner.assignments().lease().is_some()
    }
}

impl ProcessLeases {
    async fn reach(&self) -> &EmbeddedStore {
        match self.is_cut_off.load(Ordering::SeqCst) {
            true => pending().await,
            false => &self.store,
        }
    }
}

#[async_trait]
impl Leases for ProcessLeases {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.reach().await.claim(name, holder, time).await
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        self.reach().await.release(token).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.reach().await.leases().await
    }
}

/// Waits until something is so.
pub async fn reach(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.unwrap();
}
