//! The way of one run from its start to its end.

use std::{pin::pin, time::Duration};

use provisioning::{
    Error,
    register::{AssignmentRun, ResumeOutcome, Retry, RunOutcome, WaitingRun},
};
use tokio::{sync::watch, time::timeout};

use super::{Desk, Job, Outcome, Progress, Signals};
use crate::memory::Reserved;

/// How long to wait when a run cannot be read from the store.
const READ_PAUSE: Duration = Duration::from_secs(5);

/// One run, and those who have an eye on it.
pub(super) struct Way<'a> {
    pub(super) desk: &'a Desk,
    pub(super) signals: &'a Signals,
    pub(super) progress: &'a watch::Sender<Progress>,
}

impl Way<'_> {
    /// To the end, once the earlier run has ended. The boxes hold what work takes, so that a run that waits is small.
    pub(super) async fn follow(&self, job: Job, after: Option<Outcome>) -> RunOutcome {
        let (waiting, first) = match job {
            Job::Loaded(run, reserved) => {
                let waiting = run.to_waiting();
                (waiting, Box::pin(self.begin(run, reserved, after)).await)
            }
            Job::Stored(waiting) => {
                if let Some(mut earlier) = after {
                    drop(earlier.wait_for(Progress::has_ended).await);
                }
                self.pause(waiting.backoff).await;
                let first = Box::pin(self.resume(&waiting)).await;
                (waiting, Ok(first))
            }
        };
        match first {
            Ok(RunOutcome::Retry(later)) => self.until_ended(&waiting, later).await,
            Ok(ended) => ended,
            Err(error) => RunOutcome::Abandoned(error),
        }
    }

    /// The first try of a run that was just begun.
    async fn begin(
        &self,
        run: Box<AssignmentRun>,
        reserved: Reserved,
        after: Option<Outcome>,
    ) -> Result<RunOutcome, Error> {
        let mut run = *run;
        if let Some(mut earlier) = after {
            // An error means that the earlier run is gone: it has ended too.
            let earlier = async { drop(earlier.wait_for(Progress::has_ended).await) };
            let ((), held) = self.or_hold(&run, earlier).await?;
            run = held.unwrap_or(run);
        }
        let provisioning = &self.desk.provisioning;
        let ended = if run.is_persisted() {
            provisioning.execute(&run).await
        } else {
            let (confirmation, held) = self.or_hold(&run, provisioning.confirm(&run)).await?;
            provisioning.record_confirmation(&held.unwrap_or(run), confirmation).await
        };
        drop(reserved);
        Ok(ended)
    }

    /// Tries again and again. What is tried a second time is on disk; between two tries it is nowhere else.
    async fn until_ended(&self, waiting: &WaitingRun, mut later: Box<Retry>) -> RunOutcome {
        self.is_on_disk();
        loop {
            tell_of(&later);
            let pause = later.backoff;
            drop(later);
            self.pause(pause).await;
            match Box::pin(self.resume(waiting)).await {
                RunOutcome::Retry(next) => later = next,
                ended => return ended,
            }
        }
    }

    /// Reads a run that is due, as soon as there is memory for it, and carries it out.
    async fn resume(&self, waiting: &WaitingRun) -> RunOutcome {
        loop {
            let reserved = self.desk.memory.reserve(&waiting.scope).await;
            match self.desk.provisioning.resume(waiting).await {
                Ok(ResumeOutcome::Running(run)) => {
                    let _held = reserved.map(|mut reserved| {
                        reserved.shrink_to(run.memory());
                        reserved
                    });
                    return self.desk.provisioning.execute(&run).await;
                }
                Ok(ResumeOutcome::Ended(ended)) => return ended,
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
    async fn or_hold<T>(
        &self,
        run: &AssignmentRun,
        work: impl Future<Output = T>,
    ) -> Result<(T, Option<AssignmentRun>), Error> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = work.as_mut() => return Ok((done, None)),
            () = self.signals.hold.notified(), if !run.is_persisted() => {}
        }
        let held = self.desk.provisioning.persist(run).await?;
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
fn tell_of(later: &Retry) {
    let Retry { run, backoff, reason, reported } = later;
    let id = &run.registration.registration_id;
    if *reported {
        // They have been told, once for all runs that the hub holds up.
        tracing::debug!(registration.id = %id, reason, "assignment waits");
    } else {
        tracing::warn!(
            instance.id_scope = %run.scope,
            registration.id = %id,
            reason,
            pause_secs = backoff.as_secs(),
            "assignment is held up, will be tried again"
        );
    }
}
