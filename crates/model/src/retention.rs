//! How long records for operators are kept.

use serde::{Deserialize, Serialize};

/// An age of 1 to 3650 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct KeepDays(u16);

/// The age is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 3650 days, not {0}")]
pub struct KeepDaysError(u16);

impl TryFrom<u16> for KeepDays {
    type Error = KeepDaysError;
    fn try_from(days: u16) -> Result<Self, KeepDaysError> {
        if (1..=3650).contains(&days) { Ok(KeepDays(days)) } else { Err(KeepDaysError(days)) }
    }
}

impl From<KeepDays> for u16 {
    fn from(days: KeepDays) -> u16 {
        days.0
    }
}
