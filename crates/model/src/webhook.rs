//! Requests to and answers from the webhooks of custom allocation.

use serde::{Deserialize, Serialize};

use crate::{
    Certificate, CustomAllocation, DeviceId, Enrollment, HubName, InitialTwin, PeerText, RawJson,
    RegistrationId, Timestamp, TpmAttestation,
};

/// The request to a webhook, with everything that is sent, so that repeating it needs no enrollment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookRequest {
    /// The webhook.
    pub webhook: CustomAllocation,
    /// The enrollment that let the device in. Its secrets are not sent.
    pub enrollment: Enrollment,
    /// The device.
    pub registration_id: RegistrationId,
    /// The device's current hub and device ID.
    pub current: Option<HubDeviceRef>,
    /// What it presented.
    pub presented: Presented,
    /// The payload that it sent for the webhook.
    pub payload: Option<RawJson>,
    /// The hubs that the webhook may choose from.
    pub linked_hubs: Vec<HubName>,
}

/// A hub and a device ID there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubDeviceRef {
    /// The hub.
    pub hub: HubName,
    /// The device ID at the hub.
    pub device_id: DeviceId,
}

/// What a device presented, as far as a webhook may know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Presented {
    /// A symmetric key, which is not sent.
    SymmetricKey,
    /// This leaf certificate.
    X509(Certificate),
    /// A TPM with these public keys.
    Tpm(TpmAttestation),
}

/// What a webhook replied, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookReply {
    /// When.
    pub at: Timestamp,
    /// The HTTP status.
    pub status: u16,
    /// The begin of the body, escaped.
    pub body: String,
}

impl WebhookReply {
    /// The longest body that is kept, in bytes: enough for an answer without a twin, and for most messages of errors. Eight
    /// decisions are kept of each registration.
    const MAX_BODY_BYTES: usize = 1024;

    /// Creates the record of a reply.
    pub fn new(at: Timestamp, status: u16, body: &[u8]) -> WebhookReply {
        // Only what can be kept is decoded.
        let begin = &body[..body.len().min(Self::MAX_BODY_BYTES + 1)];
        let body = PeerText::new(String::from_utf8_lossy(begin), Self::MAX_BODY_BYTES).into_string();
        WebhookReply { at, status, body }
    }
}

/// The answer of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WebhookAnswer {
    /// The hub; `None` if it names none.
    pub hub: Option<HubName>,
    /// The initial twin in place of the enrollment's, which also replaces data that would move.
    pub initial_twin: Option<InitialTwin>,
    /// The payload for the device.
    pub payload: Option<RawJson>,
}
