//! Registrations that were refused.

use async_trait::async_trait;
use model::{Attempt, IdScope, RegistrationId, Timestamp};

use super::{Page, PageRequest, StoreError};

/// Most refused attempts that are kept of one registration ID: enough to see a device fail for different reasons. One that
/// tries once a minute displaces its attempts of yesterday.
pub const ATTEMPTS_OF_ONE: usize = 20;

/// Most that are kept of all known registration IDs of an instance, and again of all unknown ones; at most 3 KiB each.
pub const ATTEMPTS_OF_A_KIND: usize = 5_000;

/// A request for refused attempts, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptQuery {
    /// Only those of this registration ID.
    pub registration_id: Option<RegistrationId>,
    /// Which part. It continues after the number of an attempt, which a page ended with.
    pub page: PageRequest,
}

/// Which refused attempts need not be kept any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRetention {
    /// Those that were written before this time.
    pub before: Timestamp,
    /// Of these instances instead, those that were written before their own time.
    pub of_instances: Vec<(IdScope, Timestamp)>,
}

/// Refused attempts, the newest of each registration ID.
#[async_trait]
pub trait Attempts: Send + Sync {
    /// Keeps attempts, and deletes those beyond [`ATTEMPTS_OF_ONE`] and [`ATTEMPTS_OF_A_KIND`], oldest first.
    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError>;

    /// Returns the attempts that are kept, newest first.
    async fn attempts(&self, scope: &IdScope, query: AttemptQuery) -> Result<Page<Attempt>, StoreError>;

    /// Deletes attempts that need not be kept any more.
    async fn trim_attempts(&self, retention: AttemptRetention) -> Result<(), StoreError>;
}
