//! Begins a registration: verifies who the device is, and persists what it gets.

use std::{net::IpAddr, sync::Arc};

use model::{
    Actor, AttestationDigest, Cleanup, CleanupCause, Decision, DecisionOutcome, Decisions, DeviceSpec,
    EnrollmentRef, Failure, FailureReason, Instance, LeaseToken, LogOperation, PendingStep, Quota,
    Registration, RegistrationId, Status, Timestamp, Tries,
};

use super::{
    AssignmentRun, ReadByRequest, RegisterOutcome, RegisterRequest,
    abandoned::{self, AbandonedRun},
    admission,
    attempts::Applicant,
    challenge::reject_replay,
    commit::RegistrationCommit,
    dispute::dispute,
    operation_id,
    plan::{Case, Plan, came_through, plan},
};
use crate::{
    Error, Provisioning,
    attest::{Attested, Proof},
    ports::{Change, DeviceRecords, Expect, Found, HubDeviceRecords, RecordCounts},
    record,
};

/// How often a request starts over because another one of the same device was committed first.
const MAX_RACES: usize = 8;

/// An attested device that registers.
struct Registrant<'a> {
    instance: &'a Arc<Instance>,
    attested: &'a Attested,
    /// The registration ID in the spelling of its first registration.
    name: &'a RegistrationId,
    previous: Option<&'a Registration>,
    /// The device's address, if known.
    address: Option<IpAddr>,
    /// The runner that is to execute the run.
    runner: Option<LeaseToken>,
}

impl Registrant<'_> {
    fn actor(&self) -> Actor {
        Actor::Device { registration_id: self.name.clone(), address: self.address }
    }

    /// Returns the decision about a run that another enrollment takes over: the last one, repeated.
    fn redecided(&self, now: Timestamp) -> Option<Decision> {
        let moved_from = Some(self.attested.moved_from()?.clone());
        let last = self.previous?.decisions.latest()?.clone();
        Some(Decision { at: now, enrollment: self.attested.enrollment(), moved_from, webhook: None, ..last })
    }

    /// Returns the decision about a device that moves to a disabled enrollment, so that the move is recorded.
    fn taken_over_by_disabled(&self, now: Timestamp) -> Option<Decision> {
        let message = "The enrollment that the device moved to is disabled.".into();
        let failure = Failure { reason: FailureReason::EnrollmentDisabled, message };
        let outcome = DecisionOutcome::failed(now, failure);
        self.redecided(now).map(|decision| Decision { outcome, ..decision })
    }

    /// Logs that the device moves to another enrollment. Called once for each move, as its registration names the new one then.
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

    /// Returns what was read for the request. An enrollment that it changed has another version since.
    fn read(&self) -> ReadByRequest {
        let enrollment =
            self.attested.learned().is_none().then(|| admission::version_of(self.attested.admitted_by()));
        ReadByRequest { instance: Arc::clone(self.instance), enrollment }
    }

    /// Returns what the enrollment accepts as proof, which the run must find unchanged at its end.
    fn admitted_by(&self) -> AttestationDigest {
        AttestationDigest::of(self.attested.admitted_by())
    }
}

/// What a registration becomes.
struct NextRecord {
    status: Status,
    abandoned: AbandonedRun,
    /// Why the residue of the abandoned run must be removed.
    cause: CleanupCause,
    decision: Option<Decision>,
}

impl Provisioning {
    /// Verifies who the device is and plans what it gets. If a run is under way already, the request joins it. The records are
    /// read again if they changed meanwhile.
    pub async fn begin(
        &self,
        mut device: DeviceRecords,
        request: &RegisterRequest,
    ) -> Result<RegisterOutcome, Error> {
        for _ in 0..MAX_RACES {
            if let Some(outcome) = self.try_begin(&device, request).await? {
                return Ok(outcome);
            }
            device = self.device_of(&device.instance.id_scope, &device.registration_id).await?;
        }
        Err(Error::Busy)
    }

    /// Returns `None` if a record of the device changed meanwhile.
    async fn try_begin(
        &self,
        device: &DeviceRecords,
        request: &RegisterRequest,
    ) -> Result<Option<RegisterOutcome>, Error> {
        let (instance, previous) = (&device.instance, device.registration()?);
        let applicant = Applicant { evidence: &request.evidence, address: request.address };
        let attested = match self.identify_or_buffer(device, applicant).await? {
            Proof::Attested(attested) => attested,
            Proof::Challenge(tpm) => {
                return Ok(Some(RegisterOutcome::Challenged(self.challenge(device, &tpm)?)));
            }
        };
        let attested = match reject_replay(attested, previous) {
            Ok(attested) => attested,
            Err(refusal) => return Err(self.refuse(device, applicant, refusal)),
        };
        if previous.is_none() {
            self.reject_beyond_quota(instance, Quota::Registrations, 0).await?;
        }
        let name = previous.map_or(&device.registration_id, |previous| &previous.registration_id);
        let (address, runner) = (request.address, self.runner_for(previous, request.runner).await?);
        let registrant = Registrant { instance, attested: &attested, name, previous, address, runner };
        match self.store_learned_key(instance, &attested, &registrant.actor()).await? {
            true => self.apply_plan(&registrant, request).await,
            false => Ok(None),
        }
    }

    /// Persists the plan, up to the first call to a hub. Returns `None` if the registration changed meanwhile, or another one
    /// took the hub device.
    async fn apply_plan(
        &self,
        registrant: &Registrant<'_>,
        request: &RegisterRequest,
    ) -> Result<Option<RegisterOutcome>, Error> {
        let scope = &registrant.instance.id_scope;
        let mut abandoned = AbandonedRun::of(registrant.previous);
        let next = match self.plan_for(registrant, request) {
            Plan::Join => {
                let run = registrant.previous.and_then(|previous| AssignmentRun::from_store(scope, previous));
                return Ok(run.map(|run| RegisterOutcome::Running(Box::new(run))));
            }
            Plan::Confirm(spec, decision) => {
                let confirmed = self
                    .record_used_challenge(
                        registrant.instance,
                        registrant.attested,
                        registrant.previous,
                        &registrant.actor(),
                    )
                    .await?;
                let admitted_by = registrant.admitted_by();
                let run = |previous: &Registration| {
                    let by = (scope, request.runner);
                    let run = AssignmentRun::confirming(by, previous, admitted_by, (spec, decision));
                    run.after(registrant.attested.to_record()).with_read(Some(registrant.read()))
                };
                return Ok(confirmed.as_ref().map(run).map(|run| RegisterOutcome::Running(Box::new(run))));
            }
            Plan::Disable => {
                match registrant.previous.and_then(|previous| disabled_already(previous, registrant.attested))
                {
                    Some(disabled) => return Ok(Some(RegisterOutcome::Settled(Box::new(disabled)))),
                    None => NextRecord {
                        status: Status::Disabled { current: abandoned.current.clone() },
                        abandoned,
                        cause: CleanupCause::Failed,
                        decision: registrant.taken_over_by_disabled(self.clock.now()),
                    },
                }
            }
            Plan::Fail(failure, decision) => NextRecord::failed(failure, abandoned, decision),
            Plan::Redo(spec) => {
                // The run under way owns its hub device; that of a current assignment has no cleanup.
                let cleanup = match spec.twin.is_kept() {
                    true => Ok(None),
                    false => self.hub_device(registrant, &spec).await?.cleanup,
                };
                let step = ensure_step(spec, cleanup, &mut abandoned);
                NextRecord::assigning(step, registrant, abandoned, registrant.redecided(self.clock.now()))
            }
            Plan::Assign(step @ PendingStep::Allocate(_), decision) => {
                NextRecord::assigning(step, registrant, abandoned, Some(decision))
            }
            Plan::Assign(PendingStep::Ensure(spec), decision) => {
                let HubDeviceRecords { other_owner, cleanup } = self.hub_device(registrant, &spec).await?;
                match other_owner {
                    Some(owner) => {
                        let failure = dispute(scope, registrant.name, &spec.hub_device(), &owner);
                        let outcome = DecisionOutcome::failed(self.clock.now(), failure.clone());
                        NextRecord::failed(failure, abandoned, Decision { outcome, ..decision })
                    }
                    None => {
                        let step = ensure_step(*spec, cleanup, &mut abandoned);
                        NextRecord::assigning(step, registrant, abandoned, Some(decision))
                    }
                }
            }
        };
        self.write(registrant, next).await
    }

    /// Returns the runner for the next run of a device: the one that executes its last run, if that has a lease, so that no
    /// two runners call hubs for the device at the same time; else the one of this process.
    async fn runner_for(
        &self,
        previous: Option<&Registration>,
        own: Option<LeaseToken>,
    ) -> Result<Option<LeaseToken>, Error> {
        let Some(Status::Assigning { runner: Some(last), .. }) = previous.map(|it| &it.status) else {
            return Ok(own);
        };
        if own == Some(*last) {
            return Ok(own);
        }
        let leases = self.store.leases().await?;
        Ok(if leases.iter().any(|lease| lease.token == *last) { Some(*last) } else { own })
    }

    fn plan_for(&self, registrant: &Registrant<'_>, request: &RegisterRequest) -> Plan {
        let Registrant { instance, attested, name, previous, .. } = *registrant;
        let current = previous.and_then(Registration::assignment).map(|assignment| &assignment.hub);
        let situation = self.situation(instance, attested.settings(), current, request.address);
        let now = self.clock.now();
        plan(&Case { instance, attested, name, previous, request, situation: &situation, now })
    }

    /// Returns what is stored of the hub device that a spec is for.
    async fn hub_device(
        &self,
        registrant: &Registrant<'_>,
        spec: &DeviceSpec,
    ) -> Result<HubDeviceRecords, Error> {
        let scope = &registrant.instance.id_scope;
        Ok(self.store.hub_device(&spec.hub_device(), scope, registrant.name).await?)
    }

    /// Writes a registration over its previous version. Returns `None` if that changed meanwhile.
    async fn write(
        &self,
        registrant: &Registrant<'_>,
        next: NextRecord,
    ) -> Result<Option<RegisterOutcome>, Error> {
        let scope = &registrant.instance.id_scope;
        let registration = self.next_record(registrant, next.status, next.decision)?;
        let expect = match registrant.previous {
            Some(previous) => Expect::Version(previous.record.etag.clone()),
            None => Expect::Absent,
        };
        let commit = RegistrationCommit::new(
            &registration.registration_id,
            expect,
            Change::PutRegistration(Box::new(registration.clone())),
            self.by(&registrant.actor(), LogOperation::RegistrationRegister),
        )
        .without_cleanup_of(&registration.status)
        .with_cleanup(next.abandoned.residue, next.cause);
        if !self.commit_registration(scope, commit).await? {
            return Ok(None);
        }
        if registrant.previous.is_none() {
            self.record_tally.add(scope, RecordCounts { registrations: 1, ..RecordCounts::default() });
        }
        registrant.warn_of_move();
        Ok(Some(match AssignmentRun::started(scope, &registration) {
            Some(run) => RegisterOutcome::Running(Box::new(run.with_read(Some(registrant.read())))),
            None => RegisterOutcome::Settled(Box::new(registration)),
        }))
    }

    fn next_record(
        &self,
        registrant: &Registrant<'_>,
        status: Status,
        decision: Option<Decision>,
    ) -> Result<Registration, Error> {
        let before = registrant.previous.map(|registration| &registration.record);
        let record = record::fresh(&*self.entropy, before, self.clock.now())?;
        let mut decisions = registrant.previous.map_or_else(Decisions::default, |it| it.decisions.clone());
        decision.into_iter().for_each(|decision| decisions.push(decision));
        Ok(Registration {
            registration_id: registrant.name.clone(),
            enrollment: registrant.attested.enrollment(),
            attestation: registrant.attested.to_record(),
            status,
            operation_id: operation_id::issue(registrant.instance, registrant.name, &record.etag)?,
            payload: None,
            decisions,
            record,
        })
    }
}

impl NextRecord {
    fn failed(failure: Failure, abandoned: AbandonedRun, decision: Decision) -> NextRecord {
        let status = Status::Failed { failure, current: abandoned.current.clone() };
        NextRecord { status, abandoned, cause: CleanupCause::Failed, decision: Some(decision) }
    }

    fn assigning(
        step: PendingStep,
        registrant: &Registrant<'_>,
        abandoned: AbandonedRun,
        decision: Option<Decision>,
    ) -> NextRecord {
        let (from, admitted_by) = (abandoned.current.clone(), Some(registrant.admitted_by()));
        let (tries, runner) = (Tries::default(), registrant.runner);
        let status = Status::Assigning { step, from, admitted_by, tries, runner };
        NextRecord { status, abandoned, cause: CleanupCause::Redirected, decision }
    }
}

/// Returns the step that applies a device spec, with the requests that may have reached its hub before. The commit deletes a
/// cleanup that cannot be read; the requests that it names are lost, so that a later cleanup may take the device for a foreign
/// one and leave it.
fn ensure_step(spec: DeviceSpec, cleanup: Found<Cleanup>, abandoned: &mut AbandonedRun) -> PendingStep {
    // The hub device of a current assignment has no cleanup.
    let pending = cleanup.ok().flatten().filter(|_| !spec.twin.is_kept()).map(|cleanup| cleanup.residue);
    PendingStep::Ensure(Box::new(abandoned::with_known_requests(spec, abandoned, pending)))
}

/// Returns a registration as disabled if nothing need be written: it is disabled already, or a run is under way, which finds
/// the enrollment disabled at its end, and then cleans up what its hub may have applied.
fn disabled_already(previous: &Registration, attested: &Attested) -> Option<Registration> {
    match &previous.status {
        Status::Disabled { .. } => came_through(previous, attested).then(|| previous.clone()),
        Status::Assigning { from, .. } => {
            Some(Registration { status: Status::Disabled { current: from.clone() }, ..previous.clone() })
        }
        Status::Assigned(_) | Status::Failed { .. } => None,
    }
}
