//! The fencing token of a lease.

use serde::{Deserialize, Serialize};

/// Identifies one tenure of a lease: each change of holder makes a new token, greater than all tokens that the store gave
/// before, of whichever lease. A write that carries a token is refused once another holder has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseToken(u64);

impl LeaseToken {
    /// Wraps the number that the store gave.
    pub const fn new(number: u64) -> LeaseToken {
        LeaseToken(number)
    }

    /// Returns the number that the store gave.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
