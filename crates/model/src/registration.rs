//! Registrations: the record that a device was provisioned, and where it belongs.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    DeviceId, EnrollmentGroupId, HubName, InitialTwin, OperationId, Record, RegistrationId, Sha256Thumbprint,
    SymmetricKeyPair, TpmIdentity,
};

/// What is known of one device's provisioning. Made by the service, may be deleted, never edited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The device.
    pub registration_id: RegistrationId,
    /// The enrollment that let it in.
    pub enrollment: EnrollmentRef,
    /// How it proved itself.
    pub attested_by: AttestedBy,
    /// Where it stands.
    pub status: Status,
    /// The run that led here.
    pub operation_id: OperationId,
    /// What custom allocation hands to the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// What a device with a TPM connects to its hub with, and who is handed that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmHandover>,
    /// Version and dates.
    pub record: Record,
}

impl Registration {
    /// Where the device lives now, as far as is known: also while it is moving, disabled or failed.
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.status {
            Status::Assigned(assignment) => Some(assignment),
            Status::Assigning { from, .. } => from.as_ref(),
            Status::Failed { standing, .. } | Status::Disabled { standing } => standing.as_ref(),
        }
    }
}

/// Which enrollment a registration came through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EnrollmentRef {
    /// The individual enrollment of the same registration ID.
    Individual,
    /// An enrollment group.
    Group(EnrollmentGroupId),
}

/// The mechanism that a device proved itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AttestedBy {
    /// A symmetric key, its own or derived from its group's.
    SymmetricKey,
    /// A client certificate.
    X509,
    /// A TPM.
    Tpm,
}

/// A device with a TPM has no key that its hub could know, so it is handed one, which only its TPM can open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmHandover {
    /// The TPM that it is made for.
    pub identity: TpmIdentity,
    /// The keys that the hub knows. The device gets the primary one.
    pub hub_keys: SymmetricKeyPair,
}

/// Where a registration stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Decided and being carried out. The order is on disk before the first call to a hub.
    Assigning {
        /// What is to be done.
        order: Box<Order>,
        /// Where the device lived before.
        from: Option<Assignment>,
    },
    /// The hub has the device.
    Assigned(Assignment),
    /// The last run ended without an assignment.
    Failed {
        /// Why.
        failure: Failure,
        /// An earlier assignment that still stands.
        standing: Option<Assignment>,
    },
    /// The enrollment is disabled.
    Disabled {
        /// An earlier assignment that still stands.
        standing: Option<Assignment>,
    },
}

/// A device's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// How it got there.
    pub substatus: Substatus,
    /// The order that was carried out, to see later whether anything changed.
    pub order: OrderDigest,
}

/// How an assigned device got to its hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Substatus {
    /// Its first assignment, or none that changed anything since.
    InitialAssignment,
    /// It moved, and its twin with it.
    DeviceDataMigrated,
    /// It started again from the initial twin.
    DeviceDataReset,
    /// It came back to its first assignment.
    ReprovisionedToInitialAssignment,
}

/// Everything that a hub must be told, decided once: carrying it out needs no enrollment and may be repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// How the device will have got there.
    pub substatus: Substatus,
    /// What the device connects to its hub with.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
    /// What happens to its twin.
    pub twin: TwinOrder,
}

impl Order {
    /// The assignment that stands when this order has been carried out.
    pub fn assignment(&self) -> Assignment {
        Assignment {
            hub: self.hub.clone(),
            device_id: self.device_id.clone(),
            substatus: self.substatus,
            order: self.digest(),
        }
    }

    /// Equal for orders that leave a device with the same name, credentials and capabilities at the same hub.
    pub fn digest(&self) -> OrderDigest {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&bytes.len().to_le_bytes());
            context.update(bytes);
        };
        part(self.hub.as_str().as_bytes());
        part(self.device_id.as_str().as_bytes());
        part(&[u8::from(self.iot_edge)]);
        match &self.credentials {
            HubCredentials::SymmetricKeys(keys) => keys.iter().for_each(|key| part(key.as_bytes())),
            HubCredentials::Certificate(thumbprint) => part(thumbprint.as_str().as_bytes()),
        }
        OrderDigest(STANDARD_NO_PAD.encode(context.finish().as_ref().get(..16).unwrap_or_default()))
    }
}

/// Tells orders apart without repeating their secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderDigest(String);

/// What a device connects to its hub with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HubCredentials {
    /// Its own keys, or those derived from its group's.
    SymmetricKeys(SymmetricKeyPair),
    /// The leaf certificate that it registered with.
    Certificate(Sha256Thumbprint),
}

/// What happens to a device's twin at the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TwinOrder {
    /// It stays as it is.
    Keep {
        /// What it starts with after all if the hub has lost the device.
        if_lost: InitialTwin,
    },
    /// It starts with this, once.
    Seed(InitialTwin),
}

impl TwinOrder {
    /// What the twin of a device starts with that the hub does not have.
    pub fn start(&self) -> &InitialTwin {
        match self {
            TwinOrder::Keep { if_lost: start } | TwinOrder::Seed(start) => start,
        }
    }
}

/// Why a registration ended without an assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Six digits; the first three are an HTTP status.
    pub code: u32,
    /// One sentence for the device and its operator.
    pub message: String,
}
