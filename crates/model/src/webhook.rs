//! What passes between the service and the webhook of a custom allocation.

use serde::{Deserialize, Serialize};

use crate::{
    Certificate, CustomAllocation, DeviceId, Enrollment, HubName, InitialTwin, RawJson, RegistrationId,
    TpmAttestation,
};

/// What a webhook is asked: everything it is told, decided once, so that asking again needs no enrollment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookRequest {
    /// The webhook.
    pub webhook: CustomAllocation,
    /// The enrollment that let the device in. The webhook is told no secrets of it.
    pub enrollment: Enrollment,
    /// The device.
    pub registration_id: RegistrationId,
    /// Where it lives now.
    pub current: Option<HubDeviceRef>,
    /// What it proved itself by.
    pub presented: Presented,
    /// What it sent along for the webhook.
    pub payload: Option<RawJson>,
    /// The hubs that the webhook may choose from.
    pub linked_hubs: Vec<HubName>,
}

/// Where a device lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubDeviceRef {
    /// Its hub.
    pub hub: HubName,
    /// Its name there.
    pub device_id: DeviceId,
}

/// What a device proved itself by, as far as a webhook may know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Presented {
    /// A key, which nobody is told.
    SymmetricKey,
    /// This leaf certificate.
    X509(Certificate),
    /// A TPM with these public keys.
    Tpm(TpmAttestation),
}

/// What a webhook decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WebhookAnswer {
    /// The hub; `None` when the webhook names none.
    pub hub: Option<HubName>,
    /// What the device's twin starts with instead of the enrollment's; it overrides the migration of data.
    pub initial_twin: Option<InitialTwin>,
    /// What the device is handed.
    pub payload: Option<RawJson>,
}
