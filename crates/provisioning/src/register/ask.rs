//! Asking a webhook where a device belongs, and going on with what it says.

use model::{
    AllocationRequest, Assignment, AttestedBy, Because, Certificate, Chosen, CleanupCause, DesiredDevice,
    DeviceSpec, Enrollment, Failure, FailureReason, HubName, IndividualAttestation, InitialTwin, Instance,
    Job, LogOperation, PendingStep, Presented, Registration, ReprovisionAction, Status, Tries, WebhookAnswer,
};

use super::{AssignmentRun, RunOutcome, abandoned, backoff, plan::place, step::Step};
use crate::{
    Error, Provisioning,
    allocate::{
        self,
        custom::{self, Verdict},
    },
    attest::{Attested, Evidence},
    ports::{Change, Expect, WebhookOutcome},
    record,
};

/// A run that goes on with another order.
pub(super) enum NextRun {
    /// The order is on disk.
    Runs(Box<AssignmentRun>),
    /// Another registration has the place. Nothing was written.
    Disputed(Failure),
    /// Another record has taken the place of the run's.
    Overtaken,
}

impl Provisioning {
    /// Asks once. The answer is on disk as an order before a hub is told.
    pub(super) async fn ask(
        &self,
        run: &AssignmentRun,
        ask: &AllocationRequest,
    ) -> Result<RunOutcome, Error> {
        let Some(instance) = self.store.instance(&run.scope).await? else {
            let failure = Failure {
                reason: FailureReason::InstanceGone,
                message: "There is no such service instance.".into(),
            };
            return self.fail(run, failure).await;
        };
        let verdict =
            match (self.webhook.ask(&instance, &ask.request).await, stays(&instance, ask, &run.registration))
            {
                (WebhookOutcome::Answer(answer), Some(hub)) => Verdict::Assign(hub, answer),
                (outcome, _) => custom::judge(&instance, &ask.request, outcome, run.tries.count),
            };
        match verdict {
            Verdict::Assign(hub, answer) => self.go_on(run, ask, (hub, answer)).await,
            Verdict::Fail(failure) => self.fail(run, failure).await,
            Verdict::Again(pause, reason) => {
                let (tries, pause) = backoff::paused(&run.tries, self.clock.now(), pause, reason);
                Ok(RunOutcome::Retry(Box::new(self.later(run, tries, pause).await)))
            }
        }
    }

    async fn go_on(
        &self,
        run: &AssignmentRun,
        ask: &AllocationRequest,
        (hub, answer): (HubName, WebhookAnswer),
    ) -> Result<RunOutcome, Error> {
        let from = run.registration.assignment();
        let because = if answer.hub.as_ref() == Some(&hub) { Because::Webhook } else { Because::Stays };
        let spec = place(&answered(&ask.desired, answer.initial_twin), from, hub.clone());
        let next = self.order_next(run, spec, Tries::default(), |next| {
            next.payload = answer.payload;
            if let Some(decision) = next.decisions.latest_mut() {
                decision.chosen = Some(Chosen { hub, because });
            }
        });
        match next.await? {
            NextRun::Runs(next) => Ok(Box::pin(self.execute(&next)).await),
            NextRun::Disputed(failure) => self.fail(run, failure).await,
            NextRun::Overtaken => self.overtaken_by(run).await,
        }
    }

    /// The run as it goes on with this order, once that is on disk, the record changed besides. What the hub of an earlier
    /// order may have been told is cleaned up.
    pub(super) async fn order_next(
        &self,
        run: &AssignmentRun,
        spec: DeviceSpec,
        tries: Tries,
        change: impl FnOnce(&mut Registration),
    ) -> Result<NextRun, Error> {
        let before = &run.registration;
        let place = spec.hub_device();
        let waiting = self.store.cleanup(&run.scope, &spec.hub_device()).await?;
        let mut left = abandoned::give_up(&run.step, before.assignment());
        let spec = abandoned::knowing(spec, &mut left, waiting.map(|cleanup| cleanup.residue));
        let from = left.current.clone();
        let mut next = Registration {
            status: Status::Assigning {
                step: PendingStep::Ensure(Box::new(spec)),
                from,
                admitted_by: run.admitted_by.clone(),
                tries,
            },
            record: record::fresh(&*self.entropy, Some(&before.record), self.clock.now())?,
            ..before.clone()
        };
        change(&mut next);
        let expect = Expect::Version(before.record.etag.clone());
        let by = self.by_job(Job::Assignments, LogOperation::RegistrationPlace);
        let put = Change::PutRegistration(Box::new(next.clone()));
        let step = Step::new(&next.registration_id, expect, put, by)
            .taking(&next.status)
            .leaving(left.residue, CleanupCause::Redirected);
        if self.take_step(&run.scope, step).await? {
            return Ok(AssignmentRun::started(&run.scope, &next)
                .map_or(NextRun::Overtaken, |run| NextRun::Runs(Box::new(run))));
        }
        let dispute = self.dispute(&run.scope, &before.registration_id, &place).await?;
        Ok(dispute.map_or(NextRun::Overtaken, NextRun::Disputed))
    }
}

/// The hub of a device that stays whatever the webhook says, which may have something for it all the same.
fn stays(instance: &Instance, ask: &AllocationRequest, registration: &Registration) -> Option<HubName> {
    let at: &Assignment = registration.assignment()?;
    let stays = ask.desired.reprovision == ReprovisionAction::Stay && allocate::may_stay(instance, &at.hub);
    stays.then(|| at.hub.clone())
}

/// What the device is to get when the webhook sends a twin: that takes the place of the enrollment's, and of data that
/// would move. A device that stays keeps its own.
fn answered(desired: &DesiredDevice, twin: Option<InitialTwin>) -> DesiredDevice {
    let Some(initial_twin) = twin else { return desired.clone() };
    let reprovision = match desired.reprovision {
        ReprovisionAction::Stay => ReprovisionAction::Stay,
        ReprovisionAction::Migrate | ReprovisionAction::Reset => ReprovisionAction::Reset,
    };
    DesiredDevice { initial_twin, reprovision, ..desired.clone() }
}

/// What a webhook is told of how the device proved itself. A leaf that cannot be described is not.
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
