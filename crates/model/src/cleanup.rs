//! What is left to be removed from hubs: traces of devices that live elsewhere now, or were never to be there.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Generation, HubCredentials, HubDeviceRef, Record, RegistrationId, SpecDigest, Tries};

/// A device at a hub, as this service has put it there or may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// Where.
    pub place: HubDeviceRef,
    /// The orders that it may stand as.
    pub orders: Vec<SpecDigest>,
    /// Which device of that name it is; `None` when the hub did not say, or the record is of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

impl Residue {
    /// Whether a device with these credentials at that place is the one that this service has put there. Capabilities
    /// do not count: an operator may have changed them.
    pub fn may_be(&self, credentials: &HubCredentials) -> bool {
        let is_ordered = |edge| self.orders.contains(&SpecDigest::of(&self.place, edge, credentials));
        is_ordered(true) || is_ordered(false)
    }
}

/// A trace that is to be removed, however long that takes. A record of its own: it outlives the registration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cleanup {
    /// What is to be removed, unless somebody else has changed it since.
    pub trace: Residue,
    /// The device that left it.
    pub registration_id: RegistrationId,
    /// Why.
    pub cause: CleanupCause,
    /// How often it was tried, and when it will be again.
    #[serde(default)]
    pub tries: Tries,
    /// Whether an operator confirmed that the device may be removed although its generation cannot be compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirmed: bool,
    /// Version and dates.
    pub record: Record,
}

/// Why a trace is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CleanupCause {
    /// The device lives at another hub now.
    Moved,
    /// It was on its way there, and goes elsewhere: the hub is not linked any more.
    Redirected,
    /// The assignment failed.
    Failed,
    /// An operator called the assignment off.
    Cancelled,
    /// The registration was deleted while the device was on its way there.
    Deleted,
}

impl CleanupCause {
    /// The name that operators see.
    pub fn name(self) -> &'static str {
        match self {
            CleanupCause::Moved => "moved",
            CleanupCause::Redirected => "redirected",
            CleanupCause::Failed => "failed",
            CleanupCause::Cancelled => "cancelled",
            CleanupCause::Deleted => "deleted",
        }
    }
}

impl HubDeviceRef {
    /// What records about it are found by. Device IDs keep their case, and hub names hold no slash.
    pub fn key(&self) -> Cow<'_, str> {
        format!("{}/{}", self.hub, self.device_id).into()
    }
}

#[cfg(test)]
mod tests {
    use crate::{DeviceId, HubName, Sha256Thumbprint};

    use super::*;

    #[test]
    fn a_trace_knows_what_was_put_there() {
        let place = |hub: &str| HubDeviceRef {
            hub: HubName::parse(hub).unwrap(),
            device_id: DeviceId::parse("Dev-1").unwrap(),
        };
        let leaf = |text: &str| HubCredentials::Certificate(Sha256Thumbprint::of(text.as_bytes()));
        let orders = vec![
            SpecDigest::of(&place("a.hub"), false, &leaf("old")),
            SpecDigest::of(&place("a.hub"), true, &leaf("new")),
        ];
        let trace = Residue { place: place("a.hub"), orders, generation: None };
        assert!(trace.may_be(&leaf("old")) && trace.may_be(&leaf("new")));
        assert!(!trace.may_be(&leaf("other")));
        assert!(!Residue { place: place("b.hub"), ..trace }.may_be(&leaf("old")));
        assert_eq!(place("a.hub").key(), "a.hub/Dev-1");
    }
}
