//! One step of a registration: its record, what it leaves to be cleaned up, and what it counts as, in one commit.

use model::{
    Attribution, Cleanup, CleanupCause, HubDeviceRef, IdScope, OperationKind, RegistrationId, Residue,
    Status, Tries,
};

use crate::{
    Error, Provisioning,
    ports::{Change, Commit, Expect, Guard, Outcome},
    record,
};

/// A step that is made as a whole or not at all.
pub(super) struct Step {
    registration_id: RegistrationId,
    expect: Expect,
    change: Change,
    taken: Option<HubDeviceRef>,
    left: Option<(Residue, CleanupCause)>,
    counts: Option<OperationKind>,
    guard: Option<Guard>,
    by: Attribution,
}

impl Step {
    /// This change of a registration.
    pub(super) fn new(
        registration_id: &RegistrationId,
        expect: Expect,
        change: Change,
        by: Attribution,
    ) -> Step {
        let registration_id = registration_id.clone();
        Step { registration_id, expect, change, taken: None, left: None, counts: None, guard: None, by }
    }

    /// The place that a device is sent to is not cleaned up any more.
    pub(super) fn taking(self, status: &Status) -> Step {
        let taken = match status {
            Status::Assigning { step, .. } => step.spec().map(model::DeviceSpec::hub_device),
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => None,
        };
        Step { taken, ..self }
    }

    /// What is left behind is to be cleaned up.
    pub(super) fn leaving(self, residue: Option<Residue>, cause: CleanupCause) -> Step {
        Step { left: residue.map(|residue| (residue, cause)), ..self }
    }

    /// It relies on this record.
    pub(super) fn relying_on(self, guard: Guard) -> Step {
        Step { guard: Some(guard), ..self }
    }

    /// It completes an operation.
    pub(super) fn counting(self, kind: Option<OperationKind>) -> Step {
        Step { counts: kind, ..self }
    }
}

impl Provisioning {
    /// Commits a step; false when the record is not the one that it expects, or one that it relies on has changed.
    pub(super) async fn take_step(&self, scope: &IdScope, step: Step) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut changes = vec![(step.expect, step.change)];
        if let Some(place) = step.taken {
            changes.push((Expect::Following, Change::DeleteCleanup(place)));
        }
        if let Some((residue, cause)) = step.left {
            let record = record::fresh(&*self.entropy, None, now)?;
            let (registration_id, tries) = (step.registration_id, Tries::default());
            let cleanup = Cleanup { residue, registration_id, cause, tries, confirmed: false, record };
            changes.push((Expect::Following, Change::PutCleanup(Box::new(cleanup))));
        }
        let operation = step.counts.map(|kind| (kind, now.day()));
        let guards = step.guard.into_iter().collect();
        let outcomes =
            self.store.commit(scope, Commit { guards, changes, operation, ..Commit::by(step.by) }).await?;
        // What follows the change of the registration is made with it.
        Ok(outcomes.iter().all(|outcome| *outcome == Outcome::Applied))
    }
}
