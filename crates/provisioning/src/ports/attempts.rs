//! Registrations that were refused.

use async_trait::async_trait;
use model::{Attempt, IdScope, RegistrationId};

use super::{Page, StoreError};

/// Most refused attempts that are kept of one registration ID: enough to see whether they have one reason.
pub const ATTEMPTS_OF_ONE: usize = 5;

/// Most that are kept of all known registration IDs of an instance, and again of all unknown ones; at most 3 KiB each.
pub const ATTEMPTS_OF_A_KIND: usize = 5_000;

/// Refused attempts, the newest of each registration ID.
#[async_trait]
pub trait Attempts: Send + Sync {
    /// Keeps attempts, and deletes those beyond [`ATTEMPTS_OF_ONE`] and [`ATTEMPTS_OF_A_KIND`], oldest first.
    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError>;

    /// Returns the attempts that are kept of a registration ID, newest first.
    async fn attempts(&self, scope: &IdScope, id: &RegistrationId) -> Result<Page<Attempt>, StoreError>;
}
