//! What revocation lists are made of: reasons and numbers; and what is kept with them: IDs and the age at which they are
//! stale.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CrlError, Timestamp};

/// What tells the lists of one CA apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListId(Box<str>);

impl ListId {
    /// The ID for a list of a scope that is not stored yet, from the bytes that state the scope.
    pub(crate) fn of_scope(extension: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, extension);
        ListId(digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The ID of the only list that a CA could have when lists had none.
    pub fn first() -> Self {
        ListId(Self::FIRST.into())
    }

    /// The text of that ID.
    pub const FIRST: &str = "0";

    /// The ID that a list is stored under, whether or not the list can be read.
    pub fn named(text: &str) -> Self {
        ListId(text.into())
    }

    /// Whether it is that one.
    pub fn is_first(&self) -> bool {
        *self == Self::first()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The age from which on a list that does not say when the next one is due is stale, in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct CrlMaxAge(u16);

/// An age is outside of what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the maximal age of a revocation list must be 1 to 3650 days, not {0}")]
pub struct CrlMaxAgeError(u16);

impl CrlMaxAge {
    /// When a list that was made at this time is stale.
    pub(crate) fn after(self, made: Timestamp) -> Timestamp {
        made.plus_seconds(i64::from(self.0) * 86_400)
    }

    /// Whether it is the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for CrlMaxAge {
    /// Thirty days: RFC 5280 demands a date for the next list, so that CAs without one are made by hand, and renewed so.
    fn default() -> Self {
        CrlMaxAge(30)
    }
}

impl TryFrom<u16> for CrlMaxAge {
    type Error = CrlMaxAgeError;
    fn try_from(days: u16) -> Result<Self, CrlMaxAgeError> {
        if (1..=3650).contains(&days) { Ok(CrlMaxAge(days)) } else { Err(CrlMaxAgeError(days)) }
    }
}

impl From<CrlMaxAge> for u16 {
    fn from(age: CrlMaxAge) -> u16 {
        age.0
    }
}

/// Why a CA revoked a certificate (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationReason {
    /// It does not say.
    #[default]
    Unspecified,
    /// The key may be in other hands.
    KeyCompromise,
    /// A CA's key may be in other hands.
    CaCompromise,
    /// The subject's name changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// It is not needed any more.
    CessationOfOperation,
    /// It is on hold, perhaps to come back.
    CertificateHold,
    /// It may no longer do what it says.
    PrivilegeWithdrawn,
    /// An attribute authority's key may be in other hands.
    AaCompromise,
}

impl RevocationReason {
    pub(crate) fn of(code: u8) -> Result<Self, CrlError> {
        Ok(match code {
            0 => RevocationReason::Unspecified,
            1 => RevocationReason::KeyCompromise,
            2 => RevocationReason::CaCompromise,
            3 => RevocationReason::AffiliationChanged,
            4 => RevocationReason::Superseded,
            5 => RevocationReason::CessationOfOperation,
            6 => RevocationReason::CertificateHold,
            8 => return Err(CrlError::Delta),
            9 => RevocationReason::PrivilegeWithdrawn,
            10 => RevocationReason::AaCompromise,
            other => return Err(CrlError::Malformed(format!("reason {other} does not exist"))),
        })
    }

    /// As RFC 5280 spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            RevocationReason::Unspecified => "unspecified",
            RevocationReason::KeyCompromise => "keyCompromise",
            RevocationReason::CaCompromise => "cACompromise",
            RevocationReason::AffiliationChanged => "affiliationChanged",
            RevocationReason::Superseded => "superseded",
            RevocationReason::CessationOfOperation => "cessationOfOperation",
            RevocationReason::CertificateHold => "certificateHold",
            RevocationReason::PrivilegeWithdrawn => "privilegeWithdrawn",
            RevocationReason::AaCompromise => "aACompromise",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A serial number or a list's number: at most 20 bytes (RFC 5280 §4.1.2.2, §5.2.3), on the right of its field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number([u8; 20]);

impl Number {
    /// From the bytes of an INTEGER; `None` when there are more than 20 after leading zeros.
    pub(crate) fn of(bytes: &[u8]) -> Option<Number> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let significant = bytes.get(zeros..)?;
        let mut number = [0; 20];
        let start = number.len().checked_sub(significant.len())?;
        number.get_mut(start..)?.copy_from_slice(significant);
        Some(Number(number))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.iter().position(|byte| *byte != 0).unwrap_or(self.0.len() - 1);
        self.0.iter().skip(first).try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
