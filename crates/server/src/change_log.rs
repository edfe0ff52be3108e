//! Drops entries of the change log that need not be kept.

use std::{sync::Arc, time::Duration};

use provisioning::ports::{Clock, LogRetention, Store};
use tokio_util::sync::CancellationToken;

use crate::{config::ChangeLogConfig, ports::SystemClock};

/// How often it is looked for old entries.
const INTERVAL: Duration = Duration::from_secs(60);

/// Between two portions: other writes come in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Trims the log until `shutdown`.
pub(crate) async fn trim(store: Arc<dyn Store>, config: ChangeLogConfig, shutdown: CancellationToken) {
    let mut failing = false;
    loop {
        let since = SystemClock.now().plus_seconds(-86_400 * i64::from(config.keep_days));
        let trimmed = store.trim_log(LogRetention { since, rows: config.keep_rows.into() }).await;
        if let (Err(error), false) = (&trimmed, failing) {
            tracing::warn!(%error, "old entries of the change log were not dropped");
        }
        failing = trimmed.is_err();
        let pause = if trimmed.unwrap_or(false) { PAUSE } else { INTERVAL };
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
