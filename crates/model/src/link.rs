//! Linked hubs: where devices may be assigned to, and how the service calls them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AllocationWeight, Certificate, HubName, SymmetricKey};

/// A hub that an instance may assign devices to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedHub {
    /// Its host name, which devices connect to.
    pub name: HubName,
    /// How to reach it.
    #[serde(rename = "way")]
    pub endpoint: HubEndpoint,
    /// Its location, in the operator's words.
    pub location: String,
    /// Its share of devices, relative to the other hubs' weights.
    pub weight: AllocationWeight,
    /// Whether allocation policies may choose it for new devices.
    pub takes_new_devices: bool,
    /// How many devices it may have before failover passes it over; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_devices: Option<u64>,
}

/// How to reach a linked hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubEndpoint {
    /// The hub is embedded in this process.
    Embedded,
    /// The hub has a REST API.
    Access(HubAccess),
}

/// Address and key of a hub with the REST API of Azure IoT Hub: what a connection string says. Embedded hubs of this process
/// have that API, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubAccess {
    /// The port of its REST API.
    pub port: u16,
    /// The name of the shared access policy, which must grant RegistryRead, RegistryWrite and ServiceConnect.
    pub policy: String,
    /// The policy's key.
    pub key: SymmetricKey,
    /// The CA certificates that the hub must chain to; if empty, those that the system trusts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<Certificate>,
}

/// A link as an operator writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDraft {
    /// The hub's host name.
    pub name: HubName,
    /// How to reach the hub; absent keeps the stored access.
    pub access: Option<AccessDraft>,
    /// Its location.
    pub location: String,
    /// Its share of devices, relative to the other hubs' weights.
    pub weight: AllocationWeight,
    /// Whether allocation policies may choose it for new devices.
    pub takes_new_devices: bool,
    /// How many devices it may have before failover passes it over.
    pub max_devices: Option<u64>,
}

/// Address and key of a hub as an operator writes it. Operators never see keys, and may leave out a stored one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessDraft {
    /// The port of its REST API.
    pub port: u16,
    /// The name of the shared access policy.
    pub policy: String,
    /// The policy's key; absent keeps the stored one.
    pub key: Option<SymmetricKey>,
    /// The CA certificates that the hub must chain to; if empty, those that the system trusts.
    pub ca: Vec<Certificate>,
}

/// The hub settings of an instance when the configuration was last read. Operators change the same settings; those of the
/// configuration apply again when they have changed there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// The policy of enrollments that name none.
    pub allocation_policy: crate::AllocationPolicy,
    /// Whether hubs that are down or full are passed over for new devices.
    #[serde(default)]
    pub failover: bool,
    /// The links.
    pub linked_hubs: Vec<LinkedHub>,
    /// A digest of every other setting, by its stored name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

impl Configured {
    /// Returns the link to a hub, if it was configured.
    pub fn linked_hub(&self, name: &HubName) -> Option<&LinkedHub> {
        self.linked_hubs.iter().find(|hub| hub.name == *name)
    }
}

/// How hubs are chosen for enrollments that name no policy, as an operator writes it: absent members stay as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultsDraft {
    /// The allocation policy.
    pub allocation_policy: Option<crate::AllocationPolicy>,
    /// Whether hubs that are down or full are passed over for new devices.
    pub failover: Option<bool>,
}
