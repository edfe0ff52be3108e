//! The task of one run, from its start to its end.

use std::{pin::pin, time::Duration};

use model::LeaseToken;
use provisioning::{
    Error,
    register::{AssignmentRun, ResumeOutcome, Retry, RunOutcome, WaitingRun},
};
use tokio::{sync::watch, time::timeout};

use super::{Progress, Shared, Signals, Source, Watcher};
use crate::memory::Reserved;

/// Pause after which a run is read again that the store failed to return.
const READ_BACKOFF: Duration = Duration::from_secs(5);

/// One run, and what others ask and see of it.
pub(super) struct RunTask<'a> {
    pub(super) runner: &'a Shared,
    pub(super) signals: &'a Signals,
    pub(super) progress: &'a watch::Sender<Progress>,
}

impl RunTask<'_> {
    /// Executes the run until it ends, once its predecessor has ended. Boxes hold what a try needs, so that a run that waits
    /// is small.
    pub(super) async fn run(&self, source: Source, predecessor: Option<Watcher>) -> RunOutcome {
        let (waiting, first) = match source {
            Source::Loaded(run, reserved) => {
                let waiting = run.to_waiting();
                (waiting, Box::pin(self.first_try_while_held(run, reserved, predecessor)).await)
            }
            Source::Stored(waiting) => {
                if let Some(mut predecessor) = predecessor {
                    drop(predecessor.wait_for(Progress::has_ended).await);
                }
                self.back_off(waiting.backoff).await;
                let first = Box::pin(self.resume(&waiting)).await;
                (waiting, Ok(first))
            }
        };
        match first {
            Ok(RunOutcome::Retry(retry)) => self.retry_until_ended(&waiting, retry).await,
            Ok(ended) => ended,
            Err(error) => RunOutcome::Abandoned(error),
        }
    }

    /// Executes a run that a request has just made, as long as this process has the lease that it was made under.
    async fn first_try_while_held(
        &self,
        run: Box<AssignmentRun>,
        reserved: Reserved,
        predecessor: Option<Watcher>,
    ) -> Result<RunOutcome, Error> {
        let fenced = run.fenced();
        let Some(token) = run.runner() else { return Ok(fenced) };
        let first_try = self.first_try(run, reserved, predecessor);
        match self.runner.lease.while_held(token, first_try).await {
            Some(ended) => ended,
            None if matches!(*self.progress.borrow(), Progress::Persisted) => Ok(RunOutcome::TakenOver),
            None => Ok(fenced),
        }
    }

    /// Executes a run that a request has just made.
    async fn first_try(
        &self,
        run: Box<AssignmentRun>,
        reserved: Reserved,
        predecessor: Option<Watcher>,
    ) -> Result<RunOutcome, Error> {
        let mut run = *run;
        if let Some(mut predecessor) = predecessor {
            // An error means that its task has panicked: it has ended, too.
            let ended = async { drop(predecessor.wait_for(Progress::has_ended).await) };
            let ((), persisted) = self.persist_on_request(&run, ended).await?;
            run = persisted.unwrap_or(run).after_wait();
        }
        let provisioning = &self.runner.provisioning;
        let ended = if run.is_persisted() {
            provisioning.execute(&run).await
        } else {
            let (confirmation, persisted) = self.persist_on_request(&run, provisioning.confirm(&run)).await?;
            provisioning.record_confirmation(&persisted.unwrap_or(run), confirmation).await
        };
        drop(reserved);
        Ok(ended)
    }

    /// Retries the run until it ends. Between two tries it is in the store alone.
    async fn retry_until_ended(&self, waiting: &WaitingRun, mut retry: Box<Retry>) -> RunOutcome {
        self.mark_persisted();
        loop {
            log_retry(&retry);
            let backoff = retry.backoff;
            drop(retry);
            self.back_off(backoff).await;
            match Box::pin(self.resume(waiting)).await {
                RunOutcome::Retry(next) => retry = next,
                ended => return ended,
            }
        }
    }

    /// Reads a run that is due as soon as there is memory for it and this process has its lease, and executes it. A try that
    /// the end of the lease interrupts is repeated under the next one.
    async fn resume(&self, waiting: &WaitingRun) -> RunOutcome {
        loop {
            let reserved = self.runner.memory.reserve(&waiting.scope).await;
            let token = self.runner.lease.held().await;
            let attempt = self.execute(waiting, token, reserved);
            match self.runner.lease.while_held(token, attempt).await {
                Some(Ok(outcome)) => return outcome,
                Some(Err(error)) => {
                    tracing::warn!(
                        instance.id_scope = %waiting.scope,
                        registration.id = %waiting.registration_id,
                        %error,
                        "an assignment could not be read, will be tried again"
                    );
                    self.back_off(READ_BACKOFF).await;
                }
                None => {}
            }
        }
    }

    /// Reads a run and executes it. Fails when it cannot be read.
    async fn execute(
        &self,
        waiting: &WaitingRun,
        token: LeaseToken,
        mut reserved: Option<Reserved>,
    ) -> Result<RunOutcome, Error> {
        Ok(match self.runner.provisioning.resume(waiting, Some(token)).await? {
            ResumeOutcome::Running(run) => {
                reserved.iter_mut().for_each(|reserved| reserved.shrink_to(run.memory()));
                self.runner.provisioning.execute(&run).await
            }
            ResumeOutcome::Ended(ended) => ended,
        })
    }

    /// Does some work, and meanwhile persists the run as soon as that is asked for; then returns it as it is in the store.
    async fn persist_on_request<T>(
        &self,
        run: &AssignmentRun,
        work: impl Future<Output = T>,
    ) -> Result<(T, Option<AssignmentRun>), Error> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = work.as_mut() => return Ok((done, None)),
            () = self.signals.persist.notified(), if !run.is_persisted() => {}
        }
        let persisted = self.runner.provisioning.persist(run).await?;
        self.mark_persisted();
        Ok((work.await, Some(persisted)))
    }

    fn mark_persisted(&self) {
        self.progress.send_if_modified(|progress| {
            let was_in_memory = matches!(progress, Progress::InMemory);
            *progress = Progress::Persisted;
            was_in_memory
        });
    }

    /// Waits this long, or until the run is woken.
    async fn back_off(&self, backoff: Duration) {
        let _ = timeout(backoff, self.signals.wake.notified()).await;
    }
}

/// Logs why a run is retried.
fn log_retry(retry: &Retry) {
    let Retry { run, backoff, reason, reported } = retry;
    let id = &run.registration.registration_id;
    if *reported {
        // Reported once, for all runs that wait for the hub.
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
