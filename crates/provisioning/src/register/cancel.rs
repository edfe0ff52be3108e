//! Calling assignments off, and deleting registrations: what was begun at a hub is cleaned up.

use model::{
    Actor, Attribution, CleanupCause, DecisionOutcome, Failure, FailureReason, HubDeviceRef, IfMatch,
    Instance, LogOperation, OperationKind, Registration, RegistrationId, Status,
};

use super::{abandoned, execute::Ending, step::Step};
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Commit, DamagedRecord, Expect, Outcome},
};

/// How often a change of any version is tried again when the record changes at the same moment.
const MAX_RACES: usize = 8;

impl Provisioning {
    /// Ends an assignment that is under way as failed. What a hub may have been told already is cleaned up, and a device
    /// that was moving stays where it lived.
    pub async fn cancel_registration(
        &self,
        instance: &Instance,
        by: &Actor,
        id: &RegistrationId,
        if_match: Option<&IfMatch>,
    ) -> Result<Registration, Error> {
        for _ in 0..MAX_RACES {
            let found = self.expected(instance, id, if_match).await?;
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
            let ending = Ending {
                cause: CleanupCause::Canceled,
                outcome: DecisionOutcome::Canceled,
                counts: Some(OperationKind::RegistrationCancel),
                ..Ending::failing(&found, failure)
            };
            let by = self.by(by, LogOperation::RegistrationCancel);
            let (cancelled, step) = self.ending(&found, None, ending, by)?;
            if self.take_step(&instance.id_scope, step).await? {
                return Ok(cancelled);
            }
        }
        Err(Error::Busy)
    }

    /// Deletes a registration. A device that is assigned stays at its hub and may register again; one that is on its way
    /// does not arrive.
    pub async fn delete_registration(
        &self,
        instance: &Instance,
        by: &Actor,
        id: RegistrationId,
        if_match: Option<IfMatch>,
    ) -> Result<(), Error> {
        for _ in 0..MAX_RACES {
            let found = match self.expected(instance, &id, if_match.as_ref()).await {
                Err(Error::Damaged(record)) => {
                    let by = self.by(by, LogOperation::RegistrationDelete);
                    return self.delete_unread_registration(instance, by, (id, if_match), record).await;
                }
                found => found?,
            };
            let expect = Expect::Version(found.record.etag.clone());
            let by = self.by(by, LogOperation::RegistrationDelete);
            let step = Step::new(&id, expect, Change::DeleteRegistration(id.clone()), by)
                .leaving(abandoned::leave(Some(&found)).residue, CleanupCause::Deleted)
                .counting(Some(OperationKind::RegistrationDelete));
            if self.take_step(&instance.id_scope, step).await? {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    /// Deletes a registration that cannot be read. Which hub has its device is not known: the device stays there, as that
    /// of any registration that is deleted; what an assignment under way may have left at a hub is not cleaned up.
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

    /// Gives a clean-up up. For hubs that will not come back: the device stays there, if it is there.
    pub async fn forget_cleanup(
        &self,
        instance: &Instance,
        by: &Actor,
        place: HubDeviceRef,
    ) -> Result<(), Error> {
        let commit = Commit {
            changes: vec![(Expect::Present, Change::DeleteCleanup(place))],
            operation: Some((OperationKind::RegistrationCancel, self.clock.now().day())),
            ..Commit::by(self.by(by, LogOperation::CleanupForget))
        };
        match self.store.commit(&instance.id_scope, commit).await?.first() {
            Some(Outcome::Applied) => Ok(()),
            _ => Err(Error::NotFound(RecordKind::Cleanup)),
        }
    }

    /// The registration, if it is of the version that the caller names.
    async fn expected(
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
