//! Executes assignment runs: calls the webhook or the hub, and records the outcome.

use std::time::Duration;

use model::{
    Assignment, Attribution, CleanupCause, Decision, DecisionEnd, DecisionOutcome, DecisionResult,
    DeviceSpec, Failure, FailureReason, Job, LogOperation, OperationKind, PendingStep, Registration, Residue,
    Status, Tries,
};

use super::{
    AssignmentRun, Origin, Retry, RunOutcome,
    abandoned::{self, AbandonedRun},
    backoff,
    commit::RegistrationCommit,
    ensure::EnsureOutcome,
};
use crate::{
    Error, Provisioning,
    ports::{Change, Commit, Delay, Expect, Guard, Guarded, HubError, Outcome},
    record,
};

/// How often the end of a run is written again because the enrollment changed at the same moment.
const MAX_RACES: usize = 8;

impl Provisioning {
    /// Executes a run. May be repeated with the same outcome, but not twice at a time for one device.
    pub async fn execute(&self, run: &AssignmentRun) -> RunOutcome {
        let outcome = self.try_execute(run).await;
        self.or_retry(run, outcome).await
    }

    async fn or_retry(&self, run: &AssignmentRun, outcome: Result<RunOutcome, Error>) -> RunOutcome {
        match outcome {
            Ok(outcome) => outcome,
            Err(Error::Fenced) => run.fenced(),
            Err(error) => self.retry(run, error.to_string().into()).await,
        }
    }

    async fn try_execute(&self, run: &AssignmentRun) -> Result<RunOutcome, Error> {
        if run.origin == Origin::Store {
            // A run that ended since must not initialize its device's twin again.
            if let Some(outcome) = self.superseding(run).await? {
                return Ok(outcome);
            }
            if let Err(end) = self.admission(run).await? {
                return self.end(run, *end).await;
            }
        }
        match &run.step {
            PendingStep::Allocate(ask) => self.ask(run, ask).await,
            PendingStep::Ensure(spec) => {
                let answer = self.ensure(run, spec).await?;
                self.record(run, spec, answer).await
            }
        }
    }

    /// Asks the hub of a confirmation whether it has the device.
    pub async fn confirm(&self, run: &AssignmentRun) -> Confirmation {
        Confirmation(match &run.step {
            PendingStep::Allocate(_) => Err(Error::Broken("a webhook confirms nothing".into())),
            PendingStep::Ensure(spec) => {
                self.ensure(run, spec).await.map(|answer| (DeviceSpec::clone(spec), answer))
            }
        })
    }

    /// Records the hub's answer to a confirmation, which may have been [persisted](Provisioning::persist) meanwhile.
    pub async fn record_confirmation(&self, run: &AssignmentRun, confirmation: Confirmation) -> RunOutcome {
        let outcome = match confirmation.0 {
            Ok((spec, answer)) => self.record(run, &spec, answer).await,
            Err(error) => Err(error),
        };
        self.or_retry(run, outcome).await
    }

    /// Persists a confirmation as a run that is under way. Called before the device is sent `assigning`, so that the operation
    /// is metered even after a crash. Other runs are on disk already.
    pub async fn persist(&self, run: &AssignmentRun) -> Result<AssignmentRun, Error> {
        if run.is_persisted() {
            return Ok(run.clone());
        }
        let before = &run.registration;
        let (step, from) = (run.step.clone(), before.assignment().cloned());
        let mut persisted = Registration {
            status: Status::Assigning {
                step,
                from,
                admitted_by: run.admitted_by.clone(),
                tries: Tries::default(),
                runner: run.runner,
            },
            record: record::fresh(&*self.entropy, Some(&before.record), self.clock.now())?,
            ..before.clone()
        };
        run.decision.iter().for_each(|decision| persisted.decisions.push(decision.clone()));
        let expect = Expect::Version(before.record.etag.clone());
        let change = Change::PutRegistration(Box::new(persisted.clone()));
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationHold);
        let commit = RegistrationCommit::new(&persisted.registration_id, expect, change, by)
            .without_cleanup_of(&persisted.status)
            .fenced_by(run.runner);
        let is_persisted = self.commit_registration(&run.scope, commit).await?;
        let persisted = if is_persisted { AssignmentRun::started(&run.scope, &persisted) } else { None };
        // A run that could not be persisted is superseded, which its execution finds out.
        Ok(match persisted {
            Some(persisted) => persisted.with_read(run.read.clone()),
            None => AssignmentRun { origin: Origin::Store, ..run.clone() }.after_wait(),
        })
    }

    async fn record(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        answer: Result<EnsureOutcome, HubError>,
    ) -> Result<RunOutcome, Error> {
        match answer {
            Ok(ensured) => self.record_ensured(run, spec, ensured).await,
            Err(HubError::Refused(reason)) => {
                self.fail(run, Failure { reason: FailureReason::HubRefused, message: reason }).await
            }
            Err(HubError::Full(reason)) => self.fail_over(run, spec, reason).await,
            Err(HubError::Occupied(reason)) => self.record_occupied(run, spec, reason).await,
            Err(HubError::Unavailable(delay)) => Ok(self.retry(run, delay).await),
        }
    }

    async fn record_ensured(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        ensured: EnsureOutcome,
    ) -> Result<RunOutcome, Error> {
        if ensured.took_over {
            warn_of_adoption(run, spec);
        }
        let outcome = self.end_ensured(run, spec, &ensured).await?;
        let is_assigned = matches!(&outcome, RunOutcome::Registration(registration)
            if registration.assignment().is_some_and(|at| at.hub_device() == spec.hub_device()));
        if !is_assigned {
            self.name_residue(run, spec, ensured.generation).await?;
        }
        Ok(outcome)
    }

    /// Ends a run whose device is at the hub. A confirmation that changes nothing is only counted; an assignment, or a
    /// confirmation that found another generation, is written and counted. Either is committed together with the check of the
    /// enrollment.
    async fn end_ensured(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        ensured: &EnsureOutcome,
    ) -> Result<RunOutcome, Error> {
        let (substatus, generation) = (ensured.substatus, ensured.generation.clone());
        let assignment = Assignment { substatus, generation, ..spec.assignment() };
        let mut read = run.read.as_ref().and_then(|read| read.enrollment.clone());
        for _ in 0..MAX_RACES {
            // What the request read lets the device in. If it changed since, the commit is refused, and it is read again.
            let guard = match read.take() {
                Some(guard) => guard,
                None => match self.admission(run).await? {
                    Ok(guard) => guard,
                    Err(end) => return self.end(run, end.after(spec, ensured)).await,
                },
            };
            let ended = match run.registration.status == Status::Assigned(assignment.clone()) {
                true => self.count_confirmation(run, guard).await?.then(|| run.registration.clone()),
                false => self.record_assignment(run, (spec, &assignment), ensured, guard).await?,
            };
            if let Some(registration) = ended {
                return Ok(RunOutcome::Registration(Box::new(registration)));
            }
            if let Some(outcome) = self.superseding(run).await? {
                return Ok(outcome);
            }
        }
        Err(Error::Busy)
    }

    /// Counts a confirmation. Returns false if the registration or the enrollment changed.
    async fn count_confirmation(&self, run: &AssignmentRun, guard: Guard) -> Result<bool, Error> {
        let Registration { registration_id, record, .. } = &run.registration;
        let version = record.etag.clone();
        let (mut guards, mut changes) = (vec![guard], Vec::new());
        if run.updates_key {
            // The record's version stays, as nothing changes for the device.
            let updated = Change::PutRegistration(Box::new(run.registration.clone()));
            changes.push((Expect::Version(version), updated));
        } else {
            let record = Guarded::Registration(registration_id.clone());
            guards.push(Guard::Record { record, version: Some(version) });
        }
        let operation = Some((OperationKind::Reregistration, self.clock.now().day()));
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationConfirm);
        let commit = Commit { fence: run.runner, guards, changes, operation, by };
        let outcomes = self.store.commit(&run.scope, commit).await?;
        Ok(outcomes.iter().all(|outcome| *outcome == Outcome::Applied))
    }

    /// Writes and counts an assignment. Returns `None` if the registration or the enrollment changed.
    async fn record_assignment(
        &self,
        run: &AssignmentRun,
        (spec, assignment): (&DeviceSpec, &Assignment),
        ensured: &EnsureOutcome,
        guard: Guard,
    ) -> Result<Option<Registration>, Error> {
        let (from, kind) = match &run.registration.status {
            Status::Assigning { from: None, .. } => (None, OperationKind::Registration),
            Status::Assigning { from, .. } => (from.as_ref(), OperationKind::Reregistration),
            _ => (None, OperationKind::Reregistration),
        };
        let end = RunEnd {
            status: Status::Assigned(assignment.clone()),
            residue: abandoned::residue_of_move(spec, from, ensured.old_generation.as_ref()),
            cause: CleanupCause::Moved,
            result: DecisionResult::Assigned,
            took_over: ensured.took_over,
            operation: Some(kind),
        };
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationAssign);
        let (assigned, commit) = self.ended(&run.registration, run.decision.clone(), end, by)?;
        let commit = commit.guarded_by(guard).fenced_by(run.runner);
        let is_committed = self.commit_registration(&run.scope, commit).await?;
        Ok(is_committed.then_some(assigned))
    }

    /// Fails a run whose hub has a foreign device. The hub was sent nothing, or the device would have credentials of the
    /// registration.
    async fn record_occupied(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        reason: String,
    ) -> Result<RunOutcome, Error> {
        tracing::warn!(
            instance.id_scope = %run.scope,
            registration.id = %run.registration.registration_id,
            hub.name = %spec.hub,
            device.id = %spec.device_id,
            "a device was not assigned: its hub has one of this device ID that the registration did not create"
        );
        self.fail(run, Failure { reason: FailureReason::DeviceExists, message: format!("{reason}.") }).await
    }

    /// Ends a run without an assignment.
    pub(super) async fn fail(&self, run: &AssignmentRun, failure: Failure) -> Result<RunOutcome, Error> {
        self.end(run, RunEnd::failing(&run.registration, failure)).await
    }

    async fn end(&self, run: &AssignmentRun, end: RunEnd) -> Result<RunOutcome, Error> {
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationFail);
        let (ended, commit) = self.ended(&run.registration, run.decision.clone(), end, by)?;
        if self.commit_registration(&run.scope, commit.fenced_by(run.runner)).await? {
            return Ok(RunOutcome::Registration(Box::new(ended)));
        }
        self.superseded(run).await
    }

    /// Returns the outcome of a run whose commit was rejected because its registration changed.
    pub(super) async fn superseded(&self, run: &AssignmentRun) -> Result<RunOutcome, Error> {
        let outcome = self.superseding(run).await?;
        outcome.ok_or_else(|| {
            Error::Broken("the store rejected the version of a registration that it has".into())
        })
    }

    /// Returns a registration after the end of its run, and the commit that writes it.
    pub(super) fn ended(
        &self,
        before: &Registration,
        decision: Option<Decision>,
        end: RunEnd,
        by: Attribution,
    ) -> Result<(Registration, RegistrationCommit), Error> {
        let now = self.clock.now();
        let record = record::fresh(&*self.entropy, Some(&before.record), now)?;
        let mut ended = Registration { status: end.status, record, ..before.clone() };
        decision.into_iter().for_each(|decision| ended.decisions.push(decision));
        let pending = |decision: &&mut Decision| decision.outcome == DecisionOutcome::Pending;
        if let Some(decision) = ended.decisions.latest_mut().filter(pending) {
            let RunEnd { result, took_over, .. } = end;
            decision.outcome = DecisionOutcome::Ended(DecisionEnd { at: now, result, took_over });
            if let (Some(returning), Status::Assigned(at)) = (&mut decision.returning, &ended.status) {
                returning.substatus = Some(at.substatus);
            }
        }
        let expect = Expect::Version(before.record.etag.clone());
        let change = Change::PutRegistration(Box::new(ended.clone()));
        let commit = RegistrationCommit::new(&ended.registration_id, expect, change, by)
            .with_cleanup(end.residue, end.cause)
            .counted_as(end.operation);
        Ok((ended, commit))
    }

    /// Returns the outcome of a run whose registration was changed or deleted since, or `None` if it is unchanged. Another
    /// request may have executed the same run, or started another.
    async fn superseding(&self, run: &AssignmentRun) -> Result<Option<RunOutcome>, Error> {
        let found = self.store.registration(&run.scope, &run.registration.registration_id).await?;
        Ok(match found {
            Some(found) if found.record.etag == run.registration.record.etag => None,
            Some(found) => Some(RunOutcome::Registration(Box::new(found))),
            None => Some(RunOutcome::Deleted),
        })
    }

    /// Has a run executed again: when the hub asks for it, or after a back-off.
    pub(super) async fn retry(&self, run: &AssignmentRun, delay: Delay) -> RunOutcome {
        let run = &match self.persist(run).await {
            Ok(run) => run,
            Err(Error::Fenced) => return run.fenced(),
            Err(error) => return RunOutcome::Abandoned(error),
        };
        let reported = delay.retry_after.is_some();
        let (tries, backoff) =
            backoff::after(&run.tries, self.clock.now(), backoff::MAX_ASSIGNMENT_BACKOFF, delay);
        let retry = self.retry_after(run, tries, backoff).await;
        RunOutcome::Retry(Box::new(Retry { reported, ..retry }))
    }

    /// Has a run executed again after a back-off, and records the failed try for operators. The record's version stays.
    pub(super) async fn retry_after(&self, run: &AssignmentRun, tries: Tries, backoff: Duration) -> Retry {
        let reason = tries.last().map(|last| last.reason.clone()).unwrap_or_default();
        let run = run.tried(tries);
        if let Status::Assigning { .. } = run.registration.status {
            let expect = Expect::Version(run.registration.record.etag.clone());
            let changes = vec![(expect, Change::PutRegistration(Box::new(run.registration.clone())))];
            let by = self.by_job(Job::Assignments, LogOperation::RegistrationTry);
            let commit = Commit { fence: run.runner, changes, ..Commit::by(by) };
            let recorded = self.store.commit(&run.scope, commit).await;
            if let Err(error) = recorded {
                // The run continues; only operators see less.
                tracing::warn!(
                    registration.id = %run.registration.registration_id,
                    %error,
                    "a failed try was not recorded"
                );
            }
        }
        Retry { run, backoff, reason, reported: false }
    }
}

/// The answer of a hub to the device spec of a confirmation.
pub struct Confirmation(Result<(DeviceSpec, Result<EnsureOutcome, HubError>), Error>);

/// The end of a run: what the registration becomes, and what is committed with it.
pub(super) struct RunEnd {
    pub(super) status: Status,
    pub(super) residue: Option<Residue>,
    /// Why the residue must be removed.
    pub(super) cause: CleanupCause,
    pub(super) result: DecisionResult,
    /// Whether the hub had a device of this ID that the registration did not create.
    pub(super) took_over: bool,
    pub(super) operation: Option<OperationKind>,
}

impl RunEnd {
    /// Returns the end of a run after the hub applied its device spec: the generation of the device is known.
    fn after(mut self, spec: &DeviceSpec, ensured: &EnsureOutcome) -> RunEnd {
        self.took_over = ensured.took_over;
        let hub_device = spec.hub_device();
        if let Some(residue) = self.residue.as_mut().filter(|residue| residue.hub_device == hub_device) {
            residue.generation.clone_from(&ensured.generation);
        }
        if let Status::Failed { current: Some(at), .. } | Status::Disabled { current: Some(at) } =
            &mut self.status
            && at.hub_device() == hub_device
        {
            at.generation.clone_from(&ensured.generation);
        }
        self
    }

    /// Returns the end of a run without an assignment. What the hub may have applied is cleaned up.
    pub(super) fn failing(registration: &Registration, failure: Failure) -> RunEnd {
        let AbandonedRun { current, residue } = AbandonedRun::of(Some(registration));
        RunEnd {
            status: Status::Failed { failure: failure.clone(), current },
            residue,
            cause: CleanupCause::Failed,
            result: DecisionResult::Failed(failure),
            took_over: false,
            operation: None,
        }
    }
}

/// Warns once for each device: a repeated run finds the credentials of the registration at the hub.
fn warn_of_adoption(run: &AssignmentRun, spec: &DeviceSpec) {
    tracing::warn!(
        instance.id_scope = %run.scope,
        registration.id = %run.registration.registration_id,
        hub.name = %spec.hub,
        device.id = %spec.device_id,
        "took over a device that existed at the hub, and that the registration did not create"
    );
}
