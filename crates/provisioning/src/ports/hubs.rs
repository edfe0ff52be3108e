//! The `HubConnector` port: the calls of linked hubs that provisioning needs.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use model::{Carried, DeviceId, DeviceSpec, ExistingDevices, Generation, HubCredentials, LinkedHub};

use super::HubHealth;

/// Makes the connectors of linked hubs.
pub trait Hubs: Send + Sync {
    /// Returns the connector of a linked hub; `None` if there is none for this kind of hub. Connectors are made on demand and
    /// cached by the link's settings, so that a changed link counts from the next call on.
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>>;

    /// Evicts the connector of a hub that is not linked any more, or was with other settings. Its calls in progress end first.
    fn forget(&self, _hub: &LinkedHub) {}
}

/// Calls one kind of linked hub. Every call may be repeated: the outcome is that of one call.
#[async_trait]
pub trait HubConnector: Send + Sync {
    /// Creates the device, or refreshes its credentials and capabilities. A new device gets the initial twin of the spec; an
    /// existing one gets it only if the spec resets the twin. Unless the spec keeps the twin, the device has a new version
    /// afterwards, so that a delayed removal of the old version fails. A device that the registration did not create is left
    /// alone if the spec says so ([`HubError::Occupied`]).
    async fn ensure_device(&self, spec: &DeviceSpec) -> Result<Ensured, HubError>;

    /// Does the same for a device that comes from another hub, whose carried twin replaces any existing one. Reported properties
    /// are carried only if the hub lets services write them.
    async fn receive_device(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError>;

    /// Returns the device; `None` if the hub does not have it.
    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError>;

    /// Removes the device if it still has this version. A device that does not exist counts as removed.
    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError>;

    /// Measures how long a connection to the hub takes; zero if it is in this process.
    async fn reach(&self) -> Result<Duration, HubError> {
        Ok(Duration::ZERO)
    }

    /// Returns how many devices the hub has, also those of others; `None` if it does not report that.
    async fn device_count(&self) -> Result<Option<u64>, HubError> {
        Ok(None)
    }

    /// Returns the rights that the link's key lacks: all of them if the hub does not know the key. Changes nothing. Fails if the
    /// hub does not reply.
    async fn lacking(&self) -> Result<Vec<HubRight>, HubError> {
        Ok(Vec::new())
    }

    /// Returns the health of the hub, as its last replies show it.
    fn health(&self) -> HubHealth {
        HubHealth::default()
    }
}

/// The rights that the key of a link must have, by Azure's names.
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

/// The device at a hub after a spec was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Identifies the creation of the device; `None` if the hub has no generations.
    pub generation: Option<Generation>,
    /// Whether it existed with credentials that the registration had not given it.
    pub took_over: bool,
}

/// What a hub has under a device ID before a spec is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// No device, or one that the registration may have created.
    Own,
    /// A device that the registration did not create.
    Foreign,
}

impl Before {
    /// Judges a device by its credentials, before anything is written. Fails with [`HubError::Occupied`] if it is foreign and the
    /// spec leaves foreign devices alone.
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

    /// Returns the device after the spec was applied.
    pub fn then(self, generation: Option<Generation>) -> Ensured {
        Ensured { generation, took_over: self == Before::Foreign }
    }
}

/// A device as a hub has it.
#[derive(Debug, Clone, PartialEq)]
pub struct HubDevice {
    /// Changes with every write of its identity, and when the device is deleted and created again.
    pub version: HubVersion,
    /// Identifies the creation of the device; `None` if the hub has no generations.
    pub generation: Option<Generation>,
    /// Its credentials; `None` if they are of a kind that this service does not write.
    pub credentials: Option<HubCredentials>,
    /// The part of its twin that moves with it.
    pub carried: Carried,
}

/// The version of a device's identity, in the hub's own spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubVersion(pub String);

/// The outcome of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The hub does not have the device.
    Gone,
    /// The hub has it in another version.
    Changed,
}

/// Why a call of a hub failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The hub is down, slow or throttling: a later try may succeed.
    #[error("the hub is unavailable: {0}")]
    Unavailable(Delay),
    /// The hub has reached a quota: it accepts no more devices until an operator raises the quota, or a day is over.
    #[error("the hub is full: {0}")]
    Full(String),
    /// The hub has a device of this ID that the spec leaves alone.
    #[error("the hub is occupied: {0}")]
    Occupied(String),
    /// The hub rejects the request, and would again.
    #[error("the hub refuses: {0}")]
    Refused(String),
}

/// Why a call has to be repeated later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// The reason, for operators.
    pub reason: String,
    /// The time until the next try, if earlier tries are known to be useless. The reason was then logged once for all calls that
    /// it delays.
    pub retry_after: Option<Duration>,
}

impl<T: Into<String>> From<T> for Delay {
    /// Creates a delay of unknown length.
    fn from(reason: T) -> Delay {
        Delay { reason: reason.into(), retry_after: None }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
