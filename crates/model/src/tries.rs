//! Tries of something that is repeated until it succeeds.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The tries so far, all of which failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// How many there were.
    pub count: u32,
    /// When the next one is due; `None` for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Why the last one failed, for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Tries {
    /// Whether there were none.
    pub fn are_none(&self) -> bool {
        *self == Tries::default()
    }
}
