//! The jobs: periodic work that no request causes.
//!
//! Most of them one runner does for all processes, under a lease; the buffer of refused attempts is of each process.

mod cleanups;
mod deletions;
mod expiry;
mod refusals;
mod retention;
mod revocation_lists;
mod search;

use std::{mem, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use model::LeaseToken;
use provisioning::{
    Error,
    ports::{LogLimits, RevocationListSource},
};
use tokio::time::sleep;

use crate::lease::LeaseHandle;
pub(crate) use cleanups::CleanupJob;
pub(crate) use deletions::DeletionJob;
pub(crate) use expiry::ExpiryJob;
pub use expiry::{ExpiringCount, ExpiringCounts};
pub(crate) use refusals::flush_refusals;
pub(crate) use retention::RetentionJob;
pub(crate) use revocation_lists::RevocationListJob;
pub(crate) use search::SearchJob;

/// The pause after a job ended in a panic.
const AFTER_PANIC: Duration = Duration::from_secs(30);

/// What the jobs need besides the verbs.
pub struct JobPorts {
    /// Fetches revocation lists.
    pub lists: Arc<dyn RevocationListSource>,
    /// How much is kept of what grows.
    pub retention: Retention,
}

/// How much is kept of what grows without operators: the change log, and refused attempts.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// How much of the change log.
    pub change_log: LogLimits,
    /// How long attempts, in days.
    pub attempts_days: u32,
}

/// Whether the last try failed: of several failures in a row the first one is logged.
#[derive(Default)]
struct Failing(bool);

impl Failing {
    /// Returns the error of a try if the one before succeeded.
    fn first<'a, T>(&mut self, tried: &'a Result<T, Error>) -> Option<&'a Error> {
        let failed_before = mem::replace(&mut self.0, tried.is_err());
        tried.as_ref().err().filter(|_| !failed_before)
    }
}

/// Work that one runner does for all processes.
#[async_trait]
pub(crate) trait LeasedTask: Send + Sync {
    /// Works under this lease, which its commits carry. Never ends; it is dropped once the lease is lost.
    async fn run(&self, fence: LeaseToken);
}

/// A job that one runner does for all processes.
pub(crate) struct LeasedJob {
    pub(crate) lease: LeaseHandle,
    pub(crate) work: Box<dyn LeasedTask>,
}

impl LeasedJob {
    /// Works whenever this process has the lease. Never ends: a job that panics on a record begins again, and nothing else of the
    /// process ends with it.
    pub(crate) async fn run(&self) {
        loop {
            let token = self.lease.held().await;
            let work = AssertUnwindSafe(self.work.run(token)).catch_unwind();
            if let Some(Err(_)) = self.lease.while_held(token, work).await {
                tracing::error!("a job ended in a panic; it begins again");
                sleep(AFTER_PANIC).await;
            }
        }
    }
}
