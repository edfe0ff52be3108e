//! Explanations for operators why a device is let in or refused.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{EnrollmentRef, KeySlot, RefusalReason, RegistrationId, Timestamp};

/// Explains whether a device is let in. Contains no secrets, and is bounded whatever the device presents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What the device presented, in lines.
    pub presented: Vec<String>,
    /// The enrollments that were considered, in their order; if there are too many, the first ones and the one that decided.
    pub considered: Vec<ConsideredEnrollment>,
    /// How many more were considered.
    pub omitted: usize,
    /// The presented certificates that were not usable, with the rule that each breaks.
    pub unfit: Vec<String>,
    /// The outcome.
    pub outcome: Admission,
}

/// An enrollment that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsideredEnrollment {
    /// The enrollment.
    pub enrollment: EnrollmentRef,
    /// Whether it fits the device.
    pub fit: Fit,
}

/// Whether an enrollment fits a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fit {
    /// It fits.
    Fits {
        /// The subjects of the certificates from the device's leaf to the enrollment's; empty for other mechanisms.
        path: Vec<String>,
        /// The key of the enrollment that the device's token was signed with, or with one derived from it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<KeySlot>,
    },
    /// It does not fit.
    Refuses {
        /// The rule that the device breaks.
        reason: String,
    },
}

/// Whether a device is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Admission {
    /// It is let in.
    Admitted(EnrollmentRef),
    /// Its identity is proved, but its enrollment is disabled.
    Disabled(EnrollmentRef),
    /// It must answer a challenge to its TPM first.
    Challenged,
    /// It is refused.
    Refused {
        /// The rule that the device breaks.
        reason: String,
        /// Which rule that is; `None` in records of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<RefusalReason>,
    },
}

/// A refused registration attempt, kept for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The registration ID.
    pub registration_id: RegistrationId,
    /// The time of the attempt.
    pub at: Timestamp,
    /// The address of the device, if known.
    pub address: Option<IpAddr>,
    /// Whether the registration ID was known: enrolled, or registered before.
    pub known: bool,
    /// Why it was refused.
    pub explanation: Explanation,
}

impl Attempt {
    /// Returns the reason of the refusal, if it is known.
    pub fn reason(&self) -> Option<RefusalReason> {
        match &self.explanation.outcome {
            Admission::Refused { code, .. } => *code,
            Admission::Admitted(_) | Admission::Disabled(_) | Admission::Challenged => None,
        }
    }
}
