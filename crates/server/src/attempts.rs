//! Writes the registrations that were refused, now and then.

use std::{sync::Arc, time::Duration};

use provisioning::Provisioning;
use tokio_util::sync::CancellationToken;

/// How often; an operator who looks for a device that was just refused waits no longer.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps attempts until `shutdown`, the last ones included.
pub(crate) async fn keep(provisioning: Arc<Provisioning>, shutdown: CancellationToken) {
    loop {
        let is_over = tokio::select! {
            () = shutdown.cancelled() => true,
            () = tokio::time::sleep(INTERVAL) => false,
        };
        match provisioning.flush_refusals().await {
            Ok(0) => {}
            Ok(dropped) => tracing::warn!(dropped, "more registrations were refused than are kept"),
            Err(error) => tracing::warn!(%error, "refused registrations were not kept"),
        }
        if is_over {
            return;
        }
    }
}
