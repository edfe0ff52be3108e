//! The parts of revocation lists: reasons and numbers; and the age at which lists are stale.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CrlError, Time};

/// The age, in days, at which a list without a date for the next one is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct CrlMaxAge(u16);

/// The age is not within 1 to 3650 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the maximal age of a revocation list must be 1 to 3650 days, not {0}")]
pub struct CrlMaxAgeError(u16);

impl CrlMaxAge {
    /// Returns the date from which a list of this date is stale.
    pub(crate) fn after(self, made: Time) -> Time {
        made.plus_seconds(i64::from(self.0) * 86_400)
    }

    /// Returns whether it is the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for CrlMaxAge {
    /// Returns thirty days: RFC 5280 demands a date for the next list, so lists without one are created by hand.
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
    /// Not stated.
    #[default]
    Unspecified,
    /// The private key may be known to others.
    KeyCompromise,
    /// A CA's private key may be known to others.
    CaCompromise,
    /// The subject's name or other data changed.
    AffiliationChanged,
    /// The certificate was replaced.
    Superseded,
    /// The certificate is no longer needed.
    CessationOfOperation,
    /// The certificate is suspended and may become valid again.
    CertificateHold,
    /// A privilege that it certifies was withdrawn.
    PrivilegeWithdrawn,
    /// An attribute authority's private key may be known to others.
    AaCompromise,
}

impl RevocationReason {
    /// Reads a CRLReason; `removeFromCRL` occurs only in delta CRLs.
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

    /// Returns the name in RFC 5280.
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

/// A serial number or a list's number: at most 20 bytes (RFC 5280 §4.1.2.2, §5.2.3), right-aligned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number([u8; 20]);

impl Number {
    /// Creates a number from the bytes of an INTEGER; `None` if there are more than 20 after leading zeros.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5280 §5.3.1, in the order of the codes.
    #[test]
    fn reasons_are_read_by_their_codes() {
        let names: Vec<_> =
            (0..=11).map(|code| RevocationReason::of(code).map(|it| it.to_string())).collect();
        let expected = [
            "unspecified",
            "keyCompromise",
            "cACompromise",
            "affiliationChanged",
            "superseded",
            "cessationOfOperation",
            "certificateHold",
            "",
            "",
            "privilegeWithdrawn",
            "aACompromise",
            "",
        ];
        for (code, (name, expected)) in names.into_iter().zip(expected).enumerate() {
            assert_eq!(name.unwrap_or_default(), expected, "{code}");
        }
    }

    #[test]
    fn numbers_have_twenty_bytes_and_are_compared_by_value() {
        let text = |bytes: &[u8]| Number::of(bytes).map(|number| number.to_string());
        assert_eq!(text(&[]).as_deref(), Some("00"));
        assert_eq!(text(&[0, 0, 7]).as_deref(), Some("07"));
        assert_eq!(text(&[1, 0]).as_deref(), Some("0100"));
        assert_eq!(text(&[0xAB; 20]), Some("AB".repeat(20)));
        assert_eq!(text(&[0xAB; 21]), None);
        assert!(Number::of(&[0, 2]) == Number::of(&[2]) && Number::of(&[2]) < Number::of(&[1, 0]));
    }

    #[test]
    fn an_age_is_one_day_to_ten_years() {
        for (days, is_valid) in [(0, false), (1, true), (3650, true), (3651, false)] {
            let age = CrlMaxAge::try_from(days);
            assert_eq!(age.map(u16::from).ok(), is_valid.then_some(days));
        }
        assert!(CrlMaxAge::default().is_default() && !CrlMaxAge(1).is_default());
    }
}
