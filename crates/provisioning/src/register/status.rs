//! Answers devices that poll an operation or look their registration up.

use model::{Instance, OperationId, Registration, RegistrationId};

use super::operation_id;
use crate::{
    Error, Provisioning, RecordKind,
    attest::{Evidence, Proof, Refusal},
};

impl Provisioning {
    /// Returns the registration of an operation. The device must attest again; the call is not metered.
    pub async fn poll(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        operation_id: &OperationId,
        evidence: &Evidence,
    ) -> Result<Registration, Error> {
        let registration = self.own_registration(instance, registration_id, evidence).await?;
        match registration {
            Some(registration) if operation_id::is_issued(instance, registration_id, operation_id) => {
                Ok(registration)
            }
            _ => Err(Error::NotFound(RecordKind::Operation)),
        }
    }

    /// Returns a device's registration. The device must attest; the call is not metered.
    pub async fn look_up(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        evidence: &Evidence,
    ) -> Result<Registration, Error> {
        let registration = self.own_registration(instance, registration_id, evidence).await?;
        registration.ok_or(Error::NotFound(RecordKind::Registration))
    }

    async fn own_registration(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        evidence: &Evidence,
    ) -> Result<Option<Registration>, Error> {
        let registration = self.store.registration(&instance.id_scope, registration_id).await?;
        match self.identify(instance, registration_id, evidence, registration.as_ref()).await? {
            Proof::Attested(attested) => {
                // Only a register call moves a device to another enrollment; until then it sees nothing of its registration.
                if let Some(owner) = attested.moved_from() {
                    return Err(Refusal::RegisteredElsewhere(owner.clone()).into());
                }
                Ok(registration)
            }
            Proof::Challenge(_) => Err(Refusal::NoToken.into()),
        }
    }
}
