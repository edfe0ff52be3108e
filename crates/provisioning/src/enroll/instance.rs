//! Reads the instance itself for operators: its change log and its usage.

use std::sync::Arc;

use model::{Day, HostName, Instance, UsageRow};

use crate::{
    Error, Provisioning,
    ports::{LogError, LogLimits, LogPage, LogQuery, LogRetention},
};

/// How many days one usage report covers: with every kind of operation on every day it stays under 1 MB.
pub const MAX_USAGE_DAYS: i32 = 1000;

impl Provisioning {
    /// Returns the instance whose service operations endpoint has this host name.
    pub async fn instance_by_host(&self, host: &HostName) -> Result<Option<Arc<Instance>>, Error> {
        Ok(self.store.snapshot().await?.instance_by_host(host)?.cloned())
    }

    /// Returns a page of the change log of an instance. The call is not metered.
    pub async fn read_log(&self, instance: &Instance, query: LogQuery) -> Result<LogPage, LogError> {
        self.store.read_log(&instance.id_scope, query).await
    }

    /// Deletes some thousands of the oldest entries of the change log, of all instances, that need not be kept. Returns whether
    /// there are more.
    pub async fn trim_log(&self, limits: LogLimits) -> Result<bool, Error> {
        let since = self.clock.now().plus_seconds(-86_400 * i64::from(limits.days));
        Ok(self.store.trim_log(LogRetention { since, rows: limits.rows }).await?)
    }

    /// Returns operations by day and kind, from the first to the last day, both included. The call is not metered.
    pub async fn usage(&self, instance: &Instance, from: Day, to: Day) -> Result<Vec<UsageRow>, Error> {
        let days = to.number().saturating_sub(from.number());
        if !(0..MAX_USAGE_DAYS).contains(&days) {
            return Err(Error::Invalid(format!(
                "usage is reported for 1 to {MAX_USAGE_DAYS} days at a time, and not from {from} to {to}"
            )));
        }
        let mut rows = self.store.usage(&instance.id_scope, from, to).await?;
        rows.sort_by_key(|row| (row.day, row.kind));
        Ok(rows)
    }
}
