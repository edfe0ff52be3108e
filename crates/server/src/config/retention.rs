//! How long records for operators are kept.

use provisioning::ports::LogLimits;
use serde::Deserialize;

use super::listen;

/// The retention of the change log: the bound that is reached first applies.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeLogConfig {
    /// The age in days: 1 to 3650.
    #[serde(deserialize_with = "listen::within::<1, 3650, _>")]
    pub keep_days: u32,
    /// The number of changes, of about 80 bytes each: 1,000 to a billion.
    #[serde(deserialize_with = "listen::within::<1_000, 1_000_000_000, _>")]
    pub keep_rows: u32,
}

impl Default for ChangeLogConfig {
    fn default() -> Self {
        ChangeLogConfig { keep_days: 30, keep_rows: 2_000_000 }
    }
}

impl ChangeLogConfig {
    /// Returns the limits of the change log.
    pub(crate) fn limits(self) -> LogLimits {
        LogLimits { days: self.keep_days, rows: self.keep_rows.into() }
    }
}

/// The retention of refused attempts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptsConfig {
    /// The age in days: 1 to 3650.
    #[serde(deserialize_with = "listen::within::<1, 3650, _>")]
    pub keep_days: u32,
}

impl Default for AttemptsConfig {
    fn default() -> Self {
        AttemptsConfig { keep_days: 30 }
    }
}
