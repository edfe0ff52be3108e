//! The second half of a registration: the hub is told, and the outcome recorded.

use std::time::Duration;

use model::{
    Assignment, Attribution, CleanupCause, DecisionOutcome, DeviceSpec, Failure, FailureReason, Job,
    LogOperation, OperationKind, PendingStep, Registration, Residue, Status, Tries,
};

use super::{
    AssignmentRun, Origin, Retry, RunOutcome, abandoned, backoff, ensure::EnsureOutcome, step::Step,
};
use crate::{
    Error, Provisioning,
    ports::{Change, Commit, Delay, Expect, Guard, Guarded, HubError, Outcome},
    record,
};

/// How often the end of a run is written anew because the enrollment changed at the same moment.
const MAX_RACES: usize = 8;

impl Provisioning {
    /// Carries a run out. May be repeated: every step leads to the same outcome however often it is taken. Not to be
    /// called for one device twice at the same time.
    pub async fn execute(&self, run: &AssignmentRun) -> RunOutcome {
        match self.try_execute(run).await {
            Ok(ended) => ended,
            Err(error) => self.again(run, error.to_string().into()).await,
        }
    }

    async fn try_execute(&self, run: &AssignmentRun) -> Result<RunOutcome, Error> {
        if run.origin == Origin::Store {
            // A run that ended since must not start its device's twin again.
            if let Some(ended) = self.overtaken(run).await? {
                return Ok(ended);
            }
            if let Err(ending) = self.admission(run).await? {
                return self.end(run, *ending).await;
            }
        }
        match &run.step {
            PendingStep::Allocate(ask) => self.ask(run, ask).await,
            PendingStep::Ensure(spec) => {
                let answer = self.tell(run, spec).await?;
                self.record(run, spec, answer).await
            }
        }
    }

    /// Asks the hub of a confirmation.
    pub async fn confirm(&self, run: &AssignmentRun) -> Confirmation {
        Confirmation(match &run.step {
            PendingStep::Allocate(_) => Err(Error::Broken("a webhook confirms nothing".into())),
            PendingStep::Ensure(spec) => self.tell(run, spec).await,
        })
    }

    /// Records what came of a confirmation. It may have been [held](Provisioning::persist) meanwhile.
    pub async fn record_confirmation(&self, run: &AssignmentRun, confirmed: Confirmation) -> RunOutcome {
        let ended = match (confirmed.0, &run.step) {
            (Ok(answer), PendingStep::Ensure(spec)) => self.record(run, spec, answer).await,
            (Err(error), _) => Err(error),
            (Ok(_), PendingStep::Allocate(_)) => Err(Error::Broken("a webhook confirms nothing".into())),
        };
        match ended {
            Ok(ended) => ended,
            Err(error) => self.again(run, error.to_string().into()).await,
        }
    }

    /// Writes a confirmation down as an assignment that is under way. Whoever is told that it is under way is told its end
    /// only when that is counted, whatever happens to this process. Other runs are on disk already.
    pub async fn persist(&self, run: &AssignmentRun) -> Result<AssignmentRun, Error> {
        if run.is_persisted() {
            return Ok(run.clone());
        }
        let before = &run.registration;
        let (step, from) = (run.step.clone(), before.assignment().cloned());
        let mut held = Registration {
            status: Status::Assigning {
                step,
                from,
                admitted_by: run.admitted_by.clone(),
                tries: Tries::default(),
            },
            record: record::fresh(&*self.entropy, Some(&before.record), self.clock.now())?,
            ..before.clone()
        };
        run.decision.iter().for_each(|decision| held.decisions.push(decision.clone()));
        let expect = Expect::Version(before.record.etag.clone());
        let change = Change::PutRegistration(Box::new(held.clone()));
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationHold);
        let step = Step::new(&held.registration_id, expect, change, by).taking(&held.status);
        let is_held = self.take_step(&run.scope, step).await?;
        let held = if is_held { AssignmentRun::started(&run.scope, &held) } else { None };
        // What took the record's place ends it.
        Ok(held.unwrap_or_else(|| AssignmentRun { origin: Origin::Store, ..run.clone() }))
    }

    async fn record(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        answer: Result<EnsureOutcome, HubError>,
    ) -> Result<RunOutcome, Error> {
        match answer {
            Ok(told) => self.record_assigned(run, spec, told).await,
            Err(HubError::Refused(reason)) => {
                self.fail(run, Failure { reason: FailureReason::HubRefused, message: reason }).await
            }
            Err(HubError::Full(reason)) => self.go_elsewhere(run, spec, reason).await,
            Err(HubError::Occupied(reason)) => self.record_occupied(run, spec, reason).await,
            Err(HubError::Unavailable(delay)) => Ok(self.again(run, delay).await),
        }
    }

    /// A confirmation that changes nothing only counts, unless the hub has another device of that name than the record says; an assignment ends in the record, and counts with it. Either is
    /// done in one transaction with the look at what let the device in.
    async fn record_assigned(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        told: EnsureOutcome,
    ) -> Result<RunOutcome, Error> {
        if told.took_over {
            warn_of_adoption(run, spec);
        }
        let ended = self.conclude(run, spec, &told).await?;
        let is_there = matches!(&ended, RunOutcome::Registration(registration)
            if registration.assignment().is_some_and(|at| at.hub_device() == spec.hub_device()));
        if !is_there {
            self.name_left(&run.scope, spec, told.generation).await?;
        }
        Ok(ended)
    }

    async fn conclude(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        told: &EnsureOutcome,
    ) -> Result<RunOutcome, Error> {
        let (substatus, generation) = (told.substatus, told.generation.clone());
        let assignment = Assignment { substatus, generation, ..spec.assignment() };
        for _ in 0..MAX_RACES {
            let guard = match self.admission(run).await? {
                Ok(guard) => guard,
                Err(ending) => return self.end(run, ending.after(spec, told)).await,
            };
            let is_done = match run.registration.status == Status::Assigned(assignment.clone()) {
                true => self.count_confirmed(run, guard).await?.then(|| run.registration.clone()),
                false => self.arrive(run, (spec, &assignment), told, guard).await?,
            };
            if let Some(registration) = is_done {
                return Ok(RunOutcome::Registration(Box::new(registration)));
            }
            if let Some(ended) = self.overtaken(run).await? {
                return Ok(ended);
            }
        }
        Err(Error::Busy)
    }

    /// Counts a confirmation; false when the registration or what let the device in is not as it was.
    async fn count_confirmed(&self, run: &AssignmentRun, guard: Guard) -> Result<bool, Error> {
        let Registration { registration_id, record, .. } = &run.registration;
        let version = record.etag.clone();
        let (mut guards, mut changes) = (vec![guard], Vec::new());
        if run.updates_key {
            // The record's version stays, as nothing changes for the device.
            let noted = Change::PutRegistration(Box::new(run.registration.clone()));
            changes.push((Expect::Version(version), noted));
        } else {
            let record = Guarded::Registration(registration_id.clone());
            guards.push(Guard::Record { record, version: Some(version) });
        }
        let operation = Some((OperationKind::Reregistration, self.clock.now().day()));
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationConfirm);
        let commit = Commit { guards, changes, operation, ..Commit::by(by) };
        let outcomes = self.store.commit(&run.scope, commit).await?;
        Ok(outcomes.iter().all(|outcome| *outcome == Outcome::Applied))
    }

    /// Writes the assignment down; `None` when the registration or what let the device in is not as it was.
    async fn arrive(
        &self,
        run: &AssignmentRun,
        (spec, assignment): (&DeviceSpec, &Assignment),
        told: &EnsureOutcome,
        guard: Guard,
    ) -> Result<Option<Registration>, Error> {
        let (from, kind) = match &run.registration.status {
            Status::Assigning { from: None, .. } => (None, OperationKind::Registration),
            Status::Assigning { from, .. } => (from.as_ref(), OperationKind::Reregistration),
            _ => (None, OperationKind::Reregistration),
        };
        let ending = Ending {
            status: Status::Assigned(assignment.clone()),
            left: abandoned::left_by(spec, from, told.left.as_ref()),
            cause: CleanupCause::Moved,
            outcome: DecisionOutcome::Assigned,
            took_over: told.took_over,
            counts: Some(kind),
        };
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationAssign);
        let (arrived, step) = self.ending(&run.registration, run.decision.clone(), ending, by)?;
        let is_made = self.take_step(&run.scope, step.relying_on(guard)).await?;
        Ok(is_made.then_some(arrived))
    }

    /// The hub has been told nothing, or the device would have the credentials of an order.
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
            "a device was not assigned: its hub has one of this device ID that the registration did not make"
        );
        self.fail(run, Failure { reason: FailureReason::DeviceExists, message: format!("{reason}.") }).await
    }

    /// Ends a run without an assignment.
    pub(super) async fn fail(&self, run: &AssignmentRun, failure: Failure) -> Result<RunOutcome, Error> {
        self.end(run, Ending::failing(&run.registration, failure)).await
    }

    async fn end(&self, run: &AssignmentRun, ending: Ending) -> Result<RunOutcome, Error> {
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationFail);
        let (ended, step) = self.ending(&run.registration, run.decision.clone(), ending, by)?;
        if self.take_step(&run.scope, step).await? {
            return Ok(RunOutcome::Registration(Box::new(ended)));
        }
        self.overtaken_by(run).await
    }

    /// What took the place of the record that this run began with.
    pub(super) async fn overtaken_by(&self, run: &AssignmentRun) -> Result<RunOutcome, Error> {
        let overtaken = self.overtaken(run).await?;
        overtaken
            .ok_or_else(|| Error::Broken("the record is and is not the one that the run began with".into()))
    }

    /// The record that ends a registration's work, and the step that writes it.
    pub(super) fn ending(
        &self,
        before: &Registration,
        decision: Option<model::Decision>,
        ending: Ending,
        by: Attribution,
    ) -> Result<(Registration, Step), Error> {
        let now = self.clock.now();
        let record = record::fresh(&*self.entropy, Some(&before.record), now)?;
        let mut ended = Registration { status: ending.status, record, ..before.clone() };
        decision.into_iter().for_each(|decision| ended.decisions.push(decision));
        if let Some(decision) = ended.decisions.latest_mut().filter(|decision| decision.ended.is_none()) {
            (decision.outcome, decision.ended) = (ending.outcome, Some(now));
            decision.took_over = ending.took_over;
            if let (Some(returning), Status::Assigned(at)) = (&mut decision.returning, &ended.status) {
                returning.substatus = Some(at.substatus);
            }
        }
        let expect = Expect::Version(before.record.etag.clone());
        let change = Change::PutRegistration(Box::new(ended.clone()));
        let step = Step::new(&ended.registration_id, expect, change, by)
            .leaving(ending.left, ending.cause)
            .counting(ending.counts);
        Ok((ended, step))
    }

    /// What became of the record that this run began with; `None` while it is as it was. Another request may have
    /// carried the same run out, or ordered something else, or the record was deleted.
    async fn overtaken(&self, run: &AssignmentRun) -> Result<Option<RunOutcome>, Error> {
        let found = self.store.registration(&run.scope, &run.registration.registration_id).await?;
        Ok(match found {
            Some(found) if found.record.etag == run.registration.record.etag => None,
            Some(found) => Some(RunOutcome::Registration(Box::new(found))),
            None => Some(RunOutcome::Deleted),
        })
    }

    /// The run is to be carried out again: when the hub says so, or after a pause that grows each time.
    pub(super) async fn again(&self, run: &AssignmentRun, delay: Delay) -> RunOutcome {
        let run = &match self.persist(run).await {
            Ok(run) => run,
            Err(error) => return RunOutcome::Abandoned(error),
        };
        let reported = delay.retry_after.is_some();
        let (tries, pause) =
            backoff::after(&run.tries, self.clock.now(), backoff::MAX_ASSIGNMENT_BACKOFF, delay);
        let later = self.later(run, tries, pause).await;
        RunOutcome::Retry(Box::new(Retry { reported, ..later }))
    }

    /// The run is to be carried out again after this pause. Operators see why; the record's version stays.
    pub(super) async fn later(&self, run: &AssignmentRun, tries: Tries, pause: Duration) -> Retry {
        let reason = tries.reason.clone().unwrap_or_default();
        let again = run.tried(tries);
        if let Status::Assigning { .. } = again.registration.status {
            let expect = Expect::Version(again.registration.record.etag.clone());
            let changes = vec![(expect, Change::PutRegistration(Box::new(again.registration.clone())))];
            let by = self.by_job(Job::Assignments, LogOperation::RegistrationTry);
            let noted = self.store.commit(&run.scope, Commit { changes, ..Commit::by(by) }).await;
            if let Err(error) = noted {
                // The run goes on all the same; only operators see less.
                tracing::warn!(registration.id = %run.registration.registration_id, %error, "a try was not noted");
            }
        }
        Retry { run: again, backoff: pause, reason, reported: false }
    }
}

/// What a hub said to a confirmation.
pub struct Confirmation(Result<Result<EnsureOutcome, HubError>, Error>);

/// How the work on a registration ends.
pub(super) struct Ending {
    pub(super) status: Status,
    pub(super) left: Option<Residue>,
    pub(super) cause: CleanupCause,
    pub(super) outcome: DecisionOutcome,
    /// Whether a device was taken over that the registration did not make.
    pub(super) took_over: bool,
    pub(super) counts: Option<OperationKind>,
}

impl Ending {
    /// The same, knowing which device the hub made of the order.
    fn after(mut self, spec: &DeviceSpec, told: &EnsureOutcome) -> Ending {
        self.took_over = told.took_over;
        let place = spec.hub_device();
        if let Some(left) = self.left.as_mut().filter(|left| left.hub_device == place) {
            left.generation.clone_from(&told.generation);
        }
        if let Status::Failed { current: Some(at), .. } | Status::Disabled { current: Some(at) } =
            &mut self.status
            && at.hub_device() == place
        {
            at.generation.clone_from(&told.generation);
        }
        self
    }

    /// Without an assignment. What the hub may have been told is cleaned up.
    pub(super) fn failing(registration: &Registration, failure: Failure) -> Ending {
        let leaving = abandoned::leave(Some(registration));
        Ending {
            status: Status::Failed { failure: failure.clone(), current: leaving.current },
            left: leaving.residue,
            cause: CleanupCause::Failed,
            outcome: DecisionOutcome::Failed(failure),
            took_over: false,
            counts: None,
        }
    }
}

/// Once for each device: a repeated order finds the credentials of the registration there.
fn warn_of_adoption(run: &AssignmentRun, spec: &DeviceSpec) {
    tracing::warn!(
        instance.id_scope = %run.scope,
        registration.id = %run.registration.registration_id,
        hub.name = %spec.hub,
        device.id = %spec.device_id,
        "took over a device that existed at the hub, and that the registration did not make"
    );
}
