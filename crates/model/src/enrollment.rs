//! Enrollments: who may register, and what they get.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    DeviceId, EnrollmentGroupId, EnrollmentRef, Etag, GroupAttestation, HubName, IndividualAttestation,
    InitialTwin, RegistrationId, RegistrationIds, SymmetricKeyPair, Timestamp, TwinCollection,
};

/// One device that may register.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndividualEnrollment {
    /// The name the device registers under.
    pub registration_id: RegistrationId,
    /// The desired device ID at the hub; the registration ID when absent.
    pub device_id: Option<DeviceId>,
    /// How the device proves itself.
    pub attestation: IndividualAttestation,
    /// Notes of the operator, never sent to a hub.
    pub device_information: Option<TwinCollection>,
    /// What the device gets.
    pub settings: EnrollmentSettings,
    /// Version and dates.
    pub record: Record,
}

/// Many devices that may register, sharing an attestation mechanism.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrollmentGroup {
    /// The group's name.
    pub group_id: EnrollmentGroupId,
    /// How the devices prove themselves.
    pub attestation: GroupAttestation,
    /// The registration IDs that it is for; all when absent.
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
    /// For one device.
    Individual(Box<IndividualEnrollment>),
    /// For many.
    Group(Arc<EnrollmentGroup>),
}

impl Enrollment {
    /// What names it.
    pub fn reference(&self) -> EnrollmentRef {
        match self {
            Enrollment::Individual(_) => EnrollmentRef::Individual,
            Enrollment::Group(group) => EnrollmentRef::Group(group.group_id.clone()),
        }
    }

    /// The symmetric keys that its devices prove themselves by, or by what derives from them.
    pub fn symmetric_keys(&self) -> Option<&SymmetricKeyPair> {
        match self {
            Enrollment::Individual(enrollment) => enrollment.attestation.symmetric_keys(),
            Enrollment::Group(group) => group.attestation.symmetric_keys(),
        }
    }

    /// What it says about a device's provisioning.
    pub fn settings(&self) -> &EnrollmentSettings {
        match self {
            Enrollment::Individual(enrollment) => &enrollment.settings,
            Enrollment::Group(group) => &group.settings,
        }
    }
}

/// What both kinds of enrollment say about a device's provisioning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnrollmentSettings {
    /// The switch of the enrollment.
    pub provisioning_status: ProvisioningStatus,
    /// Whether the device is an IoT Edge device; `None` when the author said nothing.
    pub iot_edge: Option<bool>,
    /// What the device's twin starts with.
    pub initial_twin: Option<InitialTwin>,
    /// What a device that comes back gets. `None` differs from the default: see `ReprovisionPolicy`.
    pub reprovision_policy: Option<ReprovisionPolicy>,
    /// How a hub is chosen; the instance's policy when absent.
    pub allocation_policy: Option<AllocationPolicy>,
    /// The desired linked hubs; empty means all.
    pub hubs: Vec<HubName>,
    /// The one desired hub of old clients (`iotHubHostName`), used when `hubs` is empty.
    pub hub: Option<HubName>,
    /// The webhook of the custom policy; may be set while another policy is.
    pub custom_allocation: Option<CustomAllocation>,
    /// Which authority and policy issue operational certificates (service API 2026-11-01).
    pub certificate_policy: CertificatePolicy,
}

/// The switch of an enrollment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProvisioningStatus {
    /// Devices may register.
    #[default]
    Enabled,
    /// Devices are told `disabled`.
    Disabled,
}

/// What a device that comes back gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReprovisionPolicy {
    /// Whether its hub is chosen anew.
    pub update_hub_assignment: bool,
    /// Whether its twin moves with it (true) or starts again from the initial twin (false).
    pub migrate_device_data: bool,
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
    /// An absolute https URL, called exactly as it stands.
    pub webhook_url: String,
    /// The version of the request that the webhook expects.
    pub api_version: String,
}

impl CustomAllocation {
    /// The host of the webhook, and its port if that stands there.
    pub fn authority(&self) -> &str {
        let (_, rest) = self.webhook_url.split_once("://").unwrap_or_default();
        rest.split(['/', '?']).next().unwrap_or_default()
    }
}

/// Names that link an enrollment to a certificate authority; stored and returned.
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
