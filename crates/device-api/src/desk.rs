//! Where runs are carried out: once each, however many requests wait for them, and until they end.
//!
//! A run that a hub holds up is tried again after the pause that it comes back with; the device is told `assigning`
//! meanwhile. Runs that were cut off by a crash are taken up again at the start. Two requests of one device that arrive together are one
//! instruction, share one run and count as one operation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::{IdScope, OperationId, Registration, RegistrationId, StatusKind};
use provisioning::{
    Error, Provisioning,
    register::{Ended, Run},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use crate::places::Places;

/// Runs under way at once; beyond it devices are asked to come back. A run that was begun is on disk and is taken up when
/// the device asks again, or at the next start.
const MAX_RUNS: usize = 100_000;

/// Of these, runs of one instance for one hub: one that is down must not take the places of all others.
const MAX_RUNS_OF_HUB: usize = 20_000;

/// Carries out runs.
pub struct Desk {
    provisioning: Arc<Provisioning>,
    under_way: Mutex<HashMap<RunKey, UnderWay>>,
    places: Arc<Places>,
}

type RunKey = (IdScope, RegistrationId);

/// `None` until the run has ended.
type Outcome = watch::Receiver<Option<Ended>>;

struct UnderWay {
    operation_id: OperationId,
    outcome: Outcome,
    /// An earlier run for the same device, which ends first.
    after: Option<Outcome>,
    /// Ends a pause.
    hurry: Arc<Notify>,
    since: Instant,
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
        Self::with_room(provisioning, MAX_RUNS_OF_HUB)
    }

    /// A desk that takes so many runs of one instance for one hub.
    pub fn with_room(provisioning: Arc<Provisioning>, runs_of_hub: usize) -> Arc<Self> {
        Arc::new(Desk { provisioning, under_way: Mutex::default(), places: Places::new(runs_of_hub) })
    }

    /// The verbs that it carries out.
    pub(crate) fn provisioning(&self) -> &Provisioning {
        &self.provisioning
    }

    /// Runs that have not ended.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Takes up the runs that were cut off when the service last ended; returns how many.
    pub async fn resume(self: &Arc<Self>) -> Result<usize, Error> {
        let runs = self.provisioning.unfinished(MAX_RUNS).await?;
        let count = runs.len();
        runs.into_iter().for_each(|run| self.take_up(run));
        Ok(count)
    }

    /// Has a run carried out that was found on disk, unless it is under way or there are too many.
    pub(crate) fn take_up(self: &Arc<Self>, run: Run) {
        // A run that finds no place stays on disk.
        let _ = self.start(run);
    }

    /// Has the run carried out, and waits for its end at most so long. It goes on when the waiting is over.
    pub(crate) async fn carry_out(self: &Arc<Self>, run: Run, at_most: Duration) -> Result<Waited, Error> {
        let mut outcome = self.start(run)?;
        let ended = timeout(at_most, outcome.wait_for(Option::is_some)).await;
        Ok(match ended.ok().and_then(Result::ok).as_deref() {
            Some(Some(Ended::Registration(registration))) => Waited::Ended(registration.clone()),
            Some(Some(Ended::Deleted)) => Waited::Deleted,
            _ => Waited::GoesOn,
        })
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

    /// Starts the run, or joins it. A run for the same device that began earlier ends first; a third finds no place.
    fn start(self: &Arc<Self>, run: Run) -> Result<Outcome, Error> {
        let key = (run.scope.clone(), run.registration.registration_id.clone());
        let operation_id = run.registration.operation_id.clone();
        let mut under_way = self.lock();
        let earlier = under_way.get(&key).filter(|earlier| earlier.goes_on());
        if let Some(same) = earlier.filter(|earlier| earlier.operation_id == operation_id) {
            return Ok(same.outcome.clone());
        }
        if under_way.len() >= MAX_RUNS || earlier.is_some_and(UnderWay::waits) {
            return Err(Error::Busy);
        }
        let place = self.places.take((run.scope.clone(), run.waits_for().into())).ok_or(Error::Busy)?;
        // It finds that its record was replaced, and ends.
        earlier.iter().for_each(|earlier| earlier.hurry.notify_one());
        let after = earlier.map(|earlier| earlier.outcome.clone());
        let (sender, outcome) = watch::channel(None);
        let hurry = Arc::new(Notify::new());
        let entry = UnderWay {
            operation_id: operation_id.clone(),
            outcome: outcome.clone(),
            after: after.clone(),
            hurry: Arc::clone(&hurry),
            since: Instant::now(),
        };
        under_way.insert(key.clone(), entry);
        drop(under_way);
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(mut earlier) = after {
                // An error means that the earlier run is gone: it has ended too.
                let _ = earlier.wait_for(Option::is_some).await;
            }
            let ended = desk.until_ended(run, &hurry).await;
            drop(place);
            desk.forget(&key, &operation_id);
            // Nobody may be waiting any more.
            let _ = sender.send(Some(ended));
        });
        Ok(outcome)
    }

    async fn until_ended(&self, mut run: Run, hurry: &Notify) -> Ended {
        let mut pause = self.provisioning.due_in(&run);
        loop {
            // Being hurried is as good as having waited.
            let _ = timeout(pause, hurry.notified()).await;
            match self.provisioning.carry_out(&run).await {
                Ended::Later(later) if later.announced => {
                    // Operators have been told, once for all runs that the hub holds up.
                    let (id, reason) = (&run.registration.registration_id, later.reason);
                    tracing::debug!(registration.id = %id, reason, "assignment waits");
                    (run, pause) = (later.again, later.pause);
                }
                Ended::Later(later) => {
                    tracing::warn!(
                        instance.id_scope = %run.scope,
                        registration.id = %run.registration.registration_id,
                        reason = later.reason,
                        pause_secs = later.pause.as_secs(),
                        "assignment is held up, will be tried again"
                    );
                    (run, pause) = (later.again, later.pause);
                }
                ended => return ended,
            }
        }
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
    outcome.has_changed().is_ok() && outcome.borrow().is_none()
}
