//! The reconciler: finds unfinished runs that nothing executes, and has them executed.
//!
//! A run that was not started is in the store. As a rule its device polls, and so starts it; for a device that does not, the
//! unfinished registrations are read again and again, a page at a time. Once another runner has released its lease or lost it,
//! all of them are read at once, for its runs are among them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use model::Instance;
use provisioning::{Error, ports::PageRequest};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::AssignmentRunner;

/// Between two pages.
const INTERVAL: Duration = Duration::from_secs(1);

/// Unfinished runs that are read at once.
const BATCH: usize = 100;

/// The pages of unfinished runs that are still to be read: instances, and after which of their registrations.
type Unread = VecDeque<(Arc<Instance>, Option<String>)>;

/// Finds unfinished runs. Each runner has one.
pub(crate) struct Reconciler {
    pub(crate) runner: AssignmentRunner,
}

impl Reconciler {
    /// Resumes runs until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut unread = Unread::new();
        while let Some(is_gone) = shutdown.run_until_cancelled(self.wait()).await {
            let resumed = match is_gone {
                true => self.runner.resume_all().await.map(drop),
                false => self.resume_some(&mut unread).await,
            };
            if let Err(error) = resumed {
                tracing::warn!(%error, "the unfinished runs could not be read");
            }
        }
    }

    /// Waits until the next page is due. Returns early, and true, if another runner has gone.
    async fn wait(&self) -> bool {
        timeout(INTERVAL, self.runner.peer_gone()).await.is_ok()
    }

    /// Resumes those of the next page of unfinished runs that are not in progress.
    async fn resume_some(&self, unread: &mut Unread) -> Result<(), Error> {
        let provisioning = self.runner.provisioning();
        if unread.is_empty() {
            let instances = provisioning.instances().await?;
            unread.extend(instances.into_iter().map(|instance| (instance, None)));
        }
        let Some((instance, after)) = unread.pop_front() else { return Ok(()) };
        let page = PageRequest { after, limit: BATCH };
        let page = provisioning.unfinished_runs(&instance.id_scope, page).await?;
        self.runner.resume_page(&instance, page.items);
        if page.next.is_some() {
            unread.push_back((instance, page.next));
        }
        Ok(())
    }
}
