//! Configuration of service instances.

use std::num::NonZeroU32;

use anyhow::Context;
use certpath::CrlMaxAge;
use model::{
    AccessPolicy, AllocationPolicy, Configured, ExistingDevices, HostName, IdScope, Instance, IpFilter,
    KeepDays, LinkedHub, ManagedBy, PolicyName, PublicNetworkAccess, Quotas, RegistrationOwnership,
    ResourceFacts, Rights, SymmetricKey, resource_name,
};
use serde::Deserialize;

use crate::{configured::with_digests, web::is_reserved};

use super::{
    EmbeddedHubConfig, LinkedHubConfig, Secret,
    check::distinct,
    latency::{self, NetworkRow, RegionRow},
};

/// One service instance.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceConfig {
    /// The name, for people.
    pub name: String,
    /// The ID scope, by which devices select the instance. Never change it.
    pub id_scope: IdScope,
    /// The host names of its service operations endpoint.
    pub service_hosts: Vec<HostName>,
    /// The default allocation policy: `hashed`, `geoLatency` or `static`.
    #[serde(default)]
    pub allocation_policy: AllocationPolicy,
    /// Whether new devices avoid hubs that are down or full. An extension of Azure's behavior.
    #[serde(default)]
    pub failover: bool,
    /// Whether a group's signing certificate must be a verified CA certificate, or chain to one. On by default.
    #[serde(default = "required")]
    pub require_verified_ca: bool,
    /// Whether another enrollment group may take over a device: `movable` or `first-come`. An extension.
    #[serde(default)]
    pub registrations: RegistrationOwnership,
    /// What happens to a device that exists at a hub with the ID of a new one: `adopt` or `refuse`. An extension.
    #[serde(default)]
    pub existing_devices: ExistingDevices,
    /// The age in days at which a revocation list without nextUpdate becomes stale.
    #[serde(default, rename = "crl_max_age_days")]
    pub crl_max_age: CrlMaxAge,
    /// The number of registrations per minute; unlimited when absent. An extension.
    pub max_registrations_per_minute: Option<NonZeroU32>,
    /// The quotas and throttles. An extension: Azure's cannot be set.
    #[serde(default)]
    pub quotas: Quotas,
    /// Whether public addresses may call the endpoints: `enabled` or `disabled`.
    #[serde(default)]
    pub public_network_access: PublicNetworkAccess,
    /// The IP filter: which addresses may call the endpoints.
    #[serde(default, rename = "ip_filter_rule")]
    pub ip_filter: IpFilter,
    /// The age in days at which refused attempts are deleted: 1 to 3650; that of `[attempts]` when absent.
    #[serde(rename = "keep_attempts_days")]
    pub keep_attempts: Option<KeepDays>,
    /// Latencies from networks to the hubs of the instance, which precede those of `[latency]`.
    #[serde(default, rename = "latency_network")]
    pub latency_networks: Vec<NetworkRow>,
    /// Latencies from regions.
    #[serde(default, rename = "latency_region")]
    pub latency_regions: Vec<RegionRow>,
    /// The key that signs requests to webhooks, base64 of 16 to 64 bytes; derived for the instance when absent.
    pub webhook_key: Option<Secret>,
    /// The subscription that clients of the Resource Manager API name.
    pub subscription: Option<String>,
    /// The resource group.
    pub resource_group: Option<String>,
    /// The region.
    pub location: Option<String>,
    /// Who may change the instance: `operators`, and this file; or `file`, this file alone.
    #[serde(default = "operators")]
    pub managed: ManagedBy,
    /// The access policies of the service operations endpoint.
    #[serde(default, rename = "access_policy")]
    pub access_policies: Vec<AccessPolicyConfig>,
    /// The hubs that devices may be assigned to.
    #[serde(default, rename = "linked_hub")]
    pub linked_hubs: Vec<LinkedHubConfig>,
}

/// A shared access policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPolicyConfig {
    /// The name of the policy.
    pub name: PolicyName,
    /// The primary key.
    pub primary_key: Secret,
    /// The secondary key, for rotation.
    pub secondary_key: Secret,
    /// The rights, such as `EnrollmentRead, RegistrationStatusRead`.
    pub rights: Rights,
}

/// The default of `require_verified_ca`, as in Azure.
fn required() -> bool {
    true
}

fn operators() -> ManagedBy {
    ManagedBy::Operators
}

impl InstanceConfig {
    /// Returns the instance if its values agree: names that must be unique are, and the hubs that it links exist.
    pub(super) fn checked(self, hubs: &[EmbeddedHubConfig]) -> anyhow::Result<Self> {
        if is_reserved(self.id_scope.as_str()) {
            anyhow::bail!(
                "id_scope {} is reserved for paths of other endpoints; choose another",
                self.id_scope
            );
        }
        if self.service_hosts.is_empty() {
            anyhow::bail!(
                "service_hosts is empty: name at least one host of the service operations endpoint"
            );
        }
        distinct(
            "name of [[instance.access_policy]]",
            self.access_policies.iter().map(|it| it.name.to_string()),
        )?;
        let links = || self.linked_hubs.iter().filter_map(LinkedHubConfig::embedded_hub);
        distinct("embedded_hub of [[instance.linked_hub]]", links().map(str::to_owned))?;
        if let Some(link) = links().find(|link| !hubs.iter().any(|hub| hub.name == *link)) {
            anyhow::bail!("linked hub {link:?}: no [[embedded_hub]] has this name");
        }
        Ok(self)
    }

    /// Makes the instance, and reads its secrets and files. `hubs` are the embedded hubs.
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
        with_digests(Instance {
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
                settings: Default::default(),
            },
            failover: self.failover,
            require_verified_ca: self.require_verified_ca,
            registrations: self.registrations,
            existing_devices: self.existing_devices,
            crl_max_age: self.crl_max_age,
            max_registrations_per_minute: self.max_registrations_per_minute,
            quotas: self.quotas.clone(),
            public_network_access: self.public_network_access,
            ip_filter: self.ip_filter.clone(),
            latency_table: latency::table(&self.latency_networks, &self.latency_regions)
                .with_context(|| format!("instance {:?}, latencies", self.name))?,
            keep_attempts: self.keep_attempts,
            resource: self.resource(),
            managed: self.managed,
            deletion: None,
            cleanups_held: None,
            webhook_key: self.webhook_key()?,
            operation_key,
        })
    }
}

impl InstanceConfig {
    /// Returns what the management API addresses it by.
    pub(super) fn resource_id(&self) -> String {
        let facts = self.resource();
        let name = resource_name(&self.name, &self.id_scope);
        format!("{}/{}/{name}", facts.subscription, facts.resource_group)
    }

    fn resource(&self) -> ResourceFacts {
        let facts = ResourceFacts::default();
        ResourceFacts {
            subscription: self.subscription.clone().unwrap_or(facts.subscription),
            resource_group: self.resource_group.clone().unwrap_or(facts.resource_group),
            location: self.location.clone().unwrap_or(facts.location),
            ..ResourceFacts::default()
        }
    }

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
