//! Configuration of the management API.

use anyhow::Context;
use model::{AccessPolicy, HostName, PolicyName, Rights};
use serde::Deserialize;
use service_api::Management;

use super::Secret;

/// The management API, by which instances are created, changed and deleted while the service runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManagementConfig {
    /// Its own host name, on the HTTPS listener. Its routes are also at the hosts of instances.
    pub host: Option<HostName>,
    /// The domain of the host names of new instances: `NAME.DOMAIN`.
    pub domain: Option<HostName>,
    /// The access policies, whose keys grant every right on all instances.
    #[serde(rename = "access_policy")]
    pub access_policies: Vec<ManagementPolicyConfig>,
}

/// An access policy of the management API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementPolicyConfig {
    /// The name of the policy, which the change log shows.
    pub name: PolicyName,
    /// The primary key.
    pub primary_key: Secret,
    /// The secondary key, for rotation.
    pub secondary_key: Secret,
}

impl ManagementConfig {
    /// Reads the keys.
    pub fn management(&self) -> anyhow::Result<Management> {
        let policy = |policy: &ManagementPolicyConfig| {
            let key = |secret: &Secret| {
                secret.key().with_context(|| format!("management.access_policy {}", policy.name))
            };
            Ok(AccessPolicy {
                name: policy.name.clone(),
                primary_key: key(&policy.primary_key)?,
                secondary_key: key(&policy.secondary_key)?,
                rights: Rights::ALL,
            })
        };
        Ok(Management {
            host: self.host.clone(),
            domain: self.domain.as_ref().map(HostName::to_string),
            policies: self.access_policies.iter().map(policy).collect::<anyhow::Result<_>>()?,
        })
    }
}
