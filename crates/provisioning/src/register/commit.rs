//! Commits a change of a registration with its consequences: the cleanup that it makes necessary or superfluous, and the
//! operation that it counts as.

use model::{
    Attribution, Cleanup, CleanupCause, HubDeviceRef, IdScope, LeaseToken, OperationKind, RegistrationId,
    Residue, Status, Tries,
};

use crate::{
    Error, Provisioning,
    ports::{Change, Commit, Expect, Guard, Outcome},
    record,
};

/// A change of a registration that is committed with its consequences, or not at all.
pub(super) struct RegistrationCommit {
    registration_id: RegistrationId,
    expect: Expect,
    change: Change,
    superfluous_cleanup: Option<HubDeviceRef>,
    residue: Option<(Residue, CleanupCause)>,
    operation: Option<OperationKind>,
    guard: Option<Guard>,
    fence: Option<LeaseToken>,
    by: Attribution,
}

impl RegistrationCommit {
    /// Makes a commit of this change alone.
    pub(super) fn new(
        registration_id: &RegistrationId,
        expect: Expect,
        change: Change,
        by: Attribution,
    ) -> RegistrationCommit {
        RegistrationCommit {
            registration_id: registration_id.clone(),
            expect,
            change,
            superfluous_cleanup: None,
            residue: None,
            operation: None,
            guard: None,
            fence: None,
            by,
        }
    }

    /// Deletes the cleanup at the hub device that the registration is being assigned to.
    pub(super) fn without_cleanup_of(self, status: &Status) -> RegistrationCommit {
        let superfluous_cleanup = match status {
            Status::Assigning { step, .. } => step.spec().map(model::DeviceSpec::hub_device),
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => None,
        };
        RegistrationCommit { superfluous_cleanup, ..self }
    }

    /// Adds the cleanup of a residue.
    pub(super) fn with_cleanup(self, residue: Option<Residue>, cause: CleanupCause) -> RegistrationCommit {
        RegistrationCommit { residue: residue.map(|residue| (residue, cause)), ..self }
    }

    /// Makes the commit depend on another record.
    pub(super) fn guarded_by(self, guard: Guard) -> RegistrationCommit {
        RegistrationCommit { guard: Some(guard), ..self }
    }

    /// Makes the commit under this lease.
    pub(super) fn fenced_by(self, fence: Option<LeaseToken>) -> RegistrationCommit {
        RegistrationCommit { fence, ..self }
    }

    /// Counts an operation with it.
    pub(super) fn counted_as(self, operation: Option<OperationKind>) -> RegistrationCommit {
        RegistrationCommit { operation, ..self }
    }
}

impl Provisioning {
    /// Commits a change of a registration. Returns false, and changes nothing, if the registration or the guarded record is
    /// not of the expected version.
    pub(super) async fn commit_registration(
        &self,
        scope: &IdScope,
        commit: RegistrationCommit,
    ) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut changes = vec![(commit.expect, commit.change)];
        if let Some(hub_device) = commit.superfluous_cleanup {
            changes.push((Expect::Following, Change::DeleteCleanup(hub_device)));
        }
        if let Some((residue, cause)) = commit.residue {
            let record = record::fresh(&*self.entropy, None, now)?;
            let (registration_id, tries) = (commit.registration_id, Tries::default());
            let cleanup = Cleanup { residue, registration_id, cause, tries, confirmed: false, record };
            changes.push((Expect::Following, Change::PutCleanup(Box::new(cleanup))));
        }
        let operation = commit.operation.map(|kind| (kind, now.day()));
        let (fence, guards) = (commit.fence, commit.guard.into_iter().collect());
        let commit = Commit { fence, guards, changes, operation, by: commit.by };
        let outcomes = self.store.commit(scope, commit).await?;
        Ok(outcomes.iter().all(|outcome| *outcome == Outcome::Applied))
    }
}
