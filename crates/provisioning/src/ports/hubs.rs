//! What provisioning needs of linked hubs.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use model::{Carried, DeviceId, DeviceSpec, ExistingDevices, Generation, HubCredentials, LinkedHub};

use super::HubHealth;

/// The hubs that can be reached.
pub trait Hubs: Send + Sync {
    /// The way to a linked hub, or `None` when nothing here leads to it. Ways are made as they are asked for and kept, so
    /// that a link that was made or changed a moment ago counts from the next call on.
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>>;

    /// Lets go of the way to a hub that is linked no more, or in another way. Calls that are under way end first.
    fn forget(&self, _hub: &LinkedHub) {}
}

/// The way to one kind of linked hub. Every call may be repeated: the outcome is that of one call.
#[async_trait]
pub trait HubConnector: Send + Sync {
    /// Creates the device, or refreshes its credentials and capabilities. A new device's twin starts with what the
    /// order says, that of one that was there only if the order is to seed it. When it returns, the hub has the device
    /// and keeps it. Unless the order is to keep the twin, the device has another version afterwards, so that a removal
    /// that was on its way does not find what it looks for. A device that no order of the registration made stays as it is
    /// if the order says so.
    async fn ensure_device(&self, spec: &DeviceSpec) -> Result<Ensured, HubError>;

    /// The same for a device that comes from another hub: its twin holds what was carried, whatever was there before.
    /// Reported properties only if the hub lets anybody but the device write them.
    async fn receive_device(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError>;

    /// The device, if the hub has it.
    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError>;

    /// Removes the device if it has this version still. A device that is not there is removed.
    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError>;

    /// How long it takes to connect to the hub, now; nothing when it is in this process.
    async fn reach(&self) -> Result<Duration, HubError> {
        Ok(Duration::ZERO)
    }

    /// How many devices the hub has, whoever created them; `None` when it does not say.
    async fn device_count(&self) -> Result<Option<u64>, HubError> {
        Ok(None)
    }

    /// Which rights the link's key lacks, found out without changing anything; all of them when it is not the policy's
    /// key. An error when the hub cannot be asked.
    async fn lacking(&self) -> Result<Vec<HubRight>, HubError> {
        Ok(Vec::new())
    }

    /// How the hub has answered lately.
    fn health(&self) -> HubHealth {
        HubHealth::default()
    }
}

/// What the key of a link must allow, by Azure's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubRight {
    /// To read device identities.
    RegistryRead,
    /// To write device identities.
    RegistryWrite,
    /// To read and write twins.
    ServiceConnect,
}

impl fmt::Display for HubRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a hub has after an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Which creation of a device of this name it is; `None` when the hub names none.
    pub generation: Option<Generation>,
    /// Whether it was there with credentials that no order of the registration gave it.
    pub took_over: bool,
}

/// What an order finds at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// No device, or one that an order of the registration may have made.
    Own,
    /// A device that no order of the registration made.
    Foreign,
}

impl Before {
    /// Judges a device by its credentials, before anything is written; refused if it is foreign and the order is to leave
    /// such a device alone.
    pub fn judge(spec: &DeviceSpec, credentials: Option<&HubCredentials>) -> Result<Before, HubError> {
        if spec.may_have_created(credentials) {
            return Ok(Before::Own);
        }
        match spec.existing {
            ExistingDevices::Adopt => Ok(Before::Foreign),
            ExistingDevices::Refuse => {
                let DeviceSpec { hub, device_id, .. } = spec;
                let reason = format!("{hub} has a device {device_id} that this registration did not make");
                Err(HubError::Occupied(reason))
            }
        }
    }

    /// What the hub has when the order is carried out.
    pub fn then(self, generation: Option<Generation>) -> Ensured {
        Ensured { generation, took_over: self == Before::Foreign }
    }
}

/// A device as a hub has it.
#[derive(Debug, Clone, PartialEq)]
pub struct HubDevice {
    /// Changes with every write of its identity, and is another one for a device that was created anew.
    pub version: HubVersion,
    /// Which creation of a device of this name it is; `None` when the hub does not say.
    pub generation: Option<Generation>,
    /// What it connects with; `None` when that is nothing that this service writes.
    pub credentials: Option<HubCredentials>,
    /// What it takes along when it moves.
    pub carried: Carried,
}

/// The version of a device's identity, in the hub's own spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubVersion(pub String);

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The hub does not have the device.
    Gone,
    /// It has it, in another version.
    Changed,
}

/// Why a hub did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The hub is down, slow or throttling: trying again later helps.
    #[error("the hub is unavailable: {0}")]
    Unavailable(Delay),
    /// The hub works, but has no room: it takes no more devices until somebody gives it some, or a day is over.
    #[error("the hub is full: {0}")]
    Full(String),
    /// The hub has a device of this ID that the order is to leave alone.
    #[error("the hub is occupied: {0}")]
    Occupied(String),
    /// The hub says no, and will again.
    #[error("the hub refuses: {0}")]
    Refused(String),
}

/// What holds something up, for operators, and how long that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// Why.
    pub reason: String,
    /// When to try again. Given when it is known that it is no use before; operators have been told then, once for
    /// everything that it holds up.
    pub retry_after: Option<Duration>,
}

impl<T: Into<String>> From<T> for Delay {
    /// Nobody knows how long it lasts.
    fn from(reason: T) -> Delay {
        Delay { reason: reason.into(), retry_after: None }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
