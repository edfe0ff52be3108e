//! Deletes entries of the change log, and refused attempts, that need not be kept.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use model::LeaseToken;
use provisioning::{Error, Provisioning};
use tokio::time::sleep;

use super::{Failing, LeasedTask, Retention};

/// Between two searches for old entries.
const INTERVAL: Duration = Duration::from_secs(60);

/// Between two portions, so that other writes come in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Trims the change log and the refused attempts. It may be repeated, and so needs no fence.
pub(crate) struct RetentionJob {
    pub(crate) provisioning: Arc<Provisioning>,
    pub(crate) retention: Retention,
}

impl RetentionJob {
    /// Deletes old entries of the change log, portion by portion.
    async fn trim_log(&self) -> Result<(), Error> {
        while self.provisioning.trim_log(self.retention.change_log).await? {
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

#[async_trait]
impl LeasedTask for RetentionJob {
    async fn run(&self, _fence: LeaseToken) {
        let mut failing = Failing::default();
        loop {
            // A failure of one does not hold up the other.
            let attempts = self.provisioning.trim_attempts(self.retention.attempts_days).await;
            let trimmed = self.trim_log().await.and(attempts);
            if let Some(error) = failing.first(&trimmed) {
                tracing::warn!(%error, "old entries of the change log, or old attempts, could not be deleted");
            }
            sleep(INTERVAL).await;
        }
    }
}
