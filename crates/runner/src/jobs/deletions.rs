//! Deletes what belonged to deleted instances.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use model::{IdScope, LeaseToken};
use provisioning::{Error, Provisioning, resource::Portion};
use tokio::time::sleep;

use super::{Failing, LeasedTask};

/// Between two searches for deleted instances.
const INTERVAL: Duration = Duration::from_millis(500);

/// Between two portions, so that other writes come in between.
const PAUSE: Duration = Duration::from_millis(2);

/// Deletes what belonged to deleted instances. What a crash leaves is found again.
pub(crate) struct DeletionJob {
    pub(crate) provisioning: Arc<Provisioning>,
}

#[async_trait]
impl LeasedTask for DeletionJob {
    async fn run(&self, fence: LeaseToken) {
        let mut failing = Failing::default();
        loop {
            sleep(INTERVAL).await;
            let deleted = self.delete_all(fence).await;
            if let Some(error) = failing.first(&deleted) {
                tracing::warn!(%error, "the records of a deleted instance could not be deleted");
            }
        }
    }
}

impl DeletionJob {
    /// Deletes what is due of all instances. Those after one that fails are not held up; the error is the last one.
    async fn delete_all(&self, fence: LeaseToken) -> Result<(), Error> {
        let mut outcome = Ok(());
        for scope in self.provisioning.due_deletions().await? {
            if let Err(error) = self.delete(&scope, fence).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn delete(&self, scope: &IdScope, fence: LeaseToken) -> Result<(), Error> {
        while self.provisioning.delete_portion(scope, fence).await? == Portion::More {
            sleep(PAUSE).await;
        }
        Ok(())
    }
}
