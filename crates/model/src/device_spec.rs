//! Orders: what hubs are told about devices, and what is asked and wished before.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    Assignment, DeviceId, ExistingDevices, HubDeviceRef, HubName, InitialTwin, Residue, Sha256Thumbprint,
    Substatus, SymmetricKeyPair, WebhookRequest,
};

/// What is to be done for a device that is being assigned: everything that it takes, so that no enrollment is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PendingStep {
    /// Ask a webhook for a hub.
    #[serde(rename = "ask")]
    Allocate(Box<AllocationRequest>),
    /// Create or update the device at its hub.
    #[serde(rename = "order")]
    Ensure(Box<DeviceSpec>),
}

impl PendingStep {
    /// The order, once a hub is chosen.
    pub fn order(&self) -> Option<&DeviceSpec> {
        match self {
            PendingStep::Allocate(_) => None,
            PendingStep::Ensure(order) => Some(order),
        }
    }
}

/// What a webhook is asked, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocationRequest {
    /// The question.
    pub request: WebhookRequest,
    /// What the device will get wherever it goes.
    pub wish: DesiredDevice,
}

/// What a device is to get, wherever that will be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesiredDevice {
    /// Its name at the hub.
    pub device_id: DeviceId,
    /// What it connects with.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
    /// What its twin starts with.
    pub initial_twin: InitialTwin,
    /// What happens when it comes back.
    pub reprovision: Reprovision,
}

/// What happens to a device that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reprovision {
    /// It stays where it is.
    Stay,
    /// Its hub is chosen anew, and its data go with it.
    Migrate,
    /// Its hub is chosen anew, and it starts again.
    Reset,
}

/// Everything that a hub must be told, decided once: carrying it out needs no enrollment and may be repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceSpec {
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
    pub twin: TwinSpec,
    /// Earlier orders about this place that the hub may have been told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<SpecDigest>,
    /// What happens to a device at this place that no order of the registration made. Set when the order is sent to the hub,
    /// from the instance's setting at that time, and never stored.
    #[serde(skip)]
    pub existing: ExistingDevices,
}

impl DeviceSpec {
    /// How many earlier orders are remembered. Each is a change of keys or of a certificate while a hub was down.
    pub const MAX_TOLD: usize = 32;

    /// Where the device will be.
    pub fn place(&self) -> HubDeviceRef {
        HubDeviceRef { hub: self.hub.clone(), device_id: self.device_id.clone() }
    }

    /// What must be removed from the hub if the order is given up. The hub never named the device that it made of it.
    pub fn trace(&self) -> Residue {
        let orders = self.told.iter().cloned().chain([self.digest()]);
        Residue { place: self.place(), orders: orders.collect(), generation: None }
    }

    /// Whether a device at this place is one that an order of the registration may have made. Credentials are `None` when
    /// they are nothing that the service writes.
    pub fn may_have_made(&self, credentials: Option<&HubCredentials>) -> bool {
        credentials.is_some_and(|credentials| self.trace().may_be(credentials))
    }

    /// What the device is to get, for another hub to be told.
    pub fn wish(&self) -> DesiredDevice {
        DesiredDevice {
            device_id: self.device_id.clone(),
            credentials: self.credentials.clone(),
            iot_edge: self.iot_edge,
            initial_twin: self.twin.start().clone(),
            reprovision: match self.twin {
                TwinSpec::Keep { .. } => Reprovision::Stay,
                TwinSpec::Carry { .. } => Reprovision::Migrate,
                TwinSpec::Seed(_) => Reprovision::Reset,
            },
        }
    }

    /// The order, in the place of others about the same place.
    pub fn after(mut self, orders: impl IntoIterator<Item = SpecDigest>) -> DeviceSpec {
        let own = self.digest();
        for order in orders {
            if order != own && !self.told.contains(&order) {
                self.told.push(order);
            }
        }
        self.told.drain(..self.told.len().saturating_sub(Self::MAX_TOLD));
        self
    }

    /// The assignment that stands when this order has been carried out, by a hub that names no generation.
    pub fn assignment(&self) -> Assignment {
        Assignment {
            hub: self.hub.clone(),
            device_id: self.device_id.clone(),
            substatus: self.substatus,
            order: self.digest(),
            told: Vec::new(),
            generation: None,
        }
    }

    /// Equal for orders that leave a device with the same name, credentials and capabilities at the same hub.
    pub fn digest(&self) -> SpecDigest {
        digest_of((&self.hub, &self.device_id), self.iot_edge, &self.credentials)
    }
}

/// Tells orders apart without repeating their secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecDigest(String);

impl SpecDigest {
    /// Of an order that leaves a device with these credentials and capabilities at a place.
    pub fn of(place: &HubDeviceRef, iot_edge: bool, credentials: &HubCredentials) -> SpecDigest {
        digest_of((&place.hub, &place.device_id), iot_edge, credentials)
    }
}

fn digest_of(
    (hub, device_id): (&HubName, &DeviceId),
    iot_edge: bool,
    credentials: &HubCredentials,
) -> SpecDigest {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&bytes.len().to_le_bytes());
        context.update(bytes);
    };
    part(hub.as_str().as_bytes());
    part(device_id.as_str().as_bytes());
    part(&[u8::from(iot_edge)]);
    match credentials {
        HubCredentials::SymmetricKeys(keys) => keys.iter().for_each(|key| part(key.as_bytes())),
        HubCredentials::Certificate(thumbprint) => part(thumbprint.as_str().as_bytes()),
    }
    SpecDigest(STANDARD_NO_PAD.encode(context.finish().as_ref().get(..16).unwrap_or_default()))
}

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
pub enum TwinSpec {
    /// It stays as it is.
    Keep {
        /// What it starts with after all if the hub has lost the device.
        if_lost: InitialTwin,
    },
    /// It starts with this, once.
    Seed(InitialTwin),
    /// It comes along from the hub where the device lived before.
    Carry {
        /// What it starts with if there is nothing to carry.
        if_lost: InitialTwin,
    },
}

impl TwinSpec {
    /// Whether it stays as it is.
    pub fn keeps(&self) -> bool {
        matches!(self, TwinSpec::Keep { .. })
    }

    /// What the twin of a device starts with that the hub does not have.
    pub fn start(&self) -> &InitialTwin {
        match self {
            TwinSpec::Keep { if_lost: start }
            | TwinSpec::Seed(start)
            | TwinSpec::Carry { if_lost: start } => start,
        }
    }
}
