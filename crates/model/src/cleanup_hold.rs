//! Why the cleanups of an instance wait for an operator.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The cleanups of an instance wait until an operator confirms that they may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupHold {
    /// Why.
    pub reason: HoldReason,
    /// Since when.
    pub since: Timestamp,
}

/// What was noticed of the database. Either way, devices may by now live where an old cleanup would remove them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldReason {
    /// It is older than the service was: it comes from a backup.
    Restored,
    /// It was in use elsewhere, or the file that tells was lost.
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
