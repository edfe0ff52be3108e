//! Service instances.

use anyhow::Context;
use model::{
    AccessPolicy, AllocationPolicy, AllocationWeight, HostName, HubName, IdScope, Instance, LinkedHub,
    PolicyName, Rights, SymmetricKey,
};
use serde::Deserialize;

use super::Secret;

/// One service instance.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceConfig {
    /// What people call it.
    pub name: String,
    /// What devices select it by. Never change it.
    pub id_scope: IdScope,
    /// Under which host names administrators reach its service operations endpoint.
    pub service_hosts: Vec<HostName>,
    /// How hubs are chosen where an enrollment does not say: `hashed`, `geoLatency` or `static`.
    #[serde(default)]
    pub allocation_policy: AllocationPolicy,
    /// Who may use the service operations endpoint.
    #[serde(default, rename = "access_policy")]
    pub access_policies: Vec<AccessPolicyConfig>,
    /// Which hubs devices may be assigned to.
    #[serde(default, rename = "linked_hub")]
    pub linked_hubs: Vec<LinkedHubConfig>,
}

/// A shared access policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPolicyConfig {
    /// Its name.
    pub name: PolicyName,
    /// One key.
    pub primary_key: Secret,
    /// Another, so that one can be rolled.
    pub secondary_key: Secret,
    /// For example `EnrollmentRead, RegistrationStatusRead`.
    pub rights: Rights,
}

/// A link to a hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkedHubConfig {
    /// The name of an embedded hub.
    pub embedded_hub: String,
    /// Where it stands, in your words.
    #[serde(default)]
    pub location: String,
    /// Its share of devices against the other hubs' weights.
    #[serde(default)]
    pub weight: AllocationWeight,
    /// Whether allocation policies may choose it for new devices.
    #[serde(default = "yes")]
    pub apply_allocation_policy: bool,
}

fn yes() -> bool {
    true
}

impl InstanceConfig {
    /// The instance; `host_of` knows the host names of embedded hubs.
    pub fn instance(
        &self,
        operation_key: SymmetricKey,
        host_of: impl Fn(&str) -> Option<HubName>,
    ) -> anyhow::Result<Instance> {
        if self.allocation_policy == AllocationPolicy::Custom {
            anyhow::bail!("instance {:?}: the custom allocation policy is for enrollments only", self.name);
        }
        let policies = self.access_policies.iter().map(AccessPolicyConfig::policy);
        let hubs = self.linked_hubs.iter().map(|link| link.hub(&host_of));
        Ok(Instance {
            id_scope: self.id_scope.clone(),
            name: self.name.clone(),
            service_hosts: self.service_hosts.clone(),
            allocation_policy: self.allocation_policy,
            access_policies: policies.collect::<anyhow::Result<_>>()?,
            linked_hubs: hubs.collect::<anyhow::Result<_>>()?,
            operation_key,
        })
    }
}

impl AccessPolicyConfig {
    fn policy(&self) -> anyhow::Result<AccessPolicy> {
        let key = |secret: &Secret| secret.key().with_context(|| format!("access policy {}", self.name));
        Ok(AccessPolicy {
            name: self.name.clone(),
            primary_key: key(&self.primary_key)?,
            secondary_key: key(&self.secondary_key)?,
            rights: self.rights,
        })
    }
}

impl LinkedHubConfig {
    fn hub(&self, host_of: impl Fn(&str) -> Option<HubName>) -> anyhow::Result<LinkedHub> {
        Ok(LinkedHub {
            name: host_of(&self.embedded_hub)
                .with_context(|| format!("no embedded hub {:?}", self.embedded_hub))?,
            location: self.location.clone(),
            weight: self.weight,
            takes_new_devices: self.apply_allocation_policy,
        })
    }
}
