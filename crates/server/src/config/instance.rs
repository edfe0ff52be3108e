//! Service instances.

use std::num::NonZeroU32;

use anyhow::Context;
use certpath::CrlMaxAge;
use model::{
    AccessPolicy, AllocationPolicy, Configured, ExistingDevices, HostName, IdScope, Instance, LinkedHub,
    PolicyName, RegistrationOwnership, Rights, SymmetricKey,
};
use serde::Deserialize;

use super::{EmbeddedHubConfig, LinkedHubConfig, Secret, distinct};

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
    /// Whether hubs that are down or full are passed over for new devices. Not in the hosted service.
    #[serde(default)]
    pub failover: bool,
    /// Whether a group's signing certificate must be verified, or chain to a CA certificate that is. On by default.
    #[serde(default = "required")]
    pub require_verified_ca: bool,
    /// Whether another enrollment group may take a device over: `movable` or `first-come`. Not in the hosted service.
    #[serde(default)]
    pub registrations: RegistrationOwnership,
    /// What happens to a device that is at a hub under the ID of a new one: `adopt` or `refuse`. Not in the hosted service.
    #[serde(default)]
    pub existing_devices: ExistingDevices,
    /// After how many days a revocation list that does not say when the next one is due is stale.
    #[serde(default, rename = "crl_max_age_days")]
    pub crl_max_age: CrlMaxAge,
    /// How many registrations are carried out in a minute; as many as come when absent. Not in the hosted service.
    pub max_registrations_per_minute: Option<NonZeroU32>,
    /// The key that signs what webhooks are asked, base64 of 16 to 64 bytes; one of the instance's own when absent.
    pub webhook_key: Option<Secret>,
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

/// As at the hosted service.
fn required() -> bool {
    true
}

impl InstanceConfig {
    /// What no single value shows: names that must differ, and hubs that must exist.
    pub(super) fn consistent(&self, hubs: &[EmbeddedHubConfig]) -> anyhow::Result<()> {
        if service_api::is_service_path(&format!("/{}", self.id_scope)) {
            anyhow::bail!("id_scope {} is a word of the service operations endpoint", self.id_scope);
        }
        if self.service_hosts.is_empty() {
            anyhow::bail!("service_hosts is empty: nobody could reach its service operations endpoint");
        }
        distinct(
            "name of [[instance.access_policy]]",
            self.access_policies.iter().map(|it| it.name.to_string()),
        )?;
        let links = || self.linked_hubs.iter().filter_map(LinkedHubConfig::embedded_hub);
        distinct("embedded_hub of [[instance.linked_hub]]", links().map(str::to_owned))?;
        match links().find(|link| !hubs.iter().any(|hub| hub.name == *link)) {
            Some(link) => anyhow::bail!("it links the hub {link:?}, but no [[embedded_hub]] has this name"),
            None => Ok(()),
        }
    }

    /// The instance, with its secrets and files read. `hubs` are those of this process.
    pub fn instance(
        &self,
        operation_key: SymmetricKey,
        hubs: &[EmbeddedHubConfig],
    ) -> anyhow::Result<Instance> {
        if self.allocation_policy == AllocationPolicy::Custom {
            anyhow::bail!("instance {:?}: the custom allocation policy is for enrollments only", self.name);
        }
        let policies = self.access_policies.iter().map(AccessPolicyConfig::policy);
        let link = |link: &LinkedHubConfig| {
            link.link(hubs).with_context(|| format!("instance {:?}, linked hub", self.name))
        };
        let linked_hubs: Vec<LinkedHub> = self.linked_hubs.iter().map(link).collect::<anyhow::Result<_>>()?;
        let names = linked_hubs.iter().map(|hub| hub.name.to_string());
        distinct("hubs of [[instance.linked_hub]]", names)
            .with_context(|| format!("instance {:?}", self.name))?;
        Ok(Instance {
            id_scope: self.id_scope.clone(),
            name: self.name.clone(),
            service_hosts: self.service_hosts.clone(),
            allocation_policy: self.allocation_policy,
            access_policies: policies.collect::<anyhow::Result<_>>()?,
            linked_hubs: linked_hubs.clone(),
            configured: Configured {
                allocation_policy: self.allocation_policy,
                failover: self.failover,
                linked_hubs,
            },
            failover: self.failover,
            require_verified_ca: self.require_verified_ca,
            registrations: self.registrations,
            existing_devices: self.existing_devices,
            crl_max_age: self.crl_max_age,
            max_registrations_per_minute: self.max_registrations_per_minute,
            cleanups_held: None,
            webhook_key: self.webhook_key()?,
            operation_key,
        })
    }
}

impl InstanceConfig {
    fn webhook_key(&self) -> anyhow::Result<Option<SymmetricKey>> {
        let key = self.webhook_key.as_ref().map(Secret::key).transpose();
        key.with_context(|| format!("instance {:?}, webhook_key", self.name))
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
