//! CA certificates of an instance, which enrollments refer to by name and which complete what devices send.

use serde::{Deserialize, Serialize};

use crate::{CaReference, Certificate, CrlAddresses, Record, VerificationCode};

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
    /// What it means that no fresh list covers a certificate.
    pub policy: RevocationPolicy,
    /// Where its lists are fetched from on a schedule.
    pub fetched_from: CrlAddresses,
}

/// What it means for a device that no fresh revocation list of a CA covers a certificate which that CA issued. A
/// certificate that a list names is refused under either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationPolicy {
    /// It is let through, and the log says so.
    #[default]
    Soft,
    /// It is refused.
    Hard,
}
