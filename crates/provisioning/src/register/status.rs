//! Answers devices that poll an operation or look their registration up.

use model::{OperationId, Registration};

use super::operation_id;
use crate::{
    Error, Provisioning, RecordKind,
    attest::{Evidence, Proof, Refusal},
    ports::DeviceRecords,
};

impl Provisioning {
    /// Returns the registration of an operation. The device must attest again; the call is not metered.
    pub async fn poll(
        &self,
        device: &DeviceRecords,
        operation_id: &OperationId,
        evidence: &Evidence,
    ) -> Result<Registration, Error> {
        let DeviceRecords { instance, registration_id, .. } = device;
        match self.own_registration(device, evidence).await? {
            Some(registration) if operation_id::is_issued(instance, registration_id, operation_id) => {
                Ok(registration.clone())
            }
            _ => Err(Error::NotFound(RecordKind::Operation)),
        }
    }

    /// Returns a device's registration. The device must attest; the call is not metered.
    pub async fn look_up(&self, device: &DeviceRecords, evidence: &Evidence) -> Result<Registration, Error> {
        let registration = self.own_registration(device, evidence).await?;
        registration.cloned().ok_or(Error::NotFound(RecordKind::Registration))
    }

    async fn own_registration<'a>(
        &self,
        device: &'a DeviceRecords,
        evidence: &Evidence,
    ) -> Result<Option<&'a Registration>, Error> {
        match self.identify(device, evidence).await? {
            Proof::Attested(attested) => {
                // Only a register call moves a device to another enrollment; until then it sees nothing of its registration.
                if let Some(owner) = attested.moved_from() {
                    return Err(Refusal::RegisteredElsewhere(owner.clone()).into());
                }
                Ok(device.registration()?)
            }
            Proof::Challenge(_) => Err(Refusal::NoToken.into()),
        }
    }
}
