//! Cleanups: devices that must be removed from hubs where they do not belong.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    DeviceId, Generation, HubCredentials, HubDeviceRef, HubName, IdError, Record, RegistrationId, SpecDigest,
    Tries,
};

/// A device that this service created at a hub, or may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// The hub and the device ID there.
    #[serde(rename = "place")]
    pub hub_device: HubDeviceRef,
    /// The device specs that may have reached the hub; any of them may be in effect.
    #[serde(rename = "orders")]
    pub specs: Vec<SpecDigest>,
    /// The generation of the device; `None` when the hub named none, or in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

impl Residue {
    /// Whether one of the specs gave the device these credentials. Capabilities do not count: an operator may have changed
    /// them.
    pub fn may_have(&self, credentials: &HubCredentials) -> bool {
        [true, false]
            .into_iter()
            .any(|iot_edge| self.specs.contains(&SpecDigest::of(&self.hub_device, iot_edge, credentials)))
    }
}

/// The removal of a residue, which is tried until it is done. A record of its own, because it outlives the registration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cleanup {
    /// The device to remove, unless another client has changed it since.
    #[serde(rename = "trace")]
    pub residue: Residue,
    /// The registration that left it.
    pub registration_id: RegistrationId,
    /// Why it must be removed.
    pub cause: CleanupCause,
    /// The tries so far.
    #[serde(default)]
    pub tries: Tries,
    /// Whether an operator confirmed that the device may be removed although its generation cannot be compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirmed: bool,
    /// Version and dates.
    pub record: Record,
}

/// Why a residue must be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CleanupCause {
    /// The device is assigned to another hub now.
    Moved,
    /// The device was being assigned to that hub, and another was chosen.
    Redirected,
    /// The assignment failed.
    Failed,
    /// An operator canceled the assignment.
    #[serde(rename = "cancelled")]
    Canceled,
    /// The registration was deleted while the device was being assigned.
    Deleted,
}

impl CleanupCause {
    /// Returns the name that operators see.
    pub fn name(self) -> &'static str {
        match self {
            CleanupCause::Moved => "moved",
            CleanupCause::Redirected => "redirected",
            CleanupCause::Failed => "failed",
            CleanupCause::Canceled => "cancelled",
            CleanupCause::Deleted => "deleted",
        }
    }
}

impl HubDeviceRef {
    /// Parses the key of records about it.
    pub fn parse(key: &str) -> Result<Self, IdError> {
        let (hub, device_id) = key.split_once('/').unwrap_or((key, ""));
        Ok(HubDeviceRef { hub: HubName::parse(hub)?, device_id: DeviceId::parse(device_id)? })
    }

    /// Returns the key of records about it. Device IDs keep their case, and hub names contain no slash.
    pub fn key(&self) -> Cow<'_, str> {
        format!("{}/{}", self.hub, self.device_id).into()
    }
}

#[cfg(test)]
mod tests {
    use certpath::Sha256Thumbprint;

    use crate::{DeviceId, HubName};

    use super::*;

    #[test]
    fn a_residue_may_have_the_credentials_of_each_spec() {
        let at = |hub: &str| HubDeviceRef {
            hub: HubName::parse(hub).unwrap(),
            device_id: DeviceId::parse("Dev-1").unwrap(),
        };
        let leaf = |text: &str| HubCredentials::Certificate(Sha256Thumbprint::of(text.as_bytes()));
        let specs = vec![
            SpecDigest::of(&at("a.hub"), false, &leaf("old")),
            SpecDigest::of(&at("a.hub"), true, &leaf("new")),
        ];
        let residue = Residue { hub_device: at("a.hub"), specs, generation: None };
        assert!(residue.may_have(&leaf("old")) && residue.may_have(&leaf("new")));
        assert!(!residue.may_have(&leaf("other")));
        assert!(!Residue { hub_device: at("b.hub"), ..residue }.may_have(&leaf("old")));
        assert_eq!(at("a.hub").key(), "a.hub/Dev-1");
    }
}
