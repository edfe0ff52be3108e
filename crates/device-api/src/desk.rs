//! Where runs are carried out: once each, however many requests wait for them, and until they end.
//!
//! A run that a hub holds up is tried again after the pause that it comes back with; the device is told `assigning`
//! meanwhile. While it waits, only its names are in memory: its work is on disk, and is read when it is due, within the
//! memory that runs may take. Runs that were cut off by a crash are taken up again at the start in the same way. Two requests of one device that arrive together are one
//! instruction, share one run and count as one operation.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::{IdScope, OperationId, Registration, RegistrationId, Status, StatusKind};
use net::{Share, Shares};
use provisioning::{
    Error, Provisioning,
    ports::PageRequest,
    register::{Ended, Later, Resumed, Run, WaitingRun},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use crate::memory::{Reserved, RunMemory};

/// Runs under way at once, most of which wait, at about a kilobyte each; beyond it devices are asked to come back. A run
/// that was begun is on disk and is taken up when the device asks again, or by the sweep.
const MAX_RUNS: usize = 100_000;

/// How many unfinished registrations are read at a time.
const PAGE: usize = 100;

/// How long to wait when a run cannot be read from the store.
const READ_PAUSE: Duration = Duration::from_secs(5);

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
    Ended(Ended),
}

type Outcome = watch::Receiver<Progress>;

/// What is to be carried out.
enum Job {
    /// This run, within the memory that is set aside for it.
    Loaded(Box<Run>, Reserved),
    /// A run that is on disk, and is read when it is due.
    Stored(WaitingRun),
}

impl Job {
    fn is_in_memory(&self) -> bool {
        matches!(self, Job::Loaded(run, _) if run.is_in_memory())
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
    /// Its registration was deleted.
    Deleted,
}

impl Desk {
    /// A desk without runs.
    pub fn new(provisioning: Arc<Provisioning>) -> Arc<Self> {
        Self::with_room(provisioning, ROOM)
    }

    /// A desk that takes so many runs.
    pub fn with_room(provisioning: Arc<Provisioning>, room: Room) -> Arc<Self> {
        let (of_instance, of_hub) = (Arc::default(), Arc::default());
        let memory = RunMemory::default();
        Arc::new(Desk { provisioning, under_way: Mutex::default(), of_instance, of_hub, room, memory })
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
                let found = self.provisioning.unfinished(&instance.id_scope, page).await?;
                count += found.items.len();
                found.items.into_iter().for_each(|run| self.take_up(run));
                let Some(next) = found.next.filter(|_| count < MAX_RUNS) else { break };
                page = PageRequest { after: Some(next), limit: PAGE };
            }
        }
        Ok(count)
    }

    /// Has a run carried out that was found on disk, unless it is under way or there are too many.
    pub(crate) fn take_up(self: &Arc<Self>, run: WaitingRun) {
        // A run that finds no place stays on disk.
        let key = (run.scope.clone(), run.registration_id.clone());
        let (operation_id, awaited) = (run.operation_id.clone(), run.waits_for.clone());
        let _ = self.start(key, operation_id, &awaited, |_| Some(Job::Stored(run)));
    }

    /// Has the run carried out, and waits for its end at most so long. It goes on when the waiting is over.
    pub(crate) async fn carry_out(self: &Arc<Self>, run: Run, at_most: Duration) -> Result<Waited, Error> {
        let key = (run.scope.clone(), run.registration.registration_id.clone());
        let operation_id = run.registration.operation_id.clone();
        let started = self.start(key, operation_id, run.waits_for(), |follows| self.job(&run, follows));
        let Some((mut outcome, signals)) = started else {
            // It is taken up when the device asks again. Two SDKs give up when they are told that the service is busy.
            self.provisioning.hold(&run).await?;
            return Ok(Waited::GoesOn);
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
    fn job(&self, run: &Run, follows: bool) -> Option<Job> {
        let waits = !run.is_in_memory() && (follows || run.is_found());
        let reserved = if waits { None } else { self.memory.try_reserve(&run.scope, run.memory()) };
        match reserved {
            Some(reserved) => Some(Job::Loaded(Box::new(run.clone()), reserved)),
            None if run.is_in_memory() => None,
            None => Some(Job::Stored(self.provisioning.waiting_run(&run.scope, &run.registration)?)),
        }
    }

    /// Starts a run, or joins it. A run for the same device that began earlier ends first; a third finds no place: `None`.
    fn start(
        self: &Arc<Self>,
        key: RunKey,
        operation_id: OperationId,
        waits_for: &str,
        job: impl FnOnce(bool) -> Option<Job>,
    ) -> Option<(Outcome, Arc<Signals>)> {
        let mut under_way = self.lock();
        let earlier = under_way.get(&key).filter(|earlier| earlier.goes_on());
        if let Some(same) = earlier.filter(|earlier| earlier.operation_id == operation_id) {
            return Some((same.outcome.clone(), Arc::clone(&same.signals)));
        }
        if under_way.len() >= MAX_RUNS || earlier.is_some_and(UnderWay::waits) {
            return None;
        }
        let place = self.place(&key.0, waits_for)?;
        let job = job(earlier.is_some())?;
        // It finds that its record was replaced, and ends.
        earlier.iter().for_each(|earlier| earlier.signals.hurry.notify_one());
        let after = earlier.map(|earlier| earlier.outcome.clone());
        let begun = if job.is_in_memory() { Progress::InMemory } else { Progress::OnDisk };
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
            if let Ended::Registration(registration) = &ended {
                log_failure(&key.0, None, registration);
            }
            desk.forget(&key, &operation_id);
            sender.send_replace(Progress::Ended(ended));
        });
        Some((outcome, signals))
    }

    /// A place among the runs of its instance and among those that wait for the same, given back when it is dropped.
    fn place(&self, scope: &IdScope, waits_for: &str) -> Option<(Share<IdScope>, Share<Awaited>)> {
        let awaited = (scope.clone(), waits_for.into());
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

/// One run, and those who have an eye on it.
struct Way<'a> {
    desk: &'a Desk,
    signals: &'a Signals,
    progress: &'a watch::Sender<Progress>,
}

impl Way<'_> {
    /// To the end, once the earlier run has ended. The boxes hold what work takes, so that a run that waits is small.
    async fn follow(&self, job: Job, after: Option<Outcome>) -> Ended {
        let (waiting, first) = match job {
            Job::Loaded(run, reserved) => {
                let waiting = run.waiting();
                (waiting, Box::pin(self.begin(run, reserved, after)).await)
            }
            Job::Stored(waiting) => {
                if let Some(mut earlier) = after {
                    drop(earlier.wait_for(Progress::has_ended).await);
                }
                self.pause(waiting.pause).await;
                let first = Box::pin(self.resume(&waiting)).await;
                (waiting, Ok(first))
            }
        };
        match first {
            Ok(Ended::Later(later)) => self.until_ended(&waiting, later).await,
            Ok(ended) => ended,
            Err(error) => Ended::GivenUp(error),
        }
    }

    /// The first try of a run that was just begun.
    async fn begin(&self, run: Box<Run>, reserved: Reserved, after: Option<Outcome>) -> Result<Ended, Error> {
        let mut run = *run;
        if let Some(mut earlier) = after {
            // An error means that the earlier run is gone: it has ended too.
            let earlier = async { drop(earlier.wait_for(Progress::has_ended).await) };
            let ((), held) = self.or_hold(&run, earlier).await?;
            run = held.unwrap_or(run);
        }
        let provisioning = &self.desk.provisioning;
        let ended = if run.is_in_memory() {
            let (confirmed, held) = self.or_hold(&run, provisioning.confirm(&run)).await?;
            provisioning.record_confirmed(&held.unwrap_or(run), confirmed).await
        } else {
            provisioning.carry_out(&run).await
        };
        drop(reserved);
        Ok(ended)
    }

    /// Tries again and again. What is tried a second time is on disk; between two tries it is nowhere else.
    async fn until_ended(&self, waiting: &WaitingRun, mut later: Box<Later>) -> Ended {
        self.is_on_disk();
        loop {
            tell_of(&later);
            let pause = later.pause;
            drop(later);
            self.pause(pause).await;
            match Box::pin(self.resume(waiting)).await {
                Ended::Later(next) => later = next,
                ended => return ended,
            }
        }
    }

    /// Reads a run that is due, as soon as there is memory for it, and carries it out.
    async fn resume(&self, waiting: &WaitingRun) -> Ended {
        loop {
            let reserved = self.desk.memory.reserve(&waiting.scope).await;
            match self.desk.provisioning.resume(waiting).await {
                Ok(Resumed::Run(run)) => {
                    let _held = reserved.map(|mut reserved| {
                        reserved.shrink_to(run.memory());
                        reserved
                    });
                    return self.desk.provisioning.carry_out(&run).await;
                }
                Ok(Resumed::Ended(ended)) => return ended,
                Err(error) => {
                    drop(reserved);
                    tracing::warn!(
                        instance.id_scope = %waiting.scope,
                        registration.id = %waiting.registration_id,
                        %error,
                        "an assignment could not be read, will be tried again"
                    );
                    self.pause(READ_PAUSE).await;
                }
            }
        }
    }

    /// Does some work, and writes the run down meanwhile as soon as that is wanted; then it is returned as it is on disk.
    async fn or_hold<T>(&self, run: &Run, work: impl Future<Output = T>) -> Result<(T, Option<Run>), Error> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = work.as_mut() => return Ok((done, None)),
            () = self.signals.hold.notified(), if run.is_in_memory() => {}
        }
        let held = self.desk.provisioning.hold(run).await?;
        self.is_on_disk();
        Ok((work.await, Some(held)))
    }

    fn is_on_disk(&self) {
        self.progress.send_if_modified(|progress| {
            let was_in_memory = matches!(progress, Progress::InMemory);
            *progress = Progress::OnDisk;
            was_in_memory
        });
    }

    async fn pause(&self, pause: Duration) {
        // Being hurried is as good as having waited.
        let _ = timeout(pause, self.signals.hurry.notified()).await;
    }
}

/// Tells operators why a run is tried again.
fn tell_of(later: &Later) {
    let Later { again, pause, reason, announced } = later;
    let id = &again.registration.registration_id;
    if *announced {
        // They have been told, once for all runs that the hub holds up.
        tracing::debug!(registration.id = %id, reason, "assignment waits");
    } else {
        tracing::warn!(
            instance.id_scope = %again.scope,
            registration.id = %id,
            reason,
            pause_secs = pause.as_secs(),
            "assignment is held up, will be tried again"
        );
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
            Progress::Ended(Ended::Registration(registration)) => Ok(Waited::Ended(registration.clone())),
            Progress::Ended(Ended::Deleted) => Ok(Waited::Deleted),
            Progress::Ended(Ended::GivenUp(error)) => Err(error.clone()),
            Progress::Ended(Ended::Later(_)) | Progress::InMemory | Progress::OnDisk => Ok(Waited::GoesOn),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Progress::Ended(_))
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
