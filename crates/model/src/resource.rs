//! An instance as a resource of Azure's Resource Manager, and its deletion.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use certpath::CrlMaxAge;

use crate::{
    AllocationPolicy, ExistingDevices, HostName, Instance, IpFilter, KeepDays, LatencyTable, LinkDraft,
    PolicyName, PublicNetworkAccess, Quotas, RegistrationOwnership, Rights, SymmetricKey, Timestamp,
};

/// The longest name of a subscription or resource group, in characters.
const MAX_LABEL: usize = 90;

/// The facts of an instance that it has as a resource. They have no effect on devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceFacts {
    /// The subscription, as clients of the Resource Manager name it.
    pub subscription: String,
    /// The resource group.
    pub resource_group: String,
    /// The region, in the operator's words.
    pub location: String,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// The number of units, which has no effect.
    pub capacity: u32,
}

impl Default for ResourceFacts {
    fn default() -> Self {
        ResourceFacts {
            subscription: "00000000-0000-0000-0000-000000000000".to_owned(),
            resource_group: "default".to_owned(),
            location: "local".to_owned(),
            tags: BTreeMap::new(),
            capacity: 1,
        }
    }
}

impl ResourceFacts {
    pub(crate) fn is_default(&self) -> bool {
        *self == ResourceFacts::default()
    }
}

/// What addresses a resource: subscription, resource group and name, compared without case.
#[derive(Clone, Debug)]
pub struct ResourceKey {
    /// The subscription.
    pub subscription: String,
    /// The resource group.
    pub resource_group: String,
    /// The name; see [`Instance::resource_name`].
    pub name: String,
}

/// The name of a subscription or resource group cannot be given to a new resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a {0} has 1 to {MAX_LABEL} letters, digits, underscores, hyphens, periods and parentheses, and no period at the end"
)]
pub struct LabelError(&'static str);

impl ResourceKey {
    /// Fails unless subscription and resource group can be those of a new resource (Azure's rules for resource groups).
    pub fn check_labels(&self) -> Result<(), LabelError> {
        let is_valid = |label: &str| {
            (1..=MAX_LABEL).contains(&label.chars().count())
                && label.chars().all(|c| c.is_alphanumeric() || "_-.()".contains(c))
                && !label.ends_with('.')
        };
        for (label, what) in [(&self.subscription, "subscription"), (&self.resource_group, "resource group")]
        {
            if !is_valid(label) {
                return Err(LabelError(what));
            }
        }
        Ok(())
    }

    /// Whether this addresses the instance.
    pub fn is_of(&self, instance: &Instance) -> bool {
        let facts = &instance.resource;
        self.subscription.eq_ignore_ascii_case(&facts.subscription)
            && self.resource_group.eq_ignore_ascii_case(&facts.resource_group)
            && self.name.eq_ignore_ascii_case(instance.resource_name())
    }
}

/// Who may change an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagedBy {
    /// The configuration file only, and it is served only while the file names it. Instances that were stored before there
    /// was another way are so, too, until a start finds them in the file.
    #[default]
    File,
    /// Operators, and the file if it names the instance: of each setting the most recent change counts.
    Operators,
}

impl ManagedBy {
    pub(crate) fn is_file(&self) -> bool {
        *self == ManagedBy::File
    }
}

/// The deletion of an instance. What is left of the instance in the end is a record that keeps its ID scope from being used
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// When it began. From then on the instance is not served.
    pub requested: Timestamp,
    /// When everything that belonged to the instance was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Whether it was verified later that no request that began before the deletion left a record.
    #[serde(default)]
    pub is_verified: bool,
}

/// An instance as an operator writes it. What is absent keeps its value, or takes the default for a new instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceDraft {
    /// The region.
    pub location: Option<String>,
    /// The tags, all of them.
    pub tags: Option<BTreeMap<String, String>>,
    /// The number of units.
    pub capacity: Option<u32>,
    /// The policy of enrollments that name none.
    pub allocation_policy: Option<AllocationPolicy>,
    /// The linked hubs, all of them.
    pub linked_hubs: Option<Vec<LinkDraft>>,
    /// The access policies, all of them.
    pub access_policies: Option<Vec<PolicyDraft>>,
    /// The host names of the service operations endpoint, all of them.
    pub service_hosts: Option<Vec<HostName>>,
    /// Whether hubs that are down or full are passed over for new devices.
    pub failover: Option<bool>,
    /// Whether a group's signing certificate must lead to a verified CA certificate.
    pub require_verified_ca: Option<bool>,
    /// Whether another enrollment group may take over a device.
    pub registrations: Option<RegistrationOwnership>,
    /// What happens to a device at a hub that has the device ID of a new one.
    pub existing_devices: Option<ExistingDevices>,
    /// How many runs are executed per minute; zero for the number of its quotas.
    pub max_registrations_per_minute: Option<u32>,
    /// Its quotas and throttles, all of them.
    pub quotas: Option<Quotas>,
    /// Whether public addresses may call its endpoints.
    pub public_network_access: Option<PublicNetworkAccess>,
    /// The rules of its IP filter, all of them.
    pub ip_filter: Option<IpFilter>,
    /// When a revocation list without `nextUpdate` becomes stale.
    pub crl_max_age: Option<CrlMaxAge>,
    /// The key that signs requests to webhooks.
    pub webhook_key: Option<WebhookKeyDraft>,
    /// Latencies to its hubs, all rows.
    pub latency_table: Option<LatencyTable>,
    /// How long refused attempts are kept; the inner `None` for as long as the service keeps those of other instances.
    pub keep_attempts: Option<Option<KeepDays>>,
}

/// The key that signs requests to webhooks, as an operator writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookKeyDraft {
    /// This key.
    Given(SymmetricKey),
    /// The key that the service derives for the instance.
    Derived,
}

/// An access policy as an operator writes it. An absent key keeps its value, or is generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDraft {
    /// The name.
    pub name: PolicyName,
    /// The first key.
    pub primary_key: Option<SymmetricKey>,
    /// The other key.
    pub secondary_key: Option<SymmetricKey>,
    /// The rights; absent keeps the stored ones.
    pub rights: Option<Rights>,
}
