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

#[cfg(test)]
mod tests {
    use durable::Sealer;
    use model::LogEntry;
    use provisioning::ports::{Change, ChangeLog, Commit, Commits, Expect, InstanceWriter, LogQuery};
    use store::EmbeddedStore;
    use testkit::sample;

    use super::*;

    async fn entries(store: &EmbeddedStore) -> Vec<LogEntry> {
        let query = LogQuery { limit: 1000, ..LogQuery::default() };
        store.read_log(&sample::scope("one"), query).await.unwrap().entries
    }

    /// Logs one change for each of these ages in days, runs the job until it rests, and returns the ages that are left.
    async fn left_of(ages: &[i64], config: ChangeLogConfig) -> Vec<i64> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let store = Arc::new(EmbeddedStore::open(&path, Sealer::from_key([7; 32])).unwrap());
        let now = SystemClock.now();
        let by = |age: &i64| model::Attribution { at: now.plus_seconds(-86_400 * age - 60), ..sample::by() };
        store.put_instance(sample::instance("one"), by(&ages[0])).await.unwrap();
        for (number, age) in ages.iter().enumerate() {
            let group = sample::group(&format!("line-{number}"));
            let changes = vec![(Expect::Absent, Change::PutGroup(Box::new(group)))];
            store.commit(&sample::scope("one"), Commit { changes, ..Commit::by(by(age)) }).await.unwrap();
        }
        let (before, batches) = (entries(&store).await.len(), store.batches());
        assert_eq!(before, ages.len() + 1);
        let shutdown = CancellationToken::new();
        let job = tokio::spawn(trim(store.clone(), config, shutdown.clone()));
        while store.batches() == batches {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shutdown.cancel();
        job.await.unwrap();
        let age = |entry: LogEntry| (now.unix_seconds() - entry.attribution.at.unix_seconds()) / 86_400;
        entries(&store).await.into_iter().map(age).collect()
    }

    #[tokio::test]
    async fn entries_are_kept_as_long_as_retention_says() {
        let ages = [9, 8, 7, 6, 2, 1, 0];
        let by_days = ChangeLogConfig { keep_days: 7, keep_rows: 1000 };
        assert_eq!(left_of(&ages, by_days).await, [6, 2, 1, 0]);
        let by_rows = ChangeLogConfig { keep_days: 30, keep_rows: 3 };
        assert_eq!(left_of(&ages, by_rows).await, [2, 1, 0]);
        let both = ChangeLogConfig { keep_days: 2, keep_rows: 5 };
        assert_eq!(left_of(&ages, both).await, [1, 0]);
        let old = ChangeLogConfig { keep_days: 1, keep_rows: 5 };
        assert_eq!(left_of(&[9, 9, 8], old).await, [8], "the newest is always kept");
    }
}
