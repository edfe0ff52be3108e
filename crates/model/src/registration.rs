//! Registrations: the record of a device that was provisioned, and of its hub.

mod stored;

use serde::{Deserialize, Serialize};

use crate::{
    AttestationDigest, Decisions, DeviceId, DeviceSpec, EnrollmentGroupId, Generation, HubDeviceRef, HubName,
    KeyUse, LeaseToken, OperationId, PendingStep, RawJson, Record, RegistrationId, Residue, SpecDigest,
    SymmetricKeyPair, TpmIdentity, Tries,
};
use stored::StoredRegistration;

/// The record of a device that registered (Azure's registration state). The service writes it; operators may only delete it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "StoredRegistration")]
pub struct Registration {
    /// The device.
    pub registration_id: RegistrationId,
    /// The enrollment that let it in.
    pub enrollment: EnrollmentRef,
    /// Its last attestation.
    pub attestation: LastAttestation,
    /// How far its assignment is.
    pub status: Status,
    /// The operation that led here.
    pub operation_id: OperationId,
    /// What a custom allocation webhook returned for the device.
    pub payload: Option<RawJson>,
    /// The last decisions about its hub.
    pub decisions: Decisions,
    /// Version and dates.
    pub record: Record,
}

impl Registration {
    /// Returns the assignment in effect, as far as is known: also while the device moves, is disabled, or has failed.
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.status {
            Status::Assigned(assignment) => Some(assignment),
            Status::Assigning { from, .. } => from.as_ref(),
            Status::Failed { current, .. } | Status::Disabled { current } => current.as_ref(),
        }
    }

    /// Returns the hub device that the registration has now, and the one that it is moving to if that is another. No two
    /// registrations of a store have the same.
    pub fn hub_devices(&self) -> (Option<HubDeviceRef>, Option<HubDeviceRef>) {
        let at = self.assignment().map(Assignment::hub_device);
        let to = match &self.status {
            Status::Assigning { step, .. } => step.spec().map(DeviceSpec::hub_device),
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => None,
        };
        let to = to.filter(|to| at.as_ref() != Some(to));
        (at, to)
    }

    /// Returns the enrollment group that the device belongs to: the one of its registration, once a hub was chosen. A
    /// registration that only failed or was disabled belongs to none, so that a group cannot reserve IDs without giving them
    /// a hub.
    pub fn owning_group(&self) -> Option<&EnrollmentGroupId> {
        let has_hub = self.assignment().is_some() || matches!(self.status, Status::Assigning { .. });
        match &self.enrollment {
            EnrollmentRef::Group(group) if has_hub => Some(group),
            EnrollmentRef::Group(_) | EnrollmentRef::Individual => None,
        }
    }
}

/// The enrollment that a registration came through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EnrollmentRef {
    /// The individual enrollment of the same registration ID.
    Individual,
    /// An enrollment group.
    Group(EnrollmentGroupId),
}

/// The mechanism of a device's attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AttestedBy {
    /// A symmetric key, its own or derived from its group's.
    SymmetricKey,
    /// A client certificate.
    X509,
    /// A TPM.
    Tpm,
}

impl AttestedBy {
    /// All of them.
    pub const ALL: [AttestedBy; 3] = [AttestedBy::SymmetricKey, AttestedBy::X509, AttestedBy::Tpm];

    /// Returns its name in the service API.
    pub fn name(self) -> &'static str {
        match self {
            AttestedBy::SymmetricKey => "symmetricKey",
            AttestedBy::X509 => "x509",
            AttestedBy::Tpm => "tpm",
        }
    }

    /// Returns the mechanism with this name, without regard to case.
    pub fn from_name(name: &str) -> Option<AttestedBy> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// The last attestation of a device, and what its registration keeps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastAttestation {
    /// By this symmetric key of its enrollment, directly or derived; `None` in records of earlier versions until the device
    /// returns.
    SymmetricKey(Option<KeyUse>),
    /// By a client certificate.
    X509,
    /// By a TPM, which these hub keys are for.
    Tpm(Box<TpmHandover>),
}

impl LastAttestation {
    /// Returns the mechanism.
    pub fn mechanism(&self) -> AttestedBy {
        match self {
            LastAttestation::SymmetricKey(_) => AttestedBy::SymmetricKey,
            LastAttestation::X509 => AttestedBy::X509,
            LastAttestation::Tpm(_) => AttestedBy::Tpm,
        }
    }

    /// Returns the symmetric key that the device used, if that is known.
    pub fn key(&self) -> Option<&KeyUse> {
        match self {
            LastAttestation::SymmetricKey(key) => key.as_ref(),
            LastAttestation::X509 | LastAttestation::Tpm(_) => None,
        }
    }

    /// Returns the hub keys of a device with a TPM.
    pub fn handover(&self) -> Option<&TpmHandover> {
        match self {
            LastAttestation::Tpm(handover) => Some(handover),
            LastAttestation::SymmetricKey(_) | LastAttestation::X509 => None,
        }
    }
}

/// The hub keys that the service makes for a device with a TPM, and hands over so that only that TPM can decrypt them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmHandover {
    /// The TPM that can decrypt them.
    pub identity: TpmIdentity,
    /// The keys that the hub is given. The device gets the primary one.
    pub hub_keys: SymmetricKeyPair,
    /// The challenge that the device answered, which is good for no other registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
}

/// One challenge to the TPM of a registration. Its secret is derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The number of challenges that were used before.
    pub number: u64,
    /// The period of 15 minutes in which it was issued, counted from 1970 on.
    pub period: i64,
}

/// The status of a registration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// A run is under way. Its step is on disk before the first call to a hub.
    Assigning {
        /// What the run has to do next.
        #[serde(rename = "work")]
        step: PendingStep,
        /// The assignment in effect until the run ends.
        from: Option<Assignment>,
        /// What the enrollment accepted as proof when it let the device in; `None` in records of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        admitted_by: Option<AttestationDigest>,
        /// The tries so far. They do not change the record's version.
        #[serde(default, skip_serializing_if = "Tries::are_none")]
        tries: Tries,
        /// The lease of the runner that executes the run; `None` if any runner may.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runner: Option<LeaseToken>,
    },
    /// The hub has the device.
    Assigned(Assignment),
    /// The last run ended without an assignment.
    Failed {
        /// Why.
        failure: Failure,
        /// An earlier assignment that is still in effect.
        #[serde(rename = "standing")]
        current: Option<Assignment>,
    },
    /// The enrollment is disabled.
    Disabled {
        /// An earlier assignment that is still in effect.
        #[serde(rename = "standing")]
        current: Option<Assignment>,
    },
}

impl Status {
    /// Returns its kind.
    pub fn kind(&self) -> StatusKind {
        match self {
            Status::Assigning { .. } => StatusKind::Assigning,
            Status::Assigned(_) => StatusKind::Assigned,
            Status::Failed { .. } => StatusKind::Failed,
            Status::Disabled { .. } => StatusKind::Disabled,
        }
    }
}

/// The kinds of status, by which registrations are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKind {
    /// A run is under way.
    Assigning,
    /// The hub has the device.
    Assigned,
    /// The last run ended without an assignment.
    Failed,
    /// The enrollment is disabled.
    Disabled,
}

impl StatusKind {
    /// All of them.
    pub const ALL: [StatusKind; 4] =
        [StatusKind::Assigning, StatusKind::Assigned, StatusKind::Failed, StatusKind::Disabled];

    /// Returns its name in the device API and the service API.
    pub fn name(self) -> &'static str {
        match self {
            StatusKind::Assigning => "assigning",
            StatusKind::Assigned => "assigned",
            StatusKind::Failed => "failed",
            StatusKind::Disabled => "disabled",
        }
    }

    /// Returns the kind with this name, without regard to case.
    pub fn from_name(name: &str) -> Option<StatusKind> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// The hub that a device is assigned to, and its device ID there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The hub.
    pub hub: HubName,
    /// The device ID at the hub.
    pub device_id: DeviceId,
    /// How the device got there, by Azure's terms.
    pub substatus: Substatus,
    /// The device spec that the hub applied, by which a later change is noticed.
    #[serde(rename = "order")]
    pub spec: SpecDigest,
    /// Later specs that may have reached the hub; any of them may be in effect.
    #[serde(default, rename = "told", skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<SpecDigest>,
    /// The generation that the hub named when it applied the last spec. `None` in records of earlier versions, for hubs that
    /// name no generations, and while a spec of unknown outcome may have created the device anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

impl Assignment {
    /// Returns the hub and the device ID there.
    pub fn hub_device(&self) -> HubDeviceRef {
        HubDeviceRef { hub: self.hub.clone(), device_id: self.device_id.clone() }
    }

    /// Returns what must be removed from the hub when the device leaves it.
    pub fn residue(&self) -> Residue {
        let specs = self.sent.iter().cloned().chain([self.spec.clone()]);
        Residue { hub_device: self.hub_device(), specs: specs.collect(), generation: self.generation.clone() }
    }
}

/// How an assigned device got to its hub (Azure's substatus).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Substatus {
    /// The device was assigned for the first time, and nothing changed since.
    InitialAssignment,
    /// The device moved, and its twin with it.
    DeviceDataMigrated,
    /// The device started anew with its initial twin.
    DeviceDataReset,
    /// The device returned to the hub that it had.
    ReprovisionedToInitialAssignment,
}

impl Substatus {
    /// All of them.
    pub const ALL: [Substatus; 4] = [
        Substatus::InitialAssignment,
        Substatus::DeviceDataMigrated,
        Substatus::DeviceDataReset,
        Substatus::ReprovisionedToInitialAssignment,
    ];

    /// Returns its name in the device API and the service API.
    pub fn name(self) -> &'static str {
        match self {
            Substatus::InitialAssignment => "initialAssignment",
            Substatus::DeviceDataMigrated => "deviceDataMigrated",
            Substatus::DeviceDataReset => "deviceDataReset",
            Substatus::ReprovisionedToInitialAssignment => "reprovisionedToInitialAssignment",
        }
    }

    /// Returns the substatus with this name, without regard to case.
    pub fn from_name(name: &str) -> Option<Substatus> {
        Self::ALL.into_iter().find(|substatus| substatus.name().eq_ignore_ascii_case(name))
    }
}

/// The reason why a registration ended without an assignment. Its text completes "the registration failed: …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum FailureReason {
    /// The enrollment's attestation changed while the device was being assigned.
    #[error("the attestation changed")]
    AttestationChanged,
    /// An operator canceled the assignment.
    #[error("canceled")]
    Canceled,
    /// The custom allocation webhook failed, or named a hub that it may not name.
    #[error("custom allocation failed")]
    CustomAllocationFailed,
    /// The hub has a device of this ID that the registration did not create, and the instance refuses such devices.
    #[error("the device exists at the hub")]
    DeviceExists,
    /// Another registration has the device ID at that hub.
    #[error("the device ID is taken")]
    DeviceIdTaken,
    /// The individual enrollment was deleted while the device was being assigned.
    #[error("the enrollment was deleted")]
    EnrollmentDeleted,
    /// The enrollment was disabled while the device was being assigned.
    #[error("the enrollment is disabled")]
    EnrollmentDisabled,
    /// The enrollment group was deleted while the device was being assigned.
    #[error("the enrollment group was deleted")]
    GroupDeleted,
    /// The hub takes no more devices.
    #[error("the hub is full")]
    HubFull,
    /// The hub refused the device.
    #[error("the hub refused")]
    HubRefused,
    /// The service instance was removed while the device was being assigned.
    #[error("the service instance is gone")]
    InstanceGone,
    /// No linked hub can take the device.
    #[error("no hub")]
    NoHub,
    /// The custom allocation webhook answered 401.
    #[error("custom allocation is unauthorized")]
    WebhookUnauthorized,
    /// The code that an earlier version of the service recorded in place of a reason.
    #[error("{0}")]
    #[serde(untagged)]
    Recorded(u32),
}

impl FailureReason {
    /// The reasons that are given today.
    pub const ALL: [FailureReason; 13] = [
        FailureReason::AttestationChanged,
        FailureReason::Canceled,
        FailureReason::CustomAllocationFailed,
        FailureReason::DeviceExists,
        FailureReason::DeviceIdTaken,
        FailureReason::EnrollmentDeleted,
        FailureReason::EnrollmentDisabled,
        FailureReason::GroupDeleted,
        FailureReason::HubFull,
        FailureReason::HubRefused,
        FailureReason::InstanceGone,
        FailureReason::NoHub,
        FailureReason::WebhookUnauthorized,
    ];
}

/// A failure to assign a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The reason; each endpoint has its own code for it.
    #[serde(rename = "code")]
    pub reason: FailureReason,
    /// One sentence for the device and its operator.
    pub message: String,
}
