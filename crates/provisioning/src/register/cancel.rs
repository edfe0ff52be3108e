//! Cancels assignments and deletes registrations, with a cleanup of what the hub may have applied.

use model::{
    Actor, Attribution, CleanupCause, DecisionResult, Failure, FailureReason, HubDeviceRef, IfMatch,
    Instance, LogOperation, OperationKind, Registration, RegistrationId, Status,
};

use super::{abandoned::AbandonedRun, commit::RegistrationCommit, execute::RunEnd};
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Commit, DamagedRecord, Expect, Outcome},
};

/// How often a change of any version is tried again because the registration changed at the same moment.
const MAX_RACES: usize = 8;

impl Provisioning {
    /// Cancels a run that is under way, so that the registration fails. A device that was moving keeps its assignment, and what
    /// the new hub may have applied is cleaned up.
    pub async fn cancel_registration(
        &self,
        instance: &Instance,
        by: &Actor,
        id: &RegistrationId,
        if_match: Option<&IfMatch>,
    ) -> Result<Registration, Error> {
        for _ in 0..MAX_RACES {
            let found = self.registration_of_version(instance, id, if_match).await?;
            if !matches!(found.status, Status::Assigning { .. }) {
                let status = found.status.kind().name();
                return Err(Error::Invalid(format!(
                    "the registration is not being assigned: it is {status}"
                )));
            }
            let failure = Failure {
                reason: FailureReason::Canceled,
                message: "The assignment was cancelled by an operator.".into(),
            };
            let end = RunEnd {
                cause: CleanupCause::Canceled,
                result: DecisionResult::Canceled,
                operation: Some(OperationKind::RegistrationCancel),
                ..RunEnd::failing(&found, failure)
            };
            let by = self.by(by, LogOperation::RegistrationCancel);
            let (canceled, commit) = self.ended(&found, None, end, by)?;
            if self.commit_registration(&instance.id_scope, commit).await? {
                return Ok(canceled);
            }
        }
        Err(Error::Busy)
    }

    /// Deletes a registration. A device that is assigned stays at its hub and may register again; a run that is under way is
    /// abandoned.
    pub async fn delete_registration(
        &self,
        instance: &Instance,
        by: &Actor,
        id: RegistrationId,
        if_match: Option<IfMatch>,
    ) -> Result<(), Error> {
        for _ in 0..MAX_RACES {
            let found = match self.registration_of_version(instance, &id, if_match.as_ref()).await {
                Err(Error::Damaged(record)) => {
                    let by = self.by(by, LogOperation::RegistrationDelete);
                    return self.delete_unread_registration(instance, by, (id, if_match), record).await;
                }
                found => found?,
            };
            let expect = Expect::Version(found.record.etag.clone());
            let by = self.by(by, LogOperation::RegistrationDelete);
            let commit = RegistrationCommit::new(&id, expect, Change::DeleteRegistration(id.clone()), by)
                .with_cleanup(AbandonedRun::of(Some(&found)).residue, CleanupCause::Deleted)
                .counted_as(Some(OperationKind::RegistrationDelete));
            if self.commit_registration(&instance.id_scope, commit).await? {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    /// Deletes a registration that cannot be read. Its hub is unknown, so the device stays there, and what a run under way may
    /// have left at a hub is not cleaned up.
    async fn delete_unread_registration(
        &self,
        instance: &Instance,
        by: Attribution,
        (id, if_match): (RegistrationId, Option<IfMatch>),
        record: DamagedRecord,
    ) -> Result<(), Error> {
        let expect = match if_match {
            Some(IfMatch::Version(etag)) => Expect::Version(etag),
            None | Some(IfMatch::Any) => Expect::Present,
        };
        let commit = Commit {
            changes: vec![(expect, Change::DeleteRegistration(id.clone()))],
            operation: Some((OperationKind::RegistrationDelete, self.clock.now().day())),
            ..Commit::by(by)
        };
        match self.store.commit(&instance.id_scope, commit).await?.first() {
            Some(Outcome::Applied) => {
                let (scope, reason) = (&instance.id_scope, record.reason);
                tracing::warn!(instance.id_scope = %scope, registration.id = %id, reason, "deleted a damaged registration: its device stays at the hub that has it");
                Ok(())
            }
            Some(Outcome::Missing) => Err(Error::NotFound(RecordKind::Registration)),
            _ => Err(Error::PreconditionFailed(RecordKind::Registration)),
        }
    }

    /// Deletes a cleanup, for hubs that will not return. The device stays there, if it is there.
    pub async fn forget_cleanup(
        &self,
        instance: &Instance,
        by: &Actor,
        hub_device: HubDeviceRef,
    ) -> Result<(), Error> {
        let commit = Commit {
            changes: vec![(Expect::Present, Change::DeleteCleanup(hub_device))],
            operation: Some((OperationKind::RegistrationCancel, self.clock.now().day())),
            ..Commit::by(self.by(by, LogOperation::CleanupForget))
        };
        match self.store.commit(&instance.id_scope, commit).await?.first() {
            Some(Outcome::Applied) => Ok(()),
            _ => Err(Error::NotFound(RecordKind::Cleanup)),
        }
    }

    /// Returns a registration if it is of the version that the caller expects.
    async fn registration_of_version(
        &self,
        instance: &Instance,
        id: &RegistrationId,
        if_match: Option<&IfMatch>,
    ) -> Result<Registration, Error> {
        let found = self.store.registration(&instance.id_scope, id).await?;
        let found = found.ok_or(Error::NotFound(RecordKind::Registration))?;
        match if_match {
            Some(IfMatch::Version(etag)) if *etag != found.record.etag => {
                Err(Error::PreconditionFailed(RecordKind::Registration))
            }
            None | Some(IfMatch::Any | IfMatch::Version(_)) => Ok(found),
        }
    }
}
