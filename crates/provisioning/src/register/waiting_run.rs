//! Runs that wait for their next try. Their step is on disk and is read when they are due, so that a waiting run costs no
//! more memory than its names, whatever its device or its webhook has sent.

use std::{io, time::Duration};

use model::{
    Enrollment, IdScope, InitialTwin, Job, LeaseToken, LogOperation, OperationId, PendingStep, Registration,
    RegistrationId, Status, StatusKind, TwinCollection,
};
use serde_json::Value;

use super::{AssignmentRun, RunOutcome, backoff, commit::RegistrationCommit};
use crate::{
    Error, Provisioning,
    ports::{Change, Expect, Page, PageRequest},
    record,
};

/// How often a run is read again because its record changed while it was taken over.
const MAX_RACES: usize = 8;

/// The bytes of a run that is nearly empty, the calls to its hub included.
const BASE_BYTES: usize = 8 * 1024;

/// The bytes of a value in a tree: the value itself, its name, and its slot in a map.
const NODE_BYTES: usize = 120;

/// A run that waits to be executed, without its step.
#[derive(Debug, Clone)]
pub struct WaitingRun {
    /// The ID scope of the instance.
    pub scope: IdScope,
    /// The device.
    pub registration_id: RegistrationId,
    /// Which of the device's runs it is.
    pub operation_id: OperationId,
    /// The name of the hub, or the host of the webhook, that the run calls.
    pub target: Box<str>,
    /// How long to wait until the next try, from when this was read.
    pub backoff: Duration,
    /// The lease of the runner that executes it; `None` if any runner may.
    pub runner: Option<LeaseToken>,
}

/// The state of a run that waited.
#[derive(Debug, Clone)]
pub enum ResumeOutcome {
    /// It must be executed.
    Running(Box<AssignmentRun>),
    /// It has ended meanwhile, or another runner executes it.
    Ended(RunOutcome),
}

impl AssignmentRun {
    /// Returns the run without its step, which must be on disk: see [`AssignmentRun::is_persisted`].
    pub fn to_waiting(&self) -> WaitingRun {
        WaitingRun {
            scope: self.scope.clone(),
            registration_id: self.registration.registration_id.clone(),
            operation_id: self.registration.operation_id.clone(),
            target: self.target().into(),
            backoff: Duration::ZERO,
            runner: self.runner,
        }
    }

    /// Estimates from above how many bytes the run takes while it is executed: its record twice over, with what hubs and
    /// webhooks are sent; and its twins as trees.
    pub fn memory(&self) -> usize {
        let mut written = ByteCount(0);
        // Counting cannot fail.
        let _ = serde_json::to_writer(&mut written, &self.registration);
        let nodes: usize = self.twins().into_iter().map(nodes).sum();
        BASE_BYTES + 4 * written.0 + nodes * NODE_BYTES
    }

    fn twins(&self) -> Vec<&InitialTwin> {
        match &self.step {
            PendingStep::Ensure(spec) => vec![spec.twin.initial()],
            PendingStep::Allocate(ask) => {
                let settings = match &ask.request.enrollment {
                    Enrollment::Individual(individual) => &individual.settings,
                    Enrollment::Group(group) => &group.settings,
                };
                settings.initial_twin.iter().chain([&ask.desired.initial_twin]).collect()
            }
        }
    }
}

fn nodes(twin: &InitialTwin) -> usize {
    let of = |part: &Option<TwinCollection>| {
        part.as_ref().map_or(0, |part| part.as_map().values().map(nodes_of).sum::<usize>())
    };
    of(&twin.tags) + of(&twin.desired)
}

fn nodes_of(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes_of).sum(),
        Value::Object(members) => members.values().map(nodes_of).sum(),
        _ => 0,
    }
}

struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Provisioning {
    /// Returns the unfinished run of a stored registration without its step, if it has one.
    pub fn waiting_run(&self, scope: &IdScope, registration: &Registration) -> Option<WaitingRun> {
        let Status::Assigning { step, tries, runner, .. } = &registration.status else { return None };
        Some(WaitingRun {
            scope: scope.clone(),
            registration_id: registration.registration_id.clone(),
            operation_id: registration.operation_id.clone(),
            target: super::target(step).into(),
            backoff: backoff::left(tries, self.clock.now()),
            runner: *runner,
        })
    }

    /// Whether a registration has an unfinished run, at whichever process.
    pub async fn is_assigning(&self, scope: &IdScope, id: &RegistrationId) -> Result<bool, Error> {
        let stored = self.store.registration(scope, id).await?;
        Ok(stored.is_some_and(|stored| matches!(stored.status, Status::Assigning { .. })))
    }

    /// Returns how long ago the last decision about a registration was made, by this process's clock: how long
    /// its run has been in progress, if it is unfinished.
    pub fn assigning_for(&self, registration: &Registration) -> Duration {
        let since =
            registration.decisions.latest().map_or(registration.record.last_updated, |decision| decision.at);
        let ticks = self.clock.now().ticks().saturating_sub(since.ticks());
        Duration::from_nanos(u64::try_from(ticks).unwrap_or(0).saturating_mul(100))
    }

    /// Returns a page of an instance's unfinished runs, whether or not they are being executed.
    pub async fn unfinished_runs(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<WaitingRun>, Error> {
        let Page { items, next, damaged } =
            self.store.registrations_in(scope, StatusKind::Assigning, page).await?;
        let waiting = items.iter().filter_map(|registration| self.waiting_run(scope, registration));
        Ok(Page { items: waiting.collect(), next, damaged })
    }

    /// Reads a run that has waited, to be executed under this lease. It is the same run as long as its operation is the
    /// same. One of another runner is taken over if that runner has no lease any more.
    pub async fn resume(
        &self,
        waiting: &WaitingRun,
        runner: Option<LeaseToken>,
    ) -> Result<ResumeOutcome, Error> {
        for _ in 0..MAX_RACES {
            let stored = self.store.registration(&waiting.scope, &waiting.registration_id).await?;
            let Some(stored) = stored else { return Ok(ResumeOutcome::Ended(RunOutcome::Deleted)) };
            let is_same = stored.operation_id == waiting.operation_id;
            let run = AssignmentRun::from_store(&waiting.scope, &stored).filter(|_| is_same);
            let Some(run) = run else {
                return Ok(ResumeOutcome::Ended(RunOutcome::Registration(Box::new(stored))));
            };
            if run.runner == runner {
                return Ok(ResumeOutcome::Running(Box::new(run)));
            }
            // Read after the record, whose lease was claimed before it was written.
            let leases = self.store.leases().await?;
            if leases.iter().any(|lease| Some(lease.token) == run.runner) {
                return Ok(ResumeOutcome::Ended(RunOutcome::TakenOver));
            }
            if let Some(run) = self.take_over(run, runner).await? {
                return Ok(ResumeOutcome::Running(Box::new(run)));
            }
        }
        Err(Error::Busy)
    }

    /// Puts a run under another lease; `None` if its record has changed. The record gets a new version, so that only one
    /// runner can do this.
    async fn take_over(
        &self,
        run: AssignmentRun,
        runner: Option<LeaseToken>,
    ) -> Result<Option<AssignmentRun>, Error> {
        let expect = Expect::Version(run.registration.record.etag.clone());
        let mut next = run.registration;
        if let Status::Assigning { runner: stored, .. } = &mut next.status {
            *stored = runner;
        }
        next.record = record::fresh(&*self.entropy, Some(&next.record), self.clock.now())?;
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationTry);
        let change = Change::PutRegistration(Box::new(next.clone()));
        let commit = RegistrationCommit::new(&next.registration_id, expect, change, by).fenced_by(runner);
        let is_made = self.commit_registration(&run.scope, commit).await?;
        Ok(AssignmentRun::from_store(&run.scope, &next).filter(|_| is_made))
    }
}
