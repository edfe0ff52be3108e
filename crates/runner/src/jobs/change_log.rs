//! Deletes entries of the change log that need not be kept.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use model::LeaseToken;
use provisioning::{Provisioning, ports::LogLimits};
use tokio::time::sleep;

use super::LeasedTask;

/// Between two searches for old entries.
const INTERVAL: Duration = Duration::from_secs(60);

/// Between two portions, so that other writes come in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Trims the change log. It may be repeated, and so needs no fence.
pub(crate) struct ChangeLogJob {
    pub(crate) provisioning: Arc<Provisioning>,
    pub(crate) limits: LogLimits,
}

#[async_trait]
impl LeasedTask for ChangeLogJob {
    async fn run(&self, _fence: LeaseToken) {
        let mut failing = false;
        loop {
            let trimmed = self.provisioning.trim_log(self.limits).await;
            if let (Err(error), false) = (&trimmed, failing) {
                tracing::warn!(%error, "old entries of the change log could not be deleted");
            }
            failing = trimmed.is_err();
            sleep(if trimmed.unwrap_or(false) { PAUSE } else { INTERVAL }).await;
        }
    }
}
