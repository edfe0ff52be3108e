//! Writes the refused attempts that this process has buffered.

use std::time::Duration;

use provisioning::Provisioning;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Failing;

/// Between two flushes: an operator who looks for a device that was just refused at another process waits no longer.
const INTERVAL: Duration = Duration::from_secs(1);

/// Flushes the buffer until `shutdown`, and once more then. A process that is killed loses the refusals of the last interval,
/// and while the store takes no writes the buffer keeps only the newest: see `docs/limits.md`.
pub(crate) async fn flush_refusals(provisioning: &Provisioning, shutdown: CancellationToken) {
    let mut failing = Failing::default();
    loop {
        let is_last = shutdown.run_until_cancelled(sleep(INTERVAL)).await.is_none();
        let flushed = provisioning.flush_refusals().await;
        if let Some(error) = failing.first(&flushed) {
            tracing::warn!(%error, "refused registrations cannot be written");
        }
        if let Ok(dropped @ 1..) = flushed {
            tracing::warn!(dropped, "more registrations were refused than are kept");
        }
        if is_last {
            return;
        }
    }
}
