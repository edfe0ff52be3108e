//! The assignment runner: executes each run once, however many requests wait for it, until it ends.
//!
//! A run that fails for now is retried after the back-off that it returns; the device gets `assigning` meanwhile. Between two
//! tries only the names of a run are in memory: its work is in the store, and is read when it is due, within the memory that
//! runs may take. Runs that a crash interrupted are resumed at the start in the same way. Two requests of one device that
//! arrive together share one run, and count as one operation.

mod task;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use model::{
    IdScope, Instance, LeaseToken, OperationId, Quota, RateLimit, Registration, RegistrationId, Status,
    StatusKind,
};
use provisioning::{
    Error, Provisioning,
    ports::{AssignmentRuns, PageRequest, RunStatus},
    register::{AssignmentRun, RunOutcome, WaitingRun},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use task::RunTask;

use crate::{
    lease::LeaseHandle,
    memory::{Reserved, RunMemory},
    rate::Rates,
    shares::{Share, Shares},
};

/// Runs in progress, most of which wait, at about a kilobyte each. A run beyond that is in the store, and is started when its
/// device polls, or by the reconciler.
const MAX_RUNS: usize = 100_000;

/// Registrations read at once to find unfinished runs.
const PAGE: usize = 100;

/// Caps per instance and per hub, so that one unavailable hub, or an instance with only such hubs, cannot use up all slots.
const LIMITS: RunLimits = RunLimits { per_instance: 50_000, per_target: 20_000 };

/// How many runs may be in progress.
#[derive(Debug, Clone, Copy)]
pub struct RunLimits {
    /// Of one instance.
    pub per_instance: usize,
    /// Of these, for one hub or webhook.
    pub per_target: usize,
}

impl Default for RunLimits {
    fn default() -> RunLimits {
        LIMITS
    }
}

/// Executes assignment runs. Clones share the runs.
#[derive(Clone)]
pub struct AssignmentRunner {
    shared: Arc<Shared>,
}

struct Shared {
    provisioning: Arc<Provisioning>,
    /// The lease that runs are executed under.
    lease: LeaseHandle,
    in_flight: Mutex<HashMap<RunKey, InFlight>>,
    per_instance: Arc<Shares<IdScope>>,
    per_target: Arc<Shares<Target>>,
    limits: RunLimits,
    memory: RunMemory,
    rates: Rates,
}

/// The instance of a run, and the hub or webhook that it needs. Another instance's link to the same hub is a target of its
/// own, for it may work when this one does not.
type Target = (IdScope, Box<str>);

type RunKey = (IdScope, RegistrationId);

/// How far a run is.
enum Progress {
    /// It is a confirmation, which leaves no trace if it ends soon.
    InMemory,
    /// It outlives this process, so that a device may be answered `assigning`.
    Persisted,
    /// It has ended.
    Ended(RunOutcome),
}

type Watcher = watch::Receiver<Progress>;

/// Where the work of a run is.
enum Source {
    /// In memory, within the bytes that are reserved for it.
    Loaded(Box<AssignmentRun>, Reserved),
    /// In the store; it is read when it is due.
    Stored(WaitingRun),
}

impl Source {
    fn is_in_memory(&self) -> bool {
        matches!(self, Source::Loaded(run, _) if !run.is_persisted())
    }
}

/// A run in progress.
struct InFlight {
    operation_id: OperationId,
    /// Whether the store had the run when it started, which it has a confirmation only later.
    was_persisted: bool,
    progress: Watcher,
    /// An earlier run for the same device, which ends first.
    predecessor: Option<Watcher>,
    signals: Arc<Signals>,
    since: Instant,
}

/// A run that is to start.
struct StartRequest<'a> {
    key: RunKey,
    operation_id: OperationId,
    /// Whether the store has the run.
    is_persisted: bool,
    target: &'a str,
    /// How many runs its instance starts in a minute.
    rate: Option<RateLimit>,
}

/// What others ask of a run.
#[derive(Default)]
struct Signals {
    /// To end its back-off.
    wake: Notify,
    /// To persist it, because a device is about to be answered `assigning`.
    persist: Notify,
}

/// Why a run is not started. It stays in the store, or is persisted there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotStarted {
    /// There is no slot or no memory for it, or two other runs of its device go first.
    NoSlot,
    /// Its instance has started as many as it may in this time.
    RateLimited,
}

impl AssignmentRunner {
    /// Creates a runner without runs, which executes them while this process has this lease.
    pub(crate) fn new(
        provisioning: Arc<Provisioning>,
        lease: LeaseHandle,
        limits: RunLimits,
    ) -> AssignmentRunner {
        let shared = Shared {
            provisioning,
            lease,
            in_flight: Mutex::default(),
            per_instance: Arc::default(),
            per_target: Arc::default(),
            limits,
            memory: RunMemory::default(),
            rates: Rates::default(),
        };
        AssignmentRunner { shared: Arc::new(shared) }
    }

    /// Waits until another runner has gone, whose runs can be taken over.
    pub(crate) async fn peer_gone(&self) {
        self.shared.lease.peer_gone().await;
    }

    pub(crate) fn provisioning(&self) -> &Provisioning {
        &self.shared.provisioning
    }

    /// Returns whether this process has the lease that runs are executed under: it renewed it within the last ten seconds.
    pub fn has_lease(&self) -> bool {
        self.shared.lease.current().is_some()
    }

    /// Returns the number of runs that have not ended.
    pub fn in_flight(&self) -> usize {
        self.shared.lock().len()
    }

    /// Resumes the runs that were interrupted when the service last ended, and returns how many there are; those of other runners
    /// that live are not among them. They are read a page at a time, and of each only its names are kept.
    pub async fn resume_all(&self) -> Result<usize, Error> {
        let (mut count, mut own) = (0, 0);
        for instance in self.provisioning().instances().await? {
            let mut page = PageRequest { after: None, limit: PAGE };
            loop {
                let found = self.provisioning().unfinished_runs(&instance.id_scope, page).await?;
                count += found.items.len();
                own += self.resume_page(&instance, found.items);
                let Some(next) = found.next.filter(|_| count < MAX_RUNS) else { break };
                page = PageRequest { after: Some(next), limit: PAGE };
            }
        }
        Ok(own)
    }

    /// Resumes those runs of a page that are not in progress and for which there is a slot. Returns how many no other runner
    /// executes.
    pub(crate) fn resume_page(&self, instance: &Instance, runs: Vec<WaitingRun>) -> usize {
        let mut own = 0;
        for run in runs.into_iter().filter(|run| !self.is_of_peer(run)) {
            own += 1;
            // Its device polls, or the reconciler comes back to it.
            let _ = self.resume(instance, run);
        }
        own
    }

    /// Returns whether another runner executes a run.
    fn is_of_peer(&self, run: &WaitingRun) -> bool {
        run.runner.is_some_and(|token| self.shared.lease.is_of_peer(token))
    }

    /// Returns how long a run of this device has been in progress.
    pub(crate) fn running_for(&self, scope: &IdScope, registration_id: &RegistrationId) -> Option<Duration> {
        let in_flight = self.shared.lock();
        let run = in_flight.get(&(scope.clone(), registration_id.clone()))?;
        run.is_running().then(|| run.since.elapsed())
    }

    /// Starts a run that was found in the store and that no other runner executes, unless it is in progress here.
    fn resume(&self, instance: &Instance, run: WaitingRun) -> Result<(), NotStarted> {
        let wanted = StartRequest {
            key: (run.scope.clone(), run.registration_id.clone()),
            operation_id: run.operation_id.clone(),
            is_persisted: true,
            target: &run.target.clone(),
            rate: instance.rate_limit(Quota::RegistrationsPerMinute),
        };
        self.start(wanted, |_| Some(Source::Stored(run))).map(drop)
    }

    /// Returns how long a run has been in progress that may change what the registration says. A registration that failed or
    /// is disabled was ended by an operator, whatever its run still does. An assigned one may be confirmed; its own run has
    /// ended, perhaps at another runner, also if it is still here.
    fn running_for_record(&self, scope: &IdScope, registration: &Registration) -> Option<Duration> {
        let has_ended = match registration.status.kind() {
            StatusKind::Assigning => false,
            StatusKind::Assigned => self.has_run_of(scope, registration),
            StatusKind::Failed | StatusKind::Disabled => true,
        };
        if has_ended { None } else { self.running_for(scope, &registration.registration_id) }
    }

    /// Returns whether the run that the registration says has ended is still here. Wakes it, so that it notices.
    fn has_run_of(&self, scope: &IdScope, registration: &Registration) -> bool {
        let in_flight = self.shared.lock();
        let run = in_flight
            .get(&(scope.clone(), registration.registration_id.clone()))
            .filter(|run| run.was_persisted && run.operation_id == registration.operation_id);
        run.iter().for_each(|run| run.signals.wake.notify_one());
        run.is_some()
    }

    /// Waits until the run of this device, if one is in progress, is persisted or has ended.
    async fn persist(&self, scope: &IdScope, registration_id: &RegistrationId) -> Result<(), Error> {
        let key = (scope.clone(), registration_id.clone());
        let found = self.shared.lock().get(&key).map(|run| (run.progress.clone(), Arc::clone(&run.signals)));
        let Some((mut progress, signals)) = found else { return Ok(()) };
        persisted(&mut progress, &signals).await;
        progress.borrow().status(|| None).map(drop)
    }

    /// Returns where the work of a new run is to be while it waits for its start: in memory if there is room. One that has to
    /// wait, or was tried before, is read when it is due; so is one that was not made under the present lease. A confirmation,
    /// which is not in the store, can wait for neither.
    fn source(&self, run: &AssignmentRun, has_predecessor: bool) -> Option<Source> {
        let is_held = run.runner().is_some() && run.runner() == self.shared.lease.current();
        let waits = run.is_persisted() && (has_predecessor || run.is_from_store());
        let reserved =
            if waits || !is_held { None } else { self.shared.memory.try_reserve(&run.scope, run.memory()) };
        match reserved {
            Some(reserved) => Some(Source::Loaded(Box::new(run.clone()), reserved)),
            None if !run.is_persisted() => None,
            None => Some(Source::Stored(self.provisioning().waiting_run(&run.scope, &run.registration)?)),
        }
    }

    /// Starts a run, or joins it. An earlier run of the same device ends first; a third one is not started.
    fn start(
        &self,
        wanted: StartRequest<'_>,
        source: impl FnOnce(bool) -> Option<Source>,
    ) -> Result<(Watcher, Arc<Signals>), NotStarted> {
        let StartRequest { key, operation_id, is_persisted, target, rate } = wanted;
        let mut in_flight = self.shared.lock();
        let earlier = in_flight.get(&key).filter(|earlier| earlier.is_running());
        // A confirmation has the operation ID of the assignment before it. That one has ended, perhaps at another runner.
        let is_same = |earlier: &&InFlight| {
            earlier.operation_id == operation_id && (is_persisted || !earlier.was_persisted)
        };
        if let Some(same) = earlier.filter(is_same) {
            return Ok((same.progress.clone(), Arc::clone(&same.signals)));
        }
        if in_flight.len() >= MAX_RUNS || earlier.is_some_and(InFlight::waits_for_predecessor) {
            return Err(NotStarted::NoSlot);
        }
        let slot = self.shared.slot(&key.0, target).ok_or(NotStarted::NoSlot)?;
        let source = source(earlier.is_some()).ok_or(NotStarted::NoSlot)?;
        // Last, so that a run that does not start for another reason is not counted. Every start passes here.
        if !self.shared.rates.admits(&key.0, rate) {
            return Err(NotStarted::RateLimited);
        }
        // It finds that its record was replaced, and ends.
        earlier.iter().for_each(|earlier| earlier.signals.wake.notify_one());
        let predecessor = earlier.map(|earlier| earlier.progress.clone());
        let first = if source.is_in_memory() { Progress::InMemory } else { Progress::Persisted };
        let (sender, progress) = watch::channel(first);
        let signals = Arc::new(Signals::default());
        let entry = InFlight {
            operation_id,
            was_persisted: is_persisted,
            progress: progress.clone(),
            predecessor: predecessor.clone(),
            signals: Arc::clone(&signals),
            since: Instant::now(),
        };
        in_flight.insert(key.clone(), entry);
        drop(in_flight);
        let (runner, wanted) = (self.clone(), Arc::clone(&signals));
        tokio::spawn(async move {
            let task = RunTask { runner: &runner.shared, signals: &wanted, progress: &sender };
            let ended = task.run(source, predecessor).await;
            drop(slot);
            if let RunOutcome::Registration(registration) = &ended {
                log_failure(&key.0, registration);
            }
            runner.shared.remove(&key, &wanted);
            sender.send_replace(Progress::Ended(ended));
        });
        Ok((progress, signals))
    }
}

#[async_trait]
impl AssignmentRuns for AssignmentRunner {
    async fn execute(
        &self,
        instance: &Instance,
        run: AssignmentRun,
        at_most: Duration,
    ) -> Result<RunStatus, Error> {
        let key = (run.scope.clone(), run.registration.registration_id.clone());
        let wanted = StartRequest {
            key: key.clone(),
            operation_id: run.registration.operation_id.clone(),
            is_persisted: run.is_persisted(),
            target: run.target(),
            rate: instance.rate_limit(Quota::RegistrationsPerMinute),
        };
        let (mut progress, signals) = match self.start(wanted, |follows| self.source(&run, follows)) {
            Ok(started) => started,
            Err(reason) => {
                // It is resumed when the device polls. Two SDKs give up when the service answers that it is busy.
                self.provisioning().persist(&run).await?;
                return Ok(reason.status(Duration::ZERO));
            }
        };
        drop(run);
        if timeout(at_most, progress.wait_for(Progress::has_ended)).await.is_err() {
            persisted(&mut progress, &signals).await;
        }
        progress.borrow().status(|| self.running_for(&key.0, &key.1))
    }

    fn used_rate(&self, instance: &Instance) -> Option<u32> {
        let rate = instance.rate_limit(Quota::RegistrationsPerMinute)?;
        Some(self.shared.rates.used(&instance.id_scope, rate))
    }

    async fn join(
        &self,
        instance: &Instance,
        registration: &Registration,
    ) -> Result<Option<RunStatus>, Error> {
        let scope = &instance.id_scope;
        let unfinished = self.provisioning().waiting_run(scope, registration);
        let running = self.running_for_record(scope, registration);
        if unfinished.is_none() && running.is_none() {
            return Ok(None);
        }
        let own = unfinished.filter(|run| !self.is_of_peer(run));
        let started = own.map_or(Ok(()), |run| self.resume(instance, run));
        self.persist(scope, &registration.registration_id).await?;
        // Another process may execute it: only the record says since when.
        let since = running.unwrap_or_else(|| self.provisioning().assigning_for(registration));
        Ok(Some(started.map_or_else(|reason| reason.status(since), |()| RunStatus::InProgress(since))))
    }

    fn lease(&self) -> Option<LeaseToken> {
        self.shared.lease.current()
    }

    fn wake(&self, scope: &IdScope, registration_id: &RegistrationId) {
        let key = (scope.clone(), registration_id.clone());
        if let Some(run) = self.shared.lock().get(&key) {
            run.signals.wake.notify_one();
        }
    }
}

impl Shared {
    /// Takes a slot of the instance and one of the target, which are given back on drop.
    fn slot(&self, scope: &IdScope, target: &str) -> Option<(Share<IdScope>, Share<Target>)> {
        let of_instance = self.per_instance.take(scope.clone(), self.limits.per_instance)?;
        let target = (scope.clone(), target.into());
        Some((of_instance, self.per_target.take(target, self.limits.per_target)?))
    }

    /// Removes a run that ends, unless a later one of its device is there.
    fn remove(&self, key: &RunKey, signals: &Arc<Signals>) {
        let mut in_flight = self.lock();
        if in_flight.get(key).is_some_and(|run| Arc::ptr_eq(&run.signals, signals)) {
            in_flight.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunKey, InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Warns of an assignment that failed. Its device gets the same reason when it polls.
fn log_failure(scope: &IdScope, registration: &Registration) {
    if let Status::Failed { failure, .. } = &registration.status {
        tracing::warn!(
            instance.id_scope = %scope,
            registration.id = %registration.registration_id,
            failure = ?failure.reason,
            reason = failure.message,
            "assignment failed"
        );
    }
}

/// Has the run persisted if it is in memory, and waits for that.
async fn persisted(progress: &mut Watcher, signals: &Signals) {
    signals.persist.notify_one();
    // An error means that the task has ended in a panic.
    let _ = progress.wait_for(|progress| !matches!(progress, Progress::InMemory)).await;
}

impl Progress {
    /// Returns the status of the run, which has been in progress since then if it continues.
    fn status(&self, since: impl FnOnce() -> Option<Duration>) -> Result<RunStatus, Error> {
        match self {
            Progress::Ended(RunOutcome::Registration(registration)) => {
                Ok(RunStatus::Ended(registration.clone()))
            }
            Progress::Ended(RunOutcome::Deleted) => Ok(RunStatus::Deleted),
            Progress::Ended(RunOutcome::Abandoned(error)) => Err(error.clone()),
            Progress::Ended(RunOutcome::Retry(_) | RunOutcome::TakenOver)
            | Progress::InMemory
            | Progress::Persisted => Ok(RunStatus::InProgress(since().unwrap_or_default())),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Progress::Ended(_))
    }
}

impl NotStarted {
    fn status(self, since: Duration) -> RunStatus {
        match self {
            NotStarted::NoSlot => RunStatus::InProgress(since),
            NotStarted::RateLimited => RunStatus::RateLimited,
        }
    }
}

impl InFlight {
    fn is_running(&self) -> bool {
        is_running(&self.progress)
    }

    fn waits_for_predecessor(&self) -> bool {
        self.predecessor.as_ref().is_some_and(is_running)
    }
}

/// Returns whether a run has not ended: neither with an outcome nor in a panic, which closes the channel.
fn is_running(progress: &Watcher) -> bool {
    progress.has_changed().is_ok() && !progress.borrow().has_ended()
}
