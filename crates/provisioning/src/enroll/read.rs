//! Reads one record or a page of them. Each successful call is counted as one operation, if that can be stored.

use std::collections::BTreeSet;

use model::{
    Cleanup, DeviceId, EnrollmentGroupId, HubDeviceRef, HubName, Instance, Job, KeyStanding, LogOperation,
    OperationKind, Registration, RegistrationId,
};

use super::Enrollment;
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Commit, Page, PageRequest, StoreError},
};

impl Provisioning {
    /// Returns one enrollment.
    pub async fn read_enrollment<E: Enrollment>(&self, instance: &Instance, id: &E::Id) -> Result<E, Error> {
        self.read(instance, id, OperationKind::EnrollmentRead).await
    }

    /// Returns one enrollment, for the secrets of its attestation mechanism.
    pub async fn read_attestation<E: Enrollment>(&self, instance: &Instance, id: &E::Id) -> Result<E, Error> {
        self.read(instance, id, OperationKind::AttestationRead).await
    }

    /// Returns one registration.
    pub async fn read_registration(
        &self,
        instance: &Instance,
        id: &RegistrationId,
    ) -> Result<Registration, Error> {
        let found = self.find_registration(instance, id).await?;
        let registration = found.ok_or(Error::NotFound(RecordKind::Registration))?;
        self.count(instance, OperationKind::RegistrationRead).await?;
        Ok(registration)
    }

    /// Returns the registration of a device, to be shown with its enrollment, if there is one. Not counted.
    pub async fn find_registration(
        &self,
        instance: &Instance,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, Error> {
        Ok(self.store.registration(&instance.id_scope, id).await?)
    }

    /// Returns a page of the registrations that came through a group, in the order of their IDs. A deleted group still lists those
    /// that remain, and is not found once none do.
    pub async fn query_registrations(
        &self,
        instance: &Instance,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, Error> {
        let store = self.store.as_ref();
        let page = store.registrations_of(&instance.id_scope, group, page).await?;
        let is_empty = page.items.is_empty();
        if is_empty && store.configuration(&instance.id_scope).await?.group(group)?.is_none() {
            return Err(Error::NotFound(RecordKind::EnrollmentGroup));
        }
        self.count(instance, OperationKind::RegistrationQuery).await?;
        Ok(page)
    }

    /// Returns whether the enrollment still has the key that a device used last; `None` if no key is recorded. Not counted.
    pub async fn key_standing(
        &self,
        instance: &Instance,
        registration: &Registration,
    ) -> Result<Option<KeyStanding>, Error> {
        let Some(used) = registration.attestation.key() else { return Ok(None) };
        let enrollment = self.enrollment_of(&instance.id_scope, registration).await?;
        Ok(Some(used.standing(enrollment.as_ref().and_then(model::Enrollment::symmetric_keys))))
    }

    /// Returns a page of the pending cleanups.
    pub async fn list_cleanups(
        &self,
        instance: &Instance,
        page: PageRequest,
    ) -> Result<Page<Cleanup>, Error> {
        let page = self.store.cleanups(&instance.id_scope, page).await?;
        self.count(instance, OperationKind::RegistrationQuery).await?;
        Ok(page)
    }

    /// Returns the pending cleanups of a registration, at linked hubs and at those of its last decisions. Not counted.
    pub async fn cleanups_of(
        &self,
        instance: &Instance,
        registration: &Registration,
    ) -> Result<Vec<Cleanup>, Error> {
        let mut cleanups = Vec::new();
        for hub_device in hub_devices(instance, registration) {
            let found = self.store.cleanup(&instance.id_scope, &hub_device).await?;
            cleanups.extend(found.filter(|it| it.registration_id == registration.registration_id));
        }
        Ok(cleanups)
    }

    async fn read<E: Enrollment>(
        &self,
        instance: &Instance,
        id: &E::Id,
        kind: OperationKind,
    ) -> Result<E, Error> {
        let found = E::load(self.store.as_ref(), &instance.id_scope, id).await?;
        let enrollment = found.ok_or(Error::NotFound(E::KIND))?;
        self.count(instance, kind).await?;
        Ok(enrollment)
    }

    /// Counts an operation that changed nothing. If nothing can be stored, operators can read all the same: the operation is not
    /// counted, which is logged.
    pub(crate) async fn count(&self, instance: &Instance, kind: OperationKind) -> Result<(), Error> {
        let by = self.by_job(Job::Metering, LogOperation::Count);
        let commit = Commit { operation: Some((kind, self.clock.now().day())), ..Commit::by(by) };
        match self.store.commit(&instance.id_scope, commit).await {
            Err(StoreError::Unwritable(reason)) => {
                let (scope, kind) = (&instance.id_scope, kind.name());
                tracing::warn!(instance.id_scope = %scope, kind, reason, "an operation was not counted");
                Ok(())
            }
            counted => Ok(counted.map(drop)?),
        }
    }
}

/// Returns where a device may be, or have been.
fn hub_devices(instance: &Instance, registration: &Registration) -> Vec<HubDeviceRef> {
    let decided = registration.decisions.iter().flat_map(|decision| {
        let chosen = decision.chosen.as_ref().map(|chosen| &chosen.hub);
        chosen.into_iter().chain(decision.returning.as_ref().map(|returning| &returning.from))
    });
    let hubs: BTreeSet<_> = instance.linked_hubs.iter().map(|hub| &hub.name).chain(decided).collect();
    let mut ids = vec![DeviceId::from(&registration.registration_id)];
    ids.extend(registration.assignment().map(|at| at.device_id.clone()).filter(|id| *id != ids[0]));
    let at = |hub: &HubName| {
        let hub = hub.clone();
        ids.iter().map(move |id| HubDeviceRef { hub: hub.clone(), device_id: id.clone() })
    };
    hubs.into_iter().flat_map(at).collect()
}
