//! Fills the search tables from the change log.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use model::{IdScope, LeaseToken};
use provisioning::{Error, Provisioning, resource::Portion};
use tokio::time::{Instant, sleep};

use super::{Failing, LeasedTask};

/// Between two looks at the change log: most of the time that a search table is behind.
const INTERVAL: Duration = Duration::from_millis(500);

/// Brings the search tables of all instances up to date. Portions are compare-and-sets, and so need no fence.
pub(crate) struct SearchJob {
    pub(crate) provisioning: Arc<Provisioning>,
}

#[async_trait]
impl LeasedTask for SearchJob {
    async fn run(&self, _fence: LeaseToken) {
        let mut failing = Failing::default();
        loop {
            sleep(INTERVAL).await;
            let followed = self.follow_all().await;
            if let Some(error) = failing.first(&followed) {
                tracing::warn!(%error, "a search table could not be brought up to date");
            }
        }
    }
}

impl SearchJob {
    /// Those after an instance that fails are not held up; the error is the last one.
    async fn follow_all(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for instance in self.provisioning.instances().await? {
            if let Err(error) = self.follow(&instance.id_scope).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn follow(&self, scope: &IdScope) -> Result<(), Error> {
        loop {
            let began = Instant::now();
            if self.provisioning.follow_changes(scope).await? == Portion::Done {
                return Ok(());
            }
            // Half of the time belongs to others: a table of a million records is built in the background.
            sleep(began.elapsed()).await;
        }
    }
}
