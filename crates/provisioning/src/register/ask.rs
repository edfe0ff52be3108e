//! Asks a webhook for the hub of a device, and continues the run with the answer.

use model::{
    AllocationRequest, Assignment, AttestedBy, Because, Certificate, Chosen, CleanupCause, DesiredDevice,
    DeviceSpec, Enrollment, Failure, FailureReason, HubName, IndividualAttestation, InitialTwin, Instance,
    Job, LogOperation, PendingStep, Presented, Registration, ReprovisionAction, Status, Tries, WebhookAnswer,
    WebhookReply,
};

use super::{
    AssignmentRun, RunOutcome,
    abandoned::{self, AbandonedRun},
    backoff,
    commit::RegistrationCommit,
    dispute::dispute,
    plan::device_spec,
};
use crate::{
    Error, Provisioning,
    allocate::{
        self,
        custom::{self, Verdict},
    },
    attest::{Attested, Evidence},
    ports::{Change, Expect, WebhookCall, WebhookOutcome},
    record,
};

/// The outcome of giving a run another device spec.
pub(super) enum RedirectOutcome {
    /// The spec is on disk.
    Redirected(Box<AssignmentRun>),
    /// Another registration owns the hub device. Nothing was written.
    Taken(Failure),
    /// The registration was changed meanwhile. Nothing was written.
    Superseded,
}

impl Provisioning {
    /// Asks a webhook once. The answer is on disk, as a device spec, before a hub is called.
    pub(super) async fn ask(
        &self,
        run: &AssignmentRun,
        ask: &AllocationRequest,
    ) -> Result<RunOutcome, Error> {
        let Some(instance) = self.instance_of(run).await? else {
            let failure = Failure {
                reason: FailureReason::InstanceGone,
                message: "There is no such service instance.".into(),
            };
            return self.fail(run, failure).await;
        };
        let WebhookCall { outcome, reply } = self.webhook.ask(&instance, &ask.request).await;
        let run = &run.with_webhook_reply(reply);
        let verdict = match (outcome, kept_hub(&instance, ask, &run.registration)) {
            (WebhookOutcome::Answer(answer), Some(hub)) => Verdict::Assign(hub, answer),
            (outcome, _) => custom::verdict(&instance, &ask.request, outcome, run.tries.count()),
        };
        match verdict {
            Verdict::Assign(hub, answer) => self.apply_answer(run, ask, (hub, answer)).await,
            Verdict::Fail(failure) => self.fail(run, failure).await,
            Verdict::Retry(pause, reason) => {
                let (tries, backoff) = backoff::paused(&run.tries, self.clock.now(), pause, reason);
                Ok(RunOutcome::Retry(Box::new(self.retry_after(run, tries, backoff).await)))
            }
        }
    }

    async fn apply_answer(
        &self,
        run: &AssignmentRun,
        ask: &AllocationRequest,
        (hub, answer): (HubName, WebhookAnswer),
    ) -> Result<RunOutcome, Error> {
        let from = run.registration.assignment();
        let because = if answer.hub.as_ref() == Some(&hub) { Because::Webhook } else { Because::Stays };
        let desired = with_answered_twin(&ask.desired, answer.initial_twin);
        let spec = device_spec(&desired, from, hub.clone());
        let next = self.redirect(run, spec, Tries::default(), |next| {
            next.payload = answer.payload;
            if let Some(decision) = next.decisions.latest_mut() {
                decision.chosen = Some(Chosen { hub, because });
            }
        });
        match next.await? {
            RedirectOutcome::Redirected(next) => Ok(Box::pin(self.execute(&next)).await),
            RedirectOutcome::Taken(failure) => self.fail(run, failure).await,
            RedirectOutcome::Superseded => self.superseded(run).await,
        }
    }

    /// Gives a run another device spec, and changes its registration with it. What the hub of an earlier spec may have applied
    /// is cleaned up.
    pub(super) async fn redirect(
        &self,
        run: &AssignmentRun,
        spec: DeviceSpec,
        tries: Tries,
        change: impl FnOnce(&mut Registration),
    ) -> Result<RedirectOutcome, Error> {
        let before = &run.registration;
        let hub_device = spec.hub_device();
        let pending = self.store.cleanup(&run.scope, &hub_device).await?;
        let mut abandoned = AbandonedRun::of_step(&run.step, before.assignment());
        let pending = pending.map(|cleanup| cleanup.residue);
        let spec = abandoned::with_known_requests(spec, &mut abandoned, pending);
        let from = abandoned.current.clone();
        let mut next = Registration {
            status: Status::Assigning {
                step: PendingStep::Ensure(Box::new(spec)),
                from,
                admitted_by: run.admitted_by.clone(),
                tries,
                runner: run.runner,
            },
            record: record::fresh(&*self.entropy, Some(&before.record), self.clock.now())?,
            ..before.clone()
        };
        change(&mut next);
        let expect = Expect::Version(before.record.etag.clone());
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationPlace);
        let put = Change::PutRegistration(Box::new(next.clone()));
        let commit = RegistrationCommit::new(&next.registration_id, expect, put, by)
            .without_cleanup_of(&next.status)
            .with_cleanup(abandoned.residue, CleanupCause::Redirected)
            .fenced_by(run.runner);
        if self.commit_registration(&run.scope, commit).await? {
            return Ok(AssignmentRun::started(&run.scope, &next)
                .map_or(RedirectOutcome::Superseded, |run| RedirectOutcome::Redirected(Box::new(run))));
        }
        let id = &before.registration_id;
        let found = self.store.hub_device(&hub_device, &run.scope, id).await?;
        let failure = found.other_owner.map(|owner| dispute(&run.scope, id, &hub_device, &owner));
        Ok(failure.map_or(RedirectOutcome::Superseded, RedirectOutcome::Taken))
    }
}

impl AssignmentRun {
    /// Returns the run with the reply of the webhook in its decision. The next commit of the run writes it.
    fn with_webhook_reply(&self, reply: Option<WebhookReply>) -> AssignmentRun {
        let mut run = self.clone();
        if let Some(decision) = run.registration.decisions.latest_mut() {
            decision.webhook = reply.or(decision.webhook.take());
        }
        run
    }
}

/// Returns the hub that a device keeps, by its reprovision policy, whichever the webhook names. The webhook is asked all the
/// same, for its answer may have a payload for the device.
fn kept_hub(instance: &Instance, ask: &AllocationRequest, registration: &Registration) -> Option<HubName> {
    let at: &Assignment = registration.assignment()?;
    let is_kept = ask.desired.reprovision == ReprovisionAction::Stay && allocate::may_stay(instance, &at.hub);
    is_kept.then(|| at.hub.clone())
}

/// Returns what the device gets if the webhook sent a twin: that replaces the initial twin of the enrollment, and data that
/// would move. A device that stays keeps its own.
fn with_answered_twin(desired: &DesiredDevice, twin: Option<InitialTwin>) -> DesiredDevice {
    let Some(initial_twin) = twin else { return desired.clone() };
    let reprovision = match desired.reprovision {
        ReprovisionAction::Stay => ReprovisionAction::Stay,
        ReprovisionAction::Migrate | ReprovisionAction::Reset => ReprovisionAction::Reset,
    };
    DesiredDevice { initial_twin, reprovision, ..desired.clone() }
}

/// Returns what a webhook is sent about the attestation of a device. A leaf that cannot be parsed is left out.
pub(super) fn presented(attested: &Attested, evidence: &Evidence) -> Presented {
    let leaf = || evidence.certificates.first().and_then(|leaf| Certificate::from_der(leaf).ok());
    let tpm = || match attested.admitted_by() {
        Enrollment::Individual(enrollment) => match &enrollment.attestation {
            IndividualAttestation::Tpm(tpm) => Some(tpm.clone()),
            IndividualAttestation::SymmetricKey(_) | IndividualAttestation::X509(_) => None,
        },
        Enrollment::Group(_) => None,
    };
    let shown = match attested.by() {
        AttestedBy::SymmetricKey => None,
        AttestedBy::X509 => leaf().map(Presented::X509),
        AttestedBy::Tpm => tpm().map(Presented::Tpm),
    };
    shown.unwrap_or(Presented::SymmetricKey)
}
