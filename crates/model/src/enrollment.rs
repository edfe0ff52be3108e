//! Enrollments: which devices may register, and what they get.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    DeviceId, EnrollmentGroupId, EnrollmentRef, Etag, GroupAttestation, HubName, IndividualAttestation,
    InitialTwin, RegistrationId, RegistrationIds, ReprovisionAction, SymmetricKeyPair, Timestamp,
    TwinCollection,
};

/// An enrollment of one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndividualEnrollment {
    /// The registration ID of the device.
    pub registration_id: RegistrationId,
    /// The desired device ID at the hub; the registration ID when absent.
    pub device_id: Option<DeviceId>,
    /// The attestation mechanism of the device.
    pub attestation: IndividualAttestation,
    /// The operator's notes, which are never sent to a hub.
    pub device_information: Option<TwinCollection>,
    /// What the device gets.
    pub settings: EnrollmentSettings,
    /// Version and dates.
    pub record: Record,
}

/// An enrollment of all devices with keys derived from the group's, or certificates that chain to the group's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrollmentGroup {
    /// The ID of the group.
    pub group_id: EnrollmentGroupId,
    /// The attestation mechanism of the devices.
    pub attestation: GroupAttestation,
    /// The registration IDs that it accepts; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_ids: Option<RegistrationIds>,
    /// What each device gets.
    pub settings: EnrollmentSettings,
    /// Version and dates.
    pub record: Record,
}

/// An enrollment of either kind. Clones of a group share it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Enrollment {
    /// Of one device.
    Individual(Box<IndividualEnrollment>),
    /// Of a group.
    Group(Arc<EnrollmentGroup>),
}

impl Enrollment {
    /// Returns the reference that registrations hold.
    pub fn reference(&self) -> EnrollmentRef {
        match self {
            Enrollment::Individual(_) => EnrollmentRef::Individual,
            Enrollment::Group(group) => EnrollmentRef::Group(group.group_id.clone()),
        }
    }

    /// Returns the symmetric keys that its devices attest by, directly or derived.
    pub fn symmetric_keys(&self) -> Option<&SymmetricKeyPair> {
        match self {
            Enrollment::Individual(enrollment) => enrollment.attestation.symmetric_keys(),
            Enrollment::Group(group) => group.attestation.symmetric_keys(),
        }
    }

    /// Returns what its devices get.
    pub fn settings(&self) -> &EnrollmentSettings {
        match self {
            Enrollment::Individual(enrollment) => &enrollment.settings,
            Enrollment::Group(group) => &group.settings,
        }
    }
}

/// What devices get, for both kinds of enrollment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnrollmentSettings {
    /// Whether the enrollment is enabled.
    pub provisioning_status: ProvisioningStatus,
    /// Whether the device is an IoT Edge device; `None` if the client left it out.
    pub iot_edge: Option<bool>,
    /// The initial twin.
    pub initial_twin: Option<InitialTwin>,
    /// What happens to a device that returns; `None` lets its API version decide.
    pub reprovision_policy: Option<ReprovisionPolicy>,
    /// How a hub is chosen; `None` for the instance's policy.
    pub allocation_policy: Option<AllocationPolicy>,
    /// The linked hubs to choose from; empty for all.
    pub hubs: Vec<HubName>,
    /// The only hub to choose, as old clients name it (`iotHubHostName`). Used if `hubs` is empty.
    pub hub: Option<HubName>,
    /// The webhook of the custom policy. May be set for other policies, too.
    pub custom_allocation: Option<CustomAllocation>,
    /// The authority and policy of operational certificates (service API 2026-11-01).
    pub certificate_policy: CertificatePolicy,
    /// The name of the tool that manages the enrollment, by which it finds what it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
}

impl EnrollmentSettings {
    /// Returns the hubs to choose from that the enrollment names; none if it leaves the choice to the instance.
    pub fn named_hubs(&self) -> impl Iterator<Item = &HubName> {
        let only = self.hub.as_ref().filter(|_| self.hubs.is_empty());
        self.hubs.iter().chain(only)
    }
}

/// Whether an enrollment is enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProvisioningStatus {
    /// Devices may register.
    #[default]
    Enabled,
    /// Devices get the status `disabled`.
    Disabled,
}

impl ProvisioningStatus {
    /// Both of them.
    pub const ALL: [ProvisioningStatus; 2] = [ProvisioningStatus::Enabled, ProvisioningStatus::Disabled];

    /// Returns its name in the service API.
    pub fn name(self) -> &'static str {
        match self {
            ProvisioningStatus::Enabled => "enabled",
            ProvisioningStatus::Disabled => "disabled",
        }
    }

    /// Returns the status with this name, without regard to case.
    pub fn from_name(name: &str) -> Option<ProvisioningStatus> {
        Self::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name))
    }
}

/// What happens to a device that returns (Azure's reprovision policy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ReprovisionFlags", into = "ReprovisionFlags")]
pub enum ReprovisionPolicy {
    /// The device keeps its hub.
    Stay {
        /// What the client wrote about the device's data. Without effect; it is only returned.
        migrate_device_data: bool,
    },
    /// A hub is chosen anew, and the device's twin moves there.
    Migrate,
    /// A hub is chosen anew, and the device starts there with its initial twin.
    Reset,
}

impl ReprovisionPolicy {
    /// Returns what happens.
    pub fn action(self) -> ReprovisionAction {
        match self {
            ReprovisionPolicy::Stay { .. } => ReprovisionAction::Stay,
            ReprovisionPolicy::Migrate => ReprovisionAction::Migrate,
            ReprovisionPolicy::Reset => ReprovisionAction::Reset,
        }
    }
}

/// A reprovision policy as Azure's API and the store write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReprovisionFlags {
    /// Whether a hub is chosen anew.
    pub update_hub_assignment: bool,
    /// Whether the device's twin moves to that hub, or is replaced by the initial twin.
    pub migrate_device_data: bool,
}

impl From<ReprovisionFlags> for ReprovisionPolicy {
    fn from(flags: ReprovisionFlags) -> ReprovisionPolicy {
        let ReprovisionFlags { update_hub_assignment, migrate_device_data } = flags;
        match (update_hub_assignment, migrate_device_data) {
            (false, migrate_device_data) => ReprovisionPolicy::Stay { migrate_device_data },
            (true, true) => ReprovisionPolicy::Migrate,
            (true, false) => ReprovisionPolicy::Reset,
        }
    }
}

impl From<ReprovisionPolicy> for ReprovisionFlags {
    fn from(policy: ReprovisionPolicy) -> ReprovisionFlags {
        let (update_hub_assignment, migrate_device_data) = match policy {
            ReprovisionPolicy::Stay { migrate_device_data } => (false, migrate_device_data),
            ReprovisionPolicy::Migrate => (true, true),
            ReprovisionPolicy::Reset => (true, false),
        };
        ReprovisionFlags { update_hub_assignment, migrate_device_data }
    }
}

/// How a hub is chosen for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllocationPolicy {
    /// Evenly weighted distribution.
    #[default]
    #[serde(rename = "hashed")]
    Hashed,
    /// Lowest latency.
    #[serde(rename = "geoLatency")]
    GeoLatency,
    /// The one hub that the enrollment names.
    #[serde(rename = "static")]
    Static,
    /// A webhook decides.
    #[serde(rename = "custom")]
    Custom,
}

/// The webhook that chooses a hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomAllocation {
    /// An absolute https URL, which is called unchanged.
    pub webhook_url: String,
    /// The version of the request that the webhook expects.
    pub api_version: String,
}

impl CustomAllocation {
    /// Returns host and port of the URL, as written.
    pub fn authority(&self) -> &str {
        let (_, rest) = self.webhook_url.split_once("://").unwrap_or_default();
        rest.split(['/', '?']).next().unwrap_or_default()
    }
}

/// Names of a certificate authority and policy, which are only stored and returned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatePolicy {
    /// `credentialPolicyName` of 2025-07-01-preview.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_policy: Option<String>,
    /// `namespaceName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `certificateAuthorityName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// `certificatePolicyName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Version and dates of a stored record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Changes with every write.
    pub etag: Etag,
    /// When it was first written.
    pub created: Timestamp,
    /// When it was last written.
    pub last_updated: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reprovision_policy_is_returned_as_it_was_written() {
        for (stored, policy) in [
            ((false, false), ReprovisionPolicy::Stay { migrate_device_data: false }),
            ((false, true), ReprovisionPolicy::Stay { migrate_device_data: true }),
            ((true, true), ReprovisionPolicy::Migrate),
            ((true, false), ReprovisionPolicy::Reset),
        ] {
            let (update, migrate) = stored;
            let text = format!(r#"{{"update_hub_assignment":{update},"migrate_device_data":{migrate}}}"#);
            assert_eq!(serde_json::from_str::<ReprovisionPolicy>(&text).unwrap(), policy);
            assert_eq!(serde_json::to_string(&policy).unwrap(), text);
        }
    }
}
