//! Registrations: the record that a device was provisioned, and where it belongs.

use serde::{Deserialize, Serialize};

use crate::{
    AttestationDigest, Decisions, DeviceId, EnrollmentGroupId, Generation, HubDeviceRef, HubName, KeyUse,
    OperationId, PendingStep, RawJson, Record, RegistrationId, Residue, SpecDigest, SymmetricKeyPair,
    TpmIdentity, Tries,
};

/// What is known of one device's provisioning. Made by the service, may be deleted, never edited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The device.
    pub registration_id: RegistrationId,
    /// The enrollment that let it in.
    pub enrollment: EnrollmentRef,
    /// How it proved itself.
    pub attested_by: AttestedBy,
    /// The symmetric key that it used last. `None` for other mechanisms, and until a device returns whose registration was
    /// stored by a version that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyUse>,
    /// Where it stands.
    pub status: Status,
    /// The run that led here.
    pub operation_id: OperationId,
    /// What custom allocation hands to the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<RawJson>,
    /// What a device with a TPM connects to its hub with, and who is handed that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmHandover>,
    /// Why it got its hub, the last times that this was decided.
    #[serde(default, skip_serializing_if = "Decisions::is_empty")]
    pub decisions: Decisions,
    /// Version and dates.
    pub record: Record,
}

impl Registration {
    /// Where the device lives now, as far as is known: also while it is moving, disabled or failed.
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.status {
            Status::Assigned(assignment) => Some(assignment),
            Status::Assigning { from, .. } => from.as_ref(),
            Status::Failed { standing, .. } | Status::Disabled { standing } => standing.as_ref(),
        }
    }

    /// The places at hubs that it has: where the device lives, and where it is on its way to if that is another one. No
    /// two registrations of a store have the same.
    pub fn places(&self) -> (Option<HubDeviceRef>, Option<HubDeviceRef>) {
        let at = self.assignment().map(Assignment::place);
        let to = match &self.status {
            Status::Assigning { work, .. } => work.order().map(crate::DeviceSpec::place),
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => None,
        };
        let to = to.filter(|to| at.as_ref() != Some(to));
        (at, to)
    }

    /// The enrollment group that the device belongs to: the one of its registration, once a hub was chosen for it. One
    /// that only failed or was disabled belongs to none, so that a group cannot reserve IDs that it gives no hub.
    pub fn owner(&self) -> Option<&EnrollmentGroupId> {
        let has_hub = self.assignment().is_some() || matches!(self.status, Status::Assigning { .. });
        match &self.enrollment {
            EnrollmentRef::Group(group) if has_hub => Some(group),
            EnrollmentRef::Group(_) | EnrollmentRef::Individual => None,
        }
    }
}

/// Which enrollment a registration came through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EnrollmentRef {
    /// The individual enrollment of the same registration ID.
    Individual,
    /// An enrollment group.
    Group(EnrollmentGroupId),
}

/// The mechanism that a device proved itself by.
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

/// A device with a TPM has no key that its hub could know, so it is handed one, which only its TPM can open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmHandover {
    /// The TPM that it is made for.
    pub identity: TpmIdentity,
    /// The keys that the hub knows. The device gets the primary one.
    pub hub_keys: SymmetricKeyPair,
    /// The challenge that it proved itself by. It registers nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
}

/// One challenge to the TPM of a registration. What is inside follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// How many were used before.
    pub number: u64,
    /// The quarter of an hour in which it was issued, counted from 1970 on.
    pub period: i64,
}

/// Where a registration stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Decided and being carried out. What is to be done is on disk before the first call to a hub.
    Assigning {
        /// What is to be done.
        work: PendingStep,
        /// Where the device lived before.
        from: Option<Assignment>,
        /// What the enrollment accepted as proof when it let the device in; `None` for a run that was stored by a version
        /// that did not note it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        admitted_by: Option<AttestationDigest>,
        /// How often it was tried. The record's version is the same after each.
        #[serde(default, skip_serializing_if = "Tries::are_none")]
        tries: Tries,
    },
    /// The hub has the device.
    Assigned(Assignment),
    /// The last run ended without an assignment.
    Failed {
        /// Why.
        failure: Failure,
        /// An earlier assignment that still stands.
        standing: Option<Assignment>,
    },
    /// The enrollment is disabled.
    Disabled {
        /// An earlier assignment that still stands.
        standing: Option<Assignment>,
    },
}

impl Status {
    /// Its kind.
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
    /// Being carried out.
    Assigning,
    /// At its hub.
    Assigned,
    /// Ended without an assignment.
    Failed,
    /// Its enrollment is disabled.
    Disabled,
}

impl StatusKind {
    /// All of them.
    pub const ALL: [StatusKind; 4] =
        [StatusKind::Assigning, StatusKind::Assigned, StatusKind::Failed, StatusKind::Disabled];

    /// The word for it in the device API and the service API.
    pub fn name(self) -> &'static str {
        match self {
            StatusKind::Assigning => "assigning",
            StatusKind::Assigned => "assigned",
            StatusKind::Failed => "failed",
            StatusKind::Disabled => "disabled",
        }
    }

    /// The kind with this name, in any case.
    pub fn from_name(name: &str) -> Option<StatusKind> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// A device's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// How it got there.
    pub substatus: Substatus,
    /// The order that was carried out, to see later whether anything changed.
    pub order: SpecDigest,
    /// Later orders that the hub may have been told: nobody knows which of all the device stands as.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<SpecDigest>,
    /// Which device of that name at the hub it is, as the hub answered the last order. `None` in records of earlier
    /// versions, for hubs that name no generations, and while an order of unknown outcome may have created it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

impl Assignment {
    /// Where the device is.
    pub fn place(&self) -> HubDeviceRef {
        HubDeviceRef { hub: self.hub.clone(), device_id: self.device_id.clone() }
    }

    /// What must be removed from the hub when the device leaves it.
    pub fn trace(&self) -> Residue {
        let orders = self.told.iter().cloned().chain([self.order.clone()]);
        Residue { place: self.place(), orders: orders.collect(), generation: self.generation.clone() }
    }
}

/// How an assigned device got to its hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Substatus {
    /// Its first assignment, or none that changed anything since.
    InitialAssignment,
    /// It moved, and its twin with it.
    DeviceDataMigrated,
    /// It started again from the initial twin.
    DeviceDataReset,
    /// It came back to its first assignment.
    ReprovisionedToInitialAssignment,
}

/// What ended a registration without an assignment. Its text completes "the registration failed: …".
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
    /// The hub has a device of this ID that the registration did not make, and the instance says to leave it alone.
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

/// Why a registration ended without an assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong; each endpoint has its own code for it.
    #[serde(rename = "code")]
    pub reason: FailureReason,
    /// One sentence for the device and its operator.
    pub message: String,
}
