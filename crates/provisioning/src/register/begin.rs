//! The first half of a registration: who is it, and what does it get?

use std::{net::IpAddr, sync::Arc};

use model::{
    Actor, AttestationDigest, CleanupCause, Decision, DecisionOutcome, Decisions, DeviceSpec, EnrollmentRef,
    Failure, FailureReason, Instance, LogOperation, PendingStep, Registration, RegistrationId, Status,
    Timestamp, Tries,
};

use super::{
    AssignmentRun, RegisterOutcome, RegisterRequest,
    abandoned::{self, AbandonedWork},
    attempts::Applicant,
    challenge::is_fresh,
    operation_id,
    plan::{Case, Plan, came_through, plan},
    step::Step,
};
use crate::{
    Error, Provisioning,
    attest::{Attested, Proof},
    ports::{Change, Expect, StoreError},
    record,
};

/// How often a request starts over because another one for the same device was faster.
const MAX_RACES: usize = 8;

/// Who asks, and what is known of them.
struct Claim<'a> {
    instance: &'a Instance,
    attested: &'a Attested,
    /// The registration ID in the spelling of its first registration.
    name: &'a RegistrationId,
    previous: Option<&'a Registration>,
    /// Where the device came from.
    address: Option<IpAddr>,
}

impl Claim<'_> {
    fn actor(&self) -> Actor {
        Actor::Device { registration_id: self.name.clone(), address: self.address }
    }

    /// The decision about a run that goes on for another enrollment: the last one, made again.
    fn redecided(&self, now: Timestamp) -> Option<Decision> {
        let moved_from = Some(self.attested.moved_from()?.clone());
        let last = self.previous?.decisions.latest()?.clone();
        Some(Decision { at: now, enrollment: self.attested.enrollment(), moved_from, ..last })
    }

    /// The decision about a device that moves to an enrollment which is disabled: the move is on record, too.
    fn taken_over_by_disabled(&self, now: Timestamp) -> Option<Decision> {
        let message = "The enrollment that the device moved to is disabled.".into();
        let failure = Failure { reason: FailureReason::EnrollmentDisabled, message };
        let (outcome, ended) = (DecisionOutcome::Failed(failure), Some(now));
        self.redecided(now).map(|decision| Decision { outcome, ended, ..decision })
    }

    /// Called once for each move: from then on the record names the new enrollment.
    fn warn_of_move(&self) {
        let Some(from) = self.attested.moved_from() else { return };
        let to = match self.attested.enrollment() {
            EnrollmentRef::Individual => "its individual enrollment".to_owned(),
            EnrollmentRef::Group(group) => format!("the enrollment group {group}"),
        };
        tracing::warn!(
            instance.id_scope = %self.instance.id_scope,
            registration.id = %self.name,
            from = %from,
            to,
            "a device moved to another enrollment, although the enrollment group of its registration exists"
        );
    }

    /// What the enrollment accepts as proof, noted in the run.
    fn admitted_by(&self) -> AttestationDigest {
        AttestationDigest::of(self.attested.admitted_by())
    }
}

/// What the record will say.
struct Next {
    status: Status,
    leaving: AbandonedWork,
    cause: CleanupCause,
    decision: Option<Decision>,
}

impl Provisioning {
    /// Proves who the device is and plans what it gets. A registration that is already being carried out is joined.
    pub async fn begin(
        &self,
        instance: &Arc<Instance>,
        request: &RegisterRequest,
    ) -> Result<RegisterOutcome, Error> {
        for _ in 0..MAX_RACES {
            let previous = self.store.registration(&instance.id_scope, &request.registration_id).await?;
            let id = &request.registration_id;
            let applicant =
                Applicant { registration_id: id, evidence: &request.evidence, address: request.address };
            let attested = match self.identify_or_note(instance, applicant, previous.as_ref()).await? {
                Proof::Attested(attested) => attested,
                Proof::Challenge(tpm) => {
                    return Ok(RegisterOutcome::Challenged(self.challenge(
                        instance,
                        id,
                        &tpm,
                        previous.as_ref(),
                    )?));
                }
            };
            if let Err(refusal) = is_fresh(&attested, previous.as_ref()) {
                return Err(self.refuse(instance, applicant, refusal, previous.as_ref()));
            }
            let name = previous.as_ref().map_or(id, |previous| &previous.registration_id);
            let (previous, address) = (previous.as_ref(), request.address);
            let claim = Claim { instance, attested: &attested, name, previous, address };
            if !self.learn(instance, &attested, &claim.actor()).await? {
                continue;
            }
            if let Some(begun) = self.follow(&claim, request).await? {
                return Ok(begun);
            }
        }
        Err(Error::Busy)
    }

    /// Follows the plan as far as the first call to a hub; `None` when the record changed meanwhile, or another
    /// registration was given the place.
    async fn follow(
        &self,
        claim: &Claim<'_>,
        request: &RegisterRequest,
    ) -> Result<Option<RegisterOutcome>, Error> {
        let scope = &claim.instance.id_scope;
        let mut leaving = abandoned::leave(claim.previous);
        let plan = self.undisputed(scope, claim.name, self.plan_for(claim, request)).await?;
        let next = match plan {
            Plan::Join => {
                let run = claim.previous.and_then(|previous| AssignmentRun::from_store(scope, previous));
                return Ok(run.map(|run| RegisterOutcome::Running(Box::new(run))));
            }
            Plan::Confirm(spec, decision) => {
                let confirmed =
                    self.used_up(claim.instance, claim.attested, claim.previous, &claim.actor()).await?;
                let admitted_by = claim.admitted_by();
                let run = |previous: &Registration| {
                    let run = AssignmentRun::confirming(scope, previous, admitted_by, (spec, decision));
                    run.with_key(claim.attested.key())
                };
                return Ok(confirmed.as_ref().map(run).map(|run| RegisterOutcome::Running(Box::new(run))));
            }
            Plan::Disable => {
                match claim.previous.and_then(|previous| told_disabled(previous, claim.attested)) {
                    Some(told) => return Ok(Some(RegisterOutcome::Settled(Box::new(told)))),
                    None => Next {
                        status: Status::Disabled { current: leaving.current.clone() },
                        leaving,
                        cause: CleanupCause::Failed,
                        decision: claim.taken_over_by_disabled(self.clock.now()),
                    },
                }
            }
            Plan::Fail(failure, decision) => Next {
                status: Status::Failed { failure, current: leaving.current.clone() },
                leaving,
                cause: CleanupCause::Failed,
                decision: Some(decision),
            },
            Plan::Redo(spec) => {
                let step = self.spec(claim.instance, spec, &mut leaving).await?;
                Next::assigning(step, claim, leaving, claim.redecided(self.clock.now()))
            }
            Plan::Assign(step @ PendingStep::Allocate(_), decision) => {
                Next::assigning(step, claim, leaving, Some(decision))
            }
            Plan::Assign(PendingStep::Ensure(spec), decision) => {
                let step = self.spec(claim.instance, *spec, &mut leaving).await?;
                Next::assigning(step, claim, leaving, Some(decision))
            }
        };
        self.write_down(claim, next).await
    }

    fn plan_for(&self, claim: &Claim<'_>, request: &RegisterRequest) -> Plan {
        let Claim { instance, attested, name, previous, .. } = *claim;
        let current = previous.and_then(Registration::assignment).map(|assignment| &assignment.hub);
        let situation = self.situation(instance, attested.settings(), current, request.address);
        let now = self.clock.now();
        plan(&Case { instance, attested, name, previous, request, situation: &situation, now })
    }

    /// The order, with all that may be at its place already.
    async fn spec(
        &self,
        instance: &Instance,
        spec: DeviceSpec,
        leaving: &mut AbandonedWork,
    ) -> Result<PendingStep, Error> {
        let waiting = match spec.twin.is_kept() {
            // Where a device lives, nothing waits to be removed.
            true => None,
            false => match self.store.cleanup(&instance.id_scope, &spec.hub_device()).await {
                // It goes when the device takes its place. What was told there before is not known any more: at worst the
                // device is left alone one day where it should be removed.
                Err(StoreError::Damaged(_)) => None,
                waiting => waiting?,
            },
        };
        let waiting = waiting.map(|cleanup| cleanup.residue);
        Ok(PendingStep::Ensure(Box::new(abandoned::knowing(spec, leaving, waiting))))
    }

    /// Puts the record in place of the previous one; `None` when another is there.
    async fn write_down(&self, claim: &Claim<'_>, next: Next) -> Result<Option<RegisterOutcome>, Error> {
        let scope = &claim.instance.id_scope;
        let registration = self.next_record(claim, next.status, next.decision)?;
        let expect = match claim.previous {
            Some(previous) => Expect::Version(previous.record.etag.clone()),
            None => Expect::Absent,
        };
        let step = Step::new(
            &registration.registration_id,
            expect,
            Change::PutRegistration(Box::new(registration.clone())),
            self.by(&claim.actor(), LogOperation::RegistrationRegister),
        )
        .taking(&registration.status)
        .leaving(next.leaving.residue, next.cause);
        if !self.take_step(scope, step).await? {
            return Ok(None);
        }
        claim.warn_of_move();
        Ok(Some(match AssignmentRun::started(scope, &registration) {
            Some(run) => RegisterOutcome::Running(Box::new(run)),
            None => RegisterOutcome::Settled(Box::new(registration)),
        }))
    }

    fn next_record(
        &self,
        claim: &Claim<'_>,
        status: Status,
        decision: Option<Decision>,
    ) -> Result<Registration, Error> {
        let before = claim.previous.map(|registration| &registration.record);
        let record = record::fresh(&*self.entropy, before, self.clock.now())?;
        let mut decisions = claim.previous.map_or_else(Decisions::default, |it| it.decisions.clone());
        decision.into_iter().for_each(|decision| decisions.push(decision));
        Ok(Registration {
            registration_id: claim.name.clone(),
            enrollment: claim.attested.enrollment(),
            attested_by: claim.attested.by(),
            key: claim.attested.key().cloned(),
            status,
            operation_id: operation_id::issue(claim.instance, claim.name, &record.etag)?,
            payload: None,
            tpm: claim.attested.handover(),
            decisions,
            record,
        })
    }
}

impl Next {
    fn assigning(
        step: PendingStep,
        claim: &Claim<'_>,
        leaving: AbandonedWork,
        decision: Option<Decision>,
    ) -> Next {
        let (from, admitted_by) = (leaving.current.clone(), Some(claim.admitted_by()));
        let status = Status::Assigning { step, from, admitted_by, tries: Tries::default() };
        Next { status, leaving, cause: CleanupCause::Redirected, decision }
    }
}

/// What a device is told whose enrollment is disabled, when nothing need be written for it: the record says so already,
/// or a run is under way. That one ends by itself, as disabled: what its hub may have been told is cleaned up then.
fn told_disabled(previous: &Registration, attested: &Attested) -> Option<Registration> {
    match &previous.status {
        Status::Disabled { .. } => came_through(previous, attested).then(|| previous.clone()),
        Status::Assigning { from, .. } => {
            Some(Registration { status: Status::Disabled { current: from.clone() }, ..previous.clone() })
        }
        Status::Assigned(_) | Status::Failed { .. } => None,
    }
}
