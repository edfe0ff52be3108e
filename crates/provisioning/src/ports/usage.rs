//! How many operations were counted.

use async_trait::async_trait;
use model::{Day, IdScope, UsageRow};

use super::StoreError;

/// Reads the metering. Operations are counted by [`Commits`](super::Commits).
#[async_trait]
pub trait Usage: Send + Sync {
    /// Returns the operations by day and kind, from the first to the last day, both included.
    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError>;
}
