//! Linked hubs: where devices may be assigned to, and the way there.

use serde::{Deserialize, Serialize};

use crate::{AllocationWeight, Certificate, HubName, SymmetricKey};

/// A hub that an instance may assign devices to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedHub {
    /// Its host name, which devices are told.
    pub name: HubName,
    /// The way to it.
    pub way: HubEndpoint,
    /// Where it stands, in the operator's words.
    pub location: String,
    /// Its share of devices, against the other hubs' weights.
    pub weight: AllocationWeight,
    /// Whether allocation policies may choose it for new devices.
    pub takes_new_devices: bool,
    /// How many devices it may have before failover passes it over; `None` for as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_devices: Option<u64>,
}

/// The way to a linked hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubEndpoint {
    /// The configuration runs it in this process.
    Embedded,
    /// By a key: what a connection string says.
    Access(HubAccess),
}

/// What opens a hub: any that has the REST API of Azure IoT Hub, and embedded hubs of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubAccess {
    /// The port of its REST API.
    pub port: u16,
    /// The shared access policy. It must allow to read and write the registry, and twins.
    pub policy: String,
    /// The policy's key.
    pub key: SymmetricKey,
    /// The CA certificates that the hub must chain to; those that the system trusts when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<Certificate>,
}

/// What an operator wants a link to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDraft {
    /// The hub's host name.
    pub name: HubName,
    /// The way to it; that of the link that is there when absent.
    pub access: Option<AccessDraft>,
    /// Where it stands.
    pub location: String,
    /// Its share of devices.
    pub weight: AllocationWeight,
    /// Whether allocation policies may choose it for new devices.
    pub takes_new_devices: bool,
    /// How many devices it may have before failover passes it over.
    pub max_devices: Option<u64>,
}

/// The way to a hub as an operator writes it. Operators are never shown keys, and may leave out one that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessDraft {
    /// The port of its REST API.
    pub port: u16,
    /// The shared access policy.
    pub policy: String,
    /// The policy's key; the stored one when absent.
    pub key: Option<SymmetricKey>,
    /// The CA certificates that the hub must chain to; the system's when there are none.
    pub ca: Vec<Certificate>,
}

/// What a configuration said of an instance's hubs when it was last read. Operators change the same things; a part of
/// the configuration has its word again when it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// How hubs are chosen where an enrollment does not say.
    pub allocation_policy: crate::AllocationPolicy,
    /// Whether hubs that are down or full are passed over for new devices.
    #[serde(default)]
    pub failover: bool,
    /// Its links.
    pub linked_hubs: Vec<LinkedHub>,
}

impl Configured {
    /// What it said of this hub.
    pub fn linked_hub(&self, name: &HubName) -> Option<&LinkedHub> {
        self.linked_hubs.iter().find(|hub| hub.name == *name)
    }
}

/// How hubs are chosen where an enrollment does not say, as an operator changes it: what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultsDraft {
    /// The policy.
    pub allocation_policy: Option<crate::AllocationPolicy>,
    /// Whether hubs that are down or full are passed over for new devices.
    pub failover: Option<bool>,
}
