//! The hold that makes the cleanups of an instance wait for an operator.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A hold of the cleanups of an instance, until an operator confirms them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupHold {
    /// The reason.
    pub reason: HoldReason,
    /// When it began.
    pub since: Timestamp,
}

/// What the start found out about the database. Either way, devices may now be assigned where an old cleanup would remove them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldReason {
    /// The database is older than the last run of the service: it was restored from a backup.
    Restored,
    /// The database was used elsewhere, or its epoch file was lost.
    Copied,
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HoldReason::Restored => "the database was restored from a backup",
            HoldReason::Copied => "the database was copied or moved, or its epoch file was lost",
        })
    }
}
