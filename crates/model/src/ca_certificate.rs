//! CA certificates of an instance, which enrollments refer to by name and which complete what devices send.

use serde::{Deserialize, Serialize};

use crate::{CaReference, Certificate, CrlAddress, Record, VerificationCode};

/// A CA certificate that an operator uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaCertificate {
    /// What enrollments call it.
    pub name: CaReference,
    /// The certificate: a root, or an intermediate.
    pub certificate: Certificate,
    /// Whether its owner proved to hold the key, or said so.
    pub is_verified: bool,
    /// The code that a proof must bear, if one was asked for and not yet used.
    pub verification_code: Option<VerificationCode>,
    /// How what it revokes is looked up.
    pub revocation: RevocationSettings,
    /// Version and dates.
    pub record: Record,
}

/// How what a CA revokes is looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationSettings {
    /// What a list that is missing or stale means.
    pub policy: RevocationPolicy,
    /// Where its list is fetched from on a schedule; not at all when absent.
    pub fetched_from: Option<CrlAddress>,
}

/// What it means for a device that a CA's revocation list is missing or stale. A certificate that a list names is
/// refused under either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationPolicy {
    /// It is let through, and the log says so.
    #[default]
    Soft,
    /// It is refused.
    Hard,
}
