//! How often something was tried that goes on until it is done.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Tries so far. None of them led to an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// How many.
    pub count: u32,
    /// When the next one is due; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Why the last one led to no end, for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Tries {
    /// Whether there were none.
    pub fn are_none(&self) -> bool {
        *self == Tries::default()
    }
}
