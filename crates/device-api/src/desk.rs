//! Where runs are carried out: once each, however many requests wait for them, and until they end.
//!
//! A run that a hub holds up is tried again after the pause that it comes back with; the device is told `assigning`
//! meanwhile. While it waits, only its names are in memory: its work is on disk, and is read when it is due, within the
//! memory that runs may take. Runs that were cut off by a crash are taken up again at the start in the same way. Two requests of one device that arrive together are one
//! instruction, share one run and count as one operation.

mod way;

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::{IdScope, Instance, OperationId, Registration, RegistrationId, Status, StatusKind};
use net::{Share, Shares};
use provisioning::{
    Error, Provisioning,
    ports::PageRequest,
    register::{AssignmentRun, RunOutcome, WaitingRun},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use way::Way;

use crate::{
    memory::{Reserved, RunMemory},
    rate::Rates,
};

/// Runs under way at once, most of which wait, at about a kilobyte each; beyond it devices are asked to come back. A run
/// that was begun is on disk and is taken up when the device asks again, or by the sweep.
const MAX_RUNS: usize = 100_000;

/// How many unfinished registrations are read at a time.
const PAGE: usize = 100;

/// Of these, the runs of one instance and those for one of its hubs: who is down must not take the places of all others.
const ROOM: Room = Room { of_instance: 50_000, of_hub: 20_000 };

/// How many runs may be under way for the same.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Of one instance.
    pub of_instance: usize,
    /// Of these, for one hub or webhook.
    pub of_hub: usize,
}

/// Carries out runs.
pub struct Desk {
    provisioning: Arc<Provisioning>,
    under_way: Mutex<HashMap<RunKey, UnderWay>>,
    of_instance: Arc<Shares<IdScope>>,
    of_hub: Arc<Shares<Awaited>>,
    room: Room,
    memory: RunMemory,
    rates: Rates,
}

/// The instance of a run, and the hub or webhook that it waits for. Another instance's link to the same hub is another way
/// there, which may be in order when this one is not.
type Awaited = (IdScope, Box<str>);

type RunKey = (IdScope, RegistrationId);

/// How far a run is.
enum Progress {
    /// It is a confirmation, which leaves no trace if it ends soon.
    InMemory,
    /// Whoever asks may be told that it is under way: it outlives this process.
    OnDisk,
    /// It has ended.
    Ended(RunOutcome),
}

type Outcome = watch::Receiver<Progress>;

/// What is to be carried out.
enum Job {
    /// This run, within the memory that is set aside for it.
    Loaded(Box<AssignmentRun>, Reserved),
    /// A run that is on disk, and is read when it is due.
    Stored(WaitingRun),
}

impl Job {
    fn is_persisted(&self) -> bool {
        !matches!(self, Job::Loaded(run, _) if !run.is_persisted())
    }
}

struct UnderWay {
    operation_id: OperationId,
    outcome: Outcome,
    /// An earlier run for the same device, which ends first.
    after: Option<Outcome>,
    signals: Arc<Signals>,
    since: Instant,
}

/// A run that is to start.
struct Wanted<'a> {
    key: RunKey,
    operation_id: OperationId,
    target: &'a str,
    /// How many runs its instance starts in a minute.
    per_minute: Option<NonZeroU32>,
}

/// What is wanted of a run.
#[derive(Default)]
struct Signals {
    /// That it ends its pause.
    hurry: Notify,
    /// That it is written down, if it is not: somebody is to be told that it is under way.
    hold: Notify,
}

/// Where a run stands when the waiting is over.
pub(crate) enum Waited {
    /// It ended.
    Ended(Box<Registration>),
    /// It goes on.
    GoesOn,
    /// It is on disk: its instance carries out no more of them at the moment.
    BeyondRate,
    /// Its registration was deleted.
    Deleted,
}

/// Why a run is not started. It stays on disk, or is put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStarted {
    /// There is no place or no memory for it, or two others of its device go first.
    NoPlace,
    /// Its instance has begun as many as it may in this time.
    BeyondRate,
}

impl Desk {
    /// A desk without runs.
    pub fn new(provisioning: Arc<Provisioning>) -> Arc<Self> {
        Self::with_room(provisioning, ROOM)
    }

    /// A desk that takes so many runs.
    pub fn with_room(provisioning: Arc<Provisioning>, room: Room) -> Arc<Self> {
        let (of_instance, of_hub) = (Arc::default(), Arc::default());
        let (memory, rates) = (RunMemory::default(), Rates::default());
        Arc::new(Desk { provisioning, under_way: Mutex::default(), of_instance, of_hub, room, memory, rates })
    }

    /// The verbs that it carries out.
    pub(crate) fn provisioning(&self) -> &Provisioning {
        &self.provisioning
    }

    /// Runs that have not ended.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Takes up the runs that were cut off when the service last ended; returns how many. They are read a page at a time,
    /// and of each only its names are kept.
    pub async fn resume(self: &Arc<Self>) -> Result<usize, Error> {
        let mut count = 0;
        for instance in self.provisioning.instances().await? {
            let mut page = PageRequest { after: None, limit: PAGE };
            loop {
                let found = self.provisioning.unfinished_runs(&instance.id_scope, page).await?;
                count += found.items.len();
                self.take_up_all(&instance, found.items);
                let Some(next) = found.next.filter(|_| count < MAX_RUNS) else { break };
                page = PageRequest { after: Some(next), limit: PAGE };
            }
        }
        Ok(count)
    }

    /// Has a run carried out that was found on disk, unless it is under way or there are too many: then it stays there.
    pub(crate) fn take_up(self: &Arc<Self>, instance: &Instance, run: WaitingRun) -> Result<(), NotStarted> {
        let wanted = Wanted {
            key: (run.scope.clone(), run.registration_id.clone()),
            operation_id: run.operation_id.clone(),
            target: &run.target.clone(),
            per_minute: instance.max_registrations_per_minute,
        };
        self.start(wanted, |_| Some(Job::Stored(run))).map(drop)
    }

    /// Has those of the runs carried out that may start.
    pub(crate) fn take_up_all(self: &Arc<Self>, instance: &Instance, runs: Vec<WaitingRun>) {
        for run in runs {
            // Its device asks again, or the sweep comes back to it.
            let _ = self.take_up(instance, run);
        }
    }

    /// Has the run carried out, and waits for its end at most so long. It goes on when the waiting is over.
    pub(crate) async fn carry_out(
        self: &Arc<Self>,
        instance: &Instance,
        run: AssignmentRun,
        at_most: Duration,
    ) -> Result<Waited, Error> {
        let wanted = Wanted {
            key: (run.scope.clone(), run.registration.registration_id.clone()),
            operation_id: run.registration.operation_id.clone(),
            target: run.target(),
            per_minute: instance.max_registrations_per_minute,
        };
        let (mut outcome, signals) = match self.start(wanted, |follows| self.job(&run, follows)) {
            Ok(started) => started,
            Err(reason) => {
                // It is taken up when the device asks again. Two SDKs give up when they are told that the service is busy.
                self.provisioning.persist(&run).await?;
                return Ok(reason.waited());
            }
        };
        drop(run);
        if timeout(at_most, outcome.wait_for(Progress::has_ended)).await.is_err() {
            on_disk(&mut outcome, &signals).await;
        }
        outcome.borrow().waited()
    }

    /// Waits until the run for this device that is under way is on disk, or has ended: somebody is to be told that it is
    /// under way.
    pub(crate) async fn hold(&self, scope: &IdScope, registration_id: &RegistrationId) -> Result<(), Error> {
        let key = (scope.clone(), registration_id.clone());
        let found = self.lock().get(&key).map(|run| (run.outcome.clone(), Arc::clone(&run.signals)));
        let Some((mut outcome, signals)) = found else { return Ok(()) };
        on_disk(&mut outcome, &signals).await;
        outcome.borrow().waited().map(drop)
    }

    /// How long a run has been under way that may change what the registration says; `None` when there is none. A
    /// registration that failed or is disabled has been ended by somebody else, whatever its run is still at.
    pub(crate) fn under_way_for(&self, scope: &IdScope, registration: &Registration) -> Option<Duration> {
        match registration.status.kind() {
            StatusKind::Assigning | StatusKind::Assigned => self.since(scope, &registration.registration_id),
            StatusKind::Failed | StatusKind::Disabled => None,
        }
    }

    /// How long a run for this device has been under way.
    pub(crate) fn since(&self, scope: &IdScope, registration_id: &RegistrationId) -> Option<Duration> {
        let under_way = self.lock();
        let run = under_way.get(&(scope.clone(), registration_id.clone()))?;
        run.goes_on().then(|| run.since.elapsed())
    }

    /// A run that was just begun is carried out as it is, if there is memory for it. One that has to wait first, or was tried
    /// before, is read when it is due; a confirmation, which is not on disk, cannot wait for memory.
    fn job(&self, run: &AssignmentRun, follows: bool) -> Option<Job> {
        let waits = run.is_persisted() && (follows || run.is_from_store());
        let reserved = if waits { None } else { self.memory.try_reserve(&run.scope, run.memory()) };
        match reserved {
            Some(reserved) => Some(Job::Loaded(Box::new(run.clone()), reserved)),
            None if !run.is_persisted() => None,
            None => Some(Job::Stored(self.provisioning.waiting_run(&run.scope, &run.registration)?)),
        }
    }

    /// Starts a run, or joins it. A run for the same device that began earlier ends first; a third finds no place.
    fn start(
        self: &Arc<Self>,
        wanted: Wanted<'_>,
        job: impl FnOnce(bool) -> Option<Job>,
    ) -> Result<(Outcome, Arc<Signals>), NotStarted> {
        let Wanted { key, operation_id, target, per_minute } = wanted;
        let mut under_way = self.lock();
        let earlier = under_way.get(&key).filter(|earlier| earlier.goes_on());
        if let Some(same) = earlier.filter(|earlier| earlier.operation_id == operation_id) {
            return Ok((same.outcome.clone(), Arc::clone(&same.signals)));
        }
        if under_way.len() >= MAX_RUNS || earlier.is_some_and(UnderWay::waits) {
            return Err(NotStarted::NoPlace);
        }
        let place = self.place(&key.0, target).ok_or(NotStarted::NoPlace)?;
        let job = job(earlier.is_some()).ok_or(NotStarted::NoPlace)?;
        // Last, so that a run that does not start for another reason is not counted. Whatever starts a run comes by here.
        if !self.rates.admits(&key.0, per_minute) {
            return Err(NotStarted::BeyondRate);
        }
        // It finds that its record was replaced, and ends.
        earlier.iter().for_each(|earlier| earlier.signals.hurry.notify_one());
        let after = earlier.map(|earlier| earlier.outcome.clone());
        let begun = if job.is_persisted() { Progress::OnDisk } else { Progress::InMemory };
        let (sender, outcome) = watch::channel(begun);
        let signals = Arc::new(Signals::default());
        let entry = UnderWay {
            operation_id: operation_id.clone(),
            outcome: outcome.clone(),
            after: after.clone(),
            signals: Arc::clone(&signals),
            since: Instant::now(),
        };
        under_way.insert(key.clone(), entry);
        drop(under_way);
        let (desk, wanted) = (Arc::clone(self), Arc::clone(&signals));
        tokio::spawn(async move {
            let way = Way { desk: &desk, signals: &wanted, progress: &sender };
            let ended = way.follow(job, after).await;
            drop(place);
            if let RunOutcome::Registration(registration) = &ended {
                log_failure(&key.0, None, registration);
            }
            desk.forget(&key, &operation_id);
            sender.send_replace(Progress::Ended(ended));
        });
        Ok((outcome, signals))
    }

    /// A place among the runs of its instance and among those that wait for the same, given back when it is dropped.
    fn place(&self, scope: &IdScope, target: &str) -> Option<(Share<IdScope>, Share<Awaited>)> {
        let awaited = (scope.clone(), target.into());
        let of_instance = self.of_instance.take(scope.clone(), self.room.of_instance)?;
        Some((of_instance, self.of_hub.take(awaited, self.room.of_hub)?))
    }

    /// Unless a later run has taken its place.
    fn forget(&self, key: &RunKey, operation_id: &OperationId) {
        let mut under_way = self.lock();
        if under_way.get(key).is_some_and(|run| run.operation_id == *operation_id) {
            under_way.remove(key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunKey, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells operators of an assignment that failed. Its device is told the same when it asks again.
pub(crate) fn log_failure(scope: &IdScope, from: Option<IpAddr>, registration: &Registration) {
    if let Status::Failed { failure, .. } = &registration.status {
        tracing::warn!(
            instance.id_scope = %scope,
            registration.id = %registration.registration_id,
            // A device that comes again and again is summed up.
            peer.addr = from.map(tracing::field::display),
            code = wire::device::failure_code(failure.reason),
            reason = failure.message,
            "assignment failed"
        );
    }
}

/// Has the run written down, if it is in memory, and waits for that.
async fn on_disk(outcome: &mut Outcome, signals: &Signals) {
    signals.hold.notify_one();
    // An error means that it is gone: it has ended in a panic.
    let _ = outcome.wait_for(|progress| !matches!(progress, Progress::InMemory)).await;
}

impl Progress {
    fn waited(&self) -> Result<Waited, Error> {
        match self {
            Progress::Ended(RunOutcome::Registration(registration)) => {
                Ok(Waited::Ended(registration.clone()))
            }
            Progress::Ended(RunOutcome::Deleted) => Ok(Waited::Deleted),
            Progress::Ended(RunOutcome::Abandoned(error)) => Err(error.clone()),
            Progress::Ended(RunOutcome::Retry(_)) | Progress::InMemory | Progress::OnDisk => {
                Ok(Waited::GoesOn)
            }
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Progress::Ended(_))
    }
}

impl NotStarted {
    fn waited(self) -> Waited {
        match self {
            NotStarted::NoPlace => Waited::GoesOn,
            NotStarted::BeyondRate => Waited::BeyondRate,
        }
    }
}

impl UnderWay {
    fn goes_on(&self) -> bool {
        goes_on(&self.outcome)
    }

    /// For an earlier run to end.
    fn waits(&self) -> bool {
        self.after.as_ref().is_some_and(goes_on)
    }
}

/// Whether a run has not ended: neither with an outcome nor in a panic, which closes the channel.
fn goes_on(outcome: &Outcome) -> bool {
    outcome.has_changed().is_ok() && !outcome.borrow().has_ended()
}
