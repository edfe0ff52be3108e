//! Why a device is let in or refused, in words for operators.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{EnrollmentRef, KeySlot, RegistrationId, Timestamp};

/// How it was decided whether a device is let in. Holds no secrets, and is bounded whatever the device presents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What the device presented, a line for each thing.
    pub presented: Vec<String>,
    /// The enrollments that were looked at, in that order; of very many the first, and the one that decided.
    pub considered: Vec<ConsideredEnrollment>,
    /// How many more were looked at.
    pub omitted: usize,
    /// The certificates that the device sent along and that could not be used, with the rule that each breaks.
    pub unfit: Vec<String>,
    /// What came of it.
    pub outcome: Admission,
}

/// An enrollment that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsideredEnrollment {
    /// Which one.
    pub enrollment: EnrollmentRef,
    /// What came of it.
    pub fit: Fit,
}

/// Whether an enrollment fits a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fit {
    /// It does.
    Fits {
        /// The subjects of the certificates from the device's leaf to the enrollment's; none where there are none.
        path: Vec<String>,
        /// The key of the enrollment that the device's token was signed with, or with one derived from it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<KeySlot>,
    },
    /// It does not.
    Refuses {
        /// Which rule says so.
        reason: String,
    },
}

/// Whether a device is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Admission {
    /// It is.
    Admitted(EnrollmentRef),
    /// It is who it says, and its enrollment is disabled.
    Disabled(EnrollmentRef),
    /// It must open a challenge in its TPM first.
    Challenged,
    /// It is not.
    Refused {
        /// Which rule says so.
        reason: String,
    },
}

/// A registration that was refused, kept for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The name that the device registered under.
    pub registration_id: RegistrationId,
    /// When.
    pub at: Timestamp,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// Whether the name was known: enrolled, or registered before.
    pub known: bool,
    /// Why it was refused.
    pub explanation: Explanation,
}
