//! Service instances: one tenant each, selected by the ID scope.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use certpath::CrlMaxAge;

use crate::{
    AllocationPolicy, CleanupHold, Configured, Deletion, HostName, HubName, IdScope, IpFilter, KeepDays,
    LatencyTable, LinkedHub, ManagedBy, PolicyName, PublicNetworkAccess, Quotas, ResourceFacts, ResourceName,
    SymmetricKey,
};

/// One provisioning service instance with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The ID scope that devices name; unique and immutable.
    pub id_scope: IdScope,
    /// Its name for operators.
    pub name: String,
    /// The host names of its service operations endpoint; unique over all instances.
    pub service_hosts: Vec<HostName>,
    /// The policy of enrollments that name none.
    pub allocation_policy: AllocationPolicy,
    /// The shared access policies of the service operations endpoint.
    pub access_policies: Vec<AccessPolicy>,
    /// The hubs that devices may be assigned to.
    pub linked_hubs: Vec<LinkedHub>,
    /// Whether hubs that are down or full are passed over for new devices.
    #[serde(default)]
    pub failover: bool,
    /// Whether a group's signing certificate must be a verified CA certificate of the instance, or chain to one.
    pub require_verified_ca: bool,
    /// Whether another enrollment group may take over a device from the group that it is registered through.
    #[serde(default, skip_serializing_if = "RegistrationOwnership::is_movable")]
    pub registrations: RegistrationOwnership,
    /// What happens to a device at a hub that has the device ID of one that must be created.
    #[serde(default, skip_serializing_if = "ExistingDevices::are_adopted")]
    pub existing_devices: ExistingDevices,
    /// When a revocation list without `nextUpdate` becomes stale.
    #[serde(default, skip_serializing_if = "CrlMaxAge::is_default")]
    pub crl_max_age: CrlMaxAge,
    /// How many runs are executed per minute; `None` for the number of its quotas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_registrations_per_minute: Option<NonZeroU32>,
    /// Its quotas and throttles.
    #[serde(default, skip_serializing_if = "Quotas::is_default")]
    pub quotas: Quotas,
    /// Whether public addresses may call its endpoints.
    #[serde(default, skip_serializing_if = "PublicNetworkAccess::is_enabled")]
    pub public_network_access: PublicNetworkAccess,
    /// Which addresses may call its endpoints.
    #[serde(default, skip_serializing_if = "IpFilter::is_empty")]
    pub ip_filter: IpFilter,
    /// Latencies to its hubs, which precede those of the service.
    #[serde(default, skip_serializing_if = "LatencyTable::is_empty")]
    pub latency_table: LatencyTable,
    /// How long refused attempts are kept; `None` for as long as the service keeps those of other instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_attempts: Option<KeepDays>,
    /// What it is as a resource.
    #[serde(default, skip_serializing_if = "ResourceFacts::is_default")]
    pub resource: ResourceFacts,
    /// Who may change it.
    #[serde(default, skip_serializing_if = "ManagedBy::is_file")]
    pub managed: ManagedBy,
    /// Its deletion, once that was requested. It is not served since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// The hold of its cleanups, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanups_held: Option<CleanupHold>,
    /// The hub settings of the configuration when it was last read.
    pub configured: Configured,
    /// The key that signs requests to webhooks; `None` for a key derived from `operation_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_key: Option<SymmetricKey>,
    /// The key that authenticates the operation IDs of this instance.
    pub operation_key: SymmetricKey,
}

impl Instance {
    /// Returns the linked hub of this name.
    pub fn linked_hub(&self, name: &HubName) -> Option<&LinkedHub> {
        self.linked_hubs.iter().find(|hub| hub.name == *name)
    }

    /// Returns its name as a resource; see [`resource_name`].
    pub fn resource_name(&self) -> &str {
        resource_name(&self.name, &self.id_scope)
    }

    /// Returns the access policy of this name.
    pub fn access_policy(&self, name: &str) -> Option<&AccessPolicy> {
        self.access_policies.iter().find(|policy| policy.name.as_str().eq_ignore_ascii_case(name))
    }
}

/// Returns the name of an instance as a resource: its own name, or its ID scope if clients could not address that.
pub fn resource_name<'a>(name: &'a str, id_scope: &'a IdScope) -> &'a str {
    match ResourceName::parse(name) {
        Ok(_) => name,
        Err(_) => id_scope.as_str(),
    }
}

/// Whether an enrollment group may take over a device that is registered through another group that still exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationOwnership {
    /// It may, as in the hosted service. The decision records it, and the log warns of it.
    #[default]
    Movable,
    /// It may not, until the registration or the other group is deleted.
    FirstCome,
}

impl RegistrationOwnership {
    fn is_movable(&self) -> bool {
        *self == RegistrationOwnership::Movable
    }
}

/// What happens to a device at a hub that has the device ID of one that must be created, and credentials that the registration never
/// gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExistingDevices {
    /// It is taken over, as in the hosted service. The decision records it, and the log warns of it.
    #[default]
    Adopt,
    /// It stays as it is, and the registration fails.
    Refuse,
}

impl ExistingDevices {
    pub(crate) fn are_adopted(&self) -> bool {
        *self == ExistingDevices::Adopt
    }
}

/// A weight of 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct AllocationWeight(u16);

/// A number is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allocation weight must be 1 to 1000, not {0}")]
pub struct OutOfRange(u16);

impl AllocationWeight {
    /// The weight, if it is 1 to 1000.
    pub fn new(weight: u16) -> Result<Self, OutOfRange> {
        if (1..=1000).contains(&weight) { Ok(AllocationWeight(weight)) } else { Err(OutOfRange(weight)) }
    }

    /// Returns the number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl Default for AllocationWeight {
    fn default() -> Self {
        AllocationWeight(1)
    }
}

impl TryFrom<u16> for AllocationWeight {
    type Error = OutOfRange;
    fn try_from(weight: u16) -> Result<Self, OutOfRange> {
        Self::new(weight)
    }
}

impl From<AllocationWeight> for u16 {
    fn from(weight: AllocationWeight) -> u16 {
        weight.0
    }
}

/// A shared access policy: two keys and their rights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// The name that a token carries as `skn`.
    pub name: PolicyName,
    /// The first key.
    pub primary_key: SymmetricKey,
    /// The other key, of equal rank.
    pub secondary_key: SymmetricKey,
    /// The rights of a token that either key signed.
    pub rights: Rights,
}

/// A right of an operator. Access policies of instances grant those of [`Right::OF_POLICIES`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Change the service configuration.
    ServiceConfig,
    /// Read enrollments.
    EnrollmentRead,
    /// Change enrollments; includes reading them.
    EnrollmentWrite,
    /// The right of policies that devices use. No service route needs it.
    DeviceConnect,
    /// Read registrations.
    RegistrationStatusRead,
    /// Delete registrations; includes reading them.
    RegistrationStatusWrite,
    /// Read the change log; included in changing the configuration. An addition of Muster.
    ChangeLogRead,
    /// Read instances as resources.
    InstanceRead,
    /// Create, change and delete instances; includes reading them.
    InstanceWrite,
    /// Read and change the keys of an instance's access policies.
    InstanceKeys,
}

impl Right {
    /// The rights that an access policy of an instance can grant, in the order in which they are written.
    pub const OF_POLICIES: [Right; 7] = [
        Right::ServiceConfig,
        Right::EnrollmentRead,
        Right::EnrollmentWrite,
        Right::DeviceConnect,
        Right::RegistrationStatusRead,
        Right::RegistrationStatusWrite,
        Right::ChangeLogRead,
    ];

    /// Returns the name in access policies.
    pub fn name(self) -> &'static str {
        match self {
            Right::ServiceConfig => "ServiceConfig",
            Right::EnrollmentRead => "EnrollmentRead",
            Right::EnrollmentWrite => "EnrollmentWrite",
            Right::DeviceConnect => "DeviceConnect",
            Right::RegistrationStatusRead => "RegistrationStatusRead",
            Right::RegistrationStatusWrite => "RegistrationStatusWrite",
            Right::ChangeLogRead => "ChangeLogRead",
            Right::InstanceRead => "InstanceRead",
            Right::InstanceWrite => "InstanceWrite",
            Right::InstanceKeys => "InstanceKeys",
        }
    }
}

/// A set of rights. That of an access policy is written as `EnrollmentRead, EnrollmentWrite`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rights(u16);

/// The text names a right that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown right {0:?}; known are ServiceConfig, EnrollmentRead, EnrollmentWrite, DeviceConnect, RegistrationStatusRead, RegistrationStatusWrite, ChangeLogRead"
)]
pub struct UnknownRight(String);

impl Rights {
    /// Every right of Azure's access policies. They include all others that a policy can grant.
    pub const OF_POLICIES: Rights = Rights(0b11_1111);
    /// Every right.
    pub const ALL: Rights = Rights(0b11_1111_1111);

    /// Makes a set of these rights.
    pub fn of(rights: &[Right]) -> Self {
        Rights(rights.iter().fold(0, |bits, right| bits | 1 << *right as u8))
    }

    /// Returns the rights of either set.
    #[must_use]
    pub fn union(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// Parses a comma-separated list of rights of an access policy, without regard to case.
    pub fn parse(text: &str) -> Result<Self, UnknownRight> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let rights = names.map(|name| {
            let known = Right::OF_POLICIES.into_iter().find(|right| right.name().eq_ignore_ascii_case(name));
            known.ok_or_else(|| UnknownRight(name.to_owned()))
        });
        Ok(Self::of(&rights.collect::<Result<Vec<_>, _>>()?))
    }

    /// Whether this set grants a right. Writing includes reading, and changing the configuration includes reading the log.
    pub fn grants(self, right: Right) -> bool {
        let has = |right: Right| self.0 & 1 << right as u8 != 0;
        has(right)
            || match right {
                Right::EnrollmentRead => has(Right::EnrollmentWrite),
                Right::RegistrationStatusRead => has(Right::RegistrationStatusWrite),
                Right::ChangeLogRead => has(Right::ServiceConfig),
                Right::InstanceRead => has(Right::InstanceWrite),
                _ => false,
            }
    }
}

impl TryFrom<String> for Rights {
    type Error = UnknownRight;
    fn try_from(text: String) -> Result<Self, UnknownRight> {
        Self::parse(&text)
    }
}

impl From<Rights> for String {
    fn from(rights: Rights) -> String {
        let names: Vec<_> = Right::OF_POLICIES
            .into_iter()
            .filter(|right| rights.0 & 1 << *right as u8 != 0)
            .map(Right::name)
            .collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_written_as_azure_writes_them() {
        let rights = Rights::parse("enrollmentwrite, ServiceConfig").unwrap();
        assert_eq!(String::from(rights), "ServiceConfig, EnrollmentWrite");
        assert!(rights.grants(Right::EnrollmentRead));
        assert!(!rights.grants(Right::RegistrationStatusRead));
        for unknown in ["Everything", "InstanceWrite"] {
            assert!(Rights::parse(unknown).is_err(), "{unknown}");
        }
        assert!(Right::OF_POLICIES.into_iter().all(|right| Rights::OF_POLICIES.grants(right)));
        assert!(
            !String::from(Rights::OF_POLICIES).contains("ChangeLogRead"),
            "clients of Azure do not know it"
        );
        assert!(Rights::of(&[Right::InstanceWrite]).grants(Right::InstanceRead));
        assert!(!Rights::OF_POLICIES.grants(Right::InstanceRead) && Rights::ALL.grants(Right::InstanceKeys));
    }

    #[test]
    fn weights_at_and_past_the_limits() {
        for (weight, fits) in [(0, false), (1, true), (1000, true), (1001, false)] {
            assert_eq!(AllocationWeight::new(weight).is_ok(), fits, "{weight}");
        }
    }
}
