//! Device specs: what hubs are given for a device, and the steps that lead there.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use certpath::Sha256Thumbprint;

use crate::{
    Assignment, DeviceId, ExistingDevices, HubDeviceRef, HubName, InitialTwin, Residue, Substatus,
    SymmetricKeyPair, WebhookRequest,
};

/// The next step of an assignment run, with everything that it takes: executing it needs no enrollment.
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
    /// Returns the device spec, once a hub is chosen.
    pub fn spec(&self) -> Option<&DeviceSpec> {
        match self {
            PendingStep::Allocate(_) => None,
            PendingStep::Ensure(spec) => Some(spec),
        }
    }
}

/// A request for a hub to a webhook, and the device that it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocationRequest {
    /// What the webhook is sent.
    pub request: WebhookRequest,
    /// What the device gets at any hub.
    #[serde(rename = "wish")]
    pub desired: DesiredDevice,
}

/// What a device gets, whichever hub is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesiredDevice {
    /// Its device ID at the hub.
    pub device_id: DeviceId,
    /// What it connects with.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
    /// The initial twin.
    pub initial_twin: InitialTwin,
    /// What happens when the device returns.
    pub reprovision: ReprovisionAction,
}

/// What happens to the hub and the data of a device that returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReprovisionAction {
    /// The device keeps its hub and its data.
    Stay,
    /// A hub is chosen anew, and the data move there.
    Migrate,
    /// A hub is chosen anew, and the device starts there with its initial twin.
    Reset,
}

/// Everything that one hub must be given for a device. Sending it needs no enrollment, and may be repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// The hub.
    pub hub: HubName,
    /// The device ID at the hub.
    pub device_id: DeviceId,
    /// How the device gets there, by Azure's terms.
    pub substatus: Substatus,
    /// What the device connects to its hub with.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
    /// What happens to its twin.
    pub twin: TwinSpec,
    /// Earlier specs for this device ID that may have reached the hub; any of them may be in effect.
    #[serde(default, rename = "told", skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<SpecDigest>,
    /// What happens to a device of this ID that no spec of the registration created. Set from the instance's setting when the
    /// spec is sent, and never stored.
    #[serde(skip)]
    pub existing: ExistingDevices,
}

impl DeviceSpec {
    /// How many earlier specs are remembered. Each is a change of keys or of a certificate while a hub was down.
    pub const MAX_SENT: usize = 32;

    /// Returns the hub and the device ID there.
    pub fn hub_device(&self) -> HubDeviceRef {
        HubDeviceRef { hub: self.hub.clone(), device_id: self.device_id.clone() }
    }

    /// Returns what must be removed from the hub if the run is abandoned. The hub has not named the generation of the
    /// device yet.
    pub fn residue(&self) -> Residue {
        let specs = self.sent.iter().cloned().chain([self.digest()]);
        Residue { hub_device: self.hub_device(), specs: specs.collect(), generation: None }
    }

    /// Whether a spec of the registration may have created the device of this ID at the hub. Credentials are `None` when they
    /// are of a kind that the service never writes.
    pub fn may_have_created(&self, credentials: Option<&HubCredentials>) -> bool {
        credentials.is_some_and(|credentials| self.residue().may_have(credentials))
    }

    /// Returns what the device gets at another hub.
    pub fn desired(&self) -> DesiredDevice {
        DesiredDevice {
            device_id: self.device_id.clone(),
            credentials: self.credentials.clone(),
            iot_edge: self.iot_edge,
            initial_twin: self.twin.initial().clone(),
            reprovision: match self.twin {
                TwinSpec::Keep { .. } => ReprovisionAction::Stay,
                TwinSpec::Migrate { .. } => ReprovisionAction::Migrate,
                TwinSpec::Initialize(_) => ReprovisionAction::Reset,
            },
        }
    }

    /// Returns the spec, remembering others that may have reached the hub before it.
    pub fn with_sent(mut self, specs: impl IntoIterator<Item = SpecDigest>) -> DeviceSpec {
        let own = self.digest();
        for spec in specs {
            if spec != own && !self.sent.contains(&spec) {
                self.sent.push(spec);
            }
        }
        self.sent.drain(..self.sent.len().saturating_sub(Self::MAX_SENT));
        self
    }

    /// Returns the assignment that is in effect once the hub has applied this spec, if the hub names no generation.
    pub fn assignment(&self) -> Assignment {
        Assignment {
            hub: self.hub.clone(),
            device_id: self.device_id.clone(),
            substatus: self.substatus,
            spec: self.digest(),
            sent: Vec::new(),
            generation: None,
        }
    }

    /// Returns a digest that is equal for specs which leave a device of the same ID, credentials and capabilities at the
    /// same hub.
    pub fn digest(&self) -> SpecDigest {
        SpecDigest::of(&self.hub_device(), self.iot_edge, &self.credentials)
    }
}

/// A digest of a device spec, which distinguishes specs without repeating their secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecDigest(String);

impl SpecDigest {
    /// Returns the digest of specs that leave a device with these credentials and capabilities at a hub.
    pub fn of(at: &HubDeviceRef, iot_edge: bool, credentials: &HubCredentials) -> SpecDigest {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&bytes.len().to_le_bytes());
            context.update(bytes);
        };
        part(at.hub.as_str().as_bytes());
        part(at.device_id.as_str().as_bytes());
        part(&[u8::from(iot_edge)]);
        match credentials {
            HubCredentials::SymmetricKeys(keys) => keys.iter().for_each(|key| part(key.as_bytes())),
            HubCredentials::Certificate(thumbprint) => part(thumbprint.as_str().as_bytes()),
        }
        SpecDigest(STANDARD_NO_PAD.encode(context.finish().as_ref().get(..16).unwrap_or_default()))
    }
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
        /// The initial twin, in case the hub has lost the device.
        #[serde(rename = "if_lost")]
        initial: InitialTwin,
    },
    /// It is replaced by the initial twin, once.
    #[serde(rename = "seed")]
    Initialize(InitialTwin),
    /// It is copied from the hub that the device was assigned to before.
    #[serde(rename = "carry")]
    Migrate {
        /// The initial twin, in case that hub does not have the device.
        #[serde(rename = "if_lost")]
        initial: InitialTwin,
    },
}

impl TwinSpec {
    /// Whether it stays as it is.
    pub fn is_kept(&self) -> bool {
        matches!(self, TwinSpec::Keep { .. })
    }

    /// Returns the initial twin of a device that the hub does not have yet.
    pub fn initial(&self) -> &InitialTwin {
        match self {
            TwinSpec::Keep { initial } | TwinSpec::Initialize(initial) | TwinSpec::Migrate { initial } => {
                initial
            }
        }
    }
}
