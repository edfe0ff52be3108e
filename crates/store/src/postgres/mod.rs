//! The engine for several processes: a PostgreSQL database, which each of them reads and writes.
//!
//! ```text
//!   apply ──► lane ──► one transaction for all batches that wait, change log included ──► COMMIT ──► outcomes
//!   read  ──► reader ──► one statement for all reads that wait
//!   scan, count, usage, read_log ──► one connection, whose statements can be repeated; leases ──► another one
//! ```
//!
//! The SQL is what PostgreSQL, CockroachDB and YugabyteDB have in common. It is tested on PostgreSQL 15.

mod attempts;
mod configuration;
mod import;
mod lane;
mod leases;
mod log;
mod migrate;
mod open;
mod queries;
mod reader;
mod scan;
mod schema;
mod search;
mod session;
mod settings;
mod transaction;
mod unfinished_copy;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use async_trait::async_trait;
use model::{Day, Timestamp, UsageRow};
use provisioning::ports::{
    FoundTerm, LogError, LogPage, LogQuery, LogRetention, Outcome, StoreError, TermRange,
};

pub use self::{
    open::{ConnectError, PostgresStore},
    schema::{Schema, SchemaError},
    settings::{Settings, SettingsError},
};
use crate::{
    batch::Batch,
    broken,
    engine::{
        AttemptRow, ConfigurationRows, Engine, FoundRow, Listing, Lookup, Reading, SearchRows, attempt_number,
    },
    postgres::{lane::LaneQueue, queries::Queries, reader::Readers},
    table::Table,
};

/// A PostgreSQL database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Postgres {
    lanes: Arc<[LaneQueue]>,
    readers: Readers,
    queries: Arc<Queries>,
    /// A connection of their own: no long listing may keep a lease from being renewed.
    lease_queries: Arc<Queries>,
    /// The writer of the change log.
    writer: i64,
}

#[async_trait]
impl Engine for Postgres {
    async fn read(&self, lookup: Lookup) -> Result<Reading, StoreError> {
        self.readers.read(lookup).await
    }

    async fn configuration(&self, since: Option<u64>) -> Result<ConfigurationRows, StoreError> {
        configuration::read(&self.queries, since).await
    }

    async fn scan(&self, instance: i64, listing: Listing) -> Result<(Vec<FoundRow>, bool), StoreError> {
        scan::scan(&self.queries, number(instance), &listing).await
    }

    async fn count(&self, instance: i64, table: Table, at_most: u64) -> Result<u64, StoreError> {
        let table = table.name();
        let sql =
            format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE instance = $1 LIMIT {at_most}) AS t");
        let row = self.queries.query_opt(&sql, &[&number(instance)]).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(broken)?;
        u64::try_from(count).map_err(broken)
    }

    async fn usage(
        &self,
        instance: i64,
        days: (Day, Day),
    ) -> Result<Vec<Result<UsageRow, String>>, StoreError> {
        scan::usage(&self.queries, number(instance), days).await
    }

    async fn apply(&self, batch: Batch) -> Result<Option<Vec<Outcome>>, StoreError> {
        self.lane(&batch).commit(batch).await
    }

    async fn keep_attempts(&self, instance: i64, rows: Vec<AttemptRow>) -> Result<(), StoreError> {
        attempts::keep(&self.queries, number(instance), &rows).await
    }

    async fn trim_attempts(&self, before: Timestamp, own: Vec<(i64, Timestamp)>) -> Result<(), StoreError> {
        let own: Vec<(i32, i64)> = own.into_iter().map(|(it, at)| (number(it), attempt_number(at))).collect();
        attempts::trim(&self.queries, attempt_number(before), own).await
    }

    async fn forget(&self, instance: i64) -> Result<(), StoreError> {
        attempts::forget(&self.queries, number(instance)).await
    }

    async fn read_log(&self, instance: i64, query: LogQuery) -> Result<LogPage, LogError> {
        log::read(&self.queries, self.writer, number(instance), &query).await
    }

    async fn search_progress(&self, instance: i64) -> Result<Option<String>, StoreError> {
        search::progress(&self.queries, number(instance)).await
    }

    async fn update_search(&self, instance: i64, rows: SearchRows) -> Result<bool, StoreError> {
        search::update(&self.queries, number(instance), &rows).await
    }

    async fn clear_search(&self, instance: i64) -> Result<bool, StoreError> {
        search::clear(&self.queries, number(instance)).await
    }

    async fn count_terms(
        &self,
        instance: i64,
        range: &TermRange,
        at_most: usize,
    ) -> Result<usize, StoreError> {
        search::count(&self.queries, number(instance), range, at_most).await
    }

    async fn terms(
        &self,
        instance: i64,
        range: &TermRange,
        at_most: usize,
    ) -> Result<Vec<FoundTerm>, StoreError> {
        search::terms(&self.queries, number(instance), range, at_most).await
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        log::trim(&self.queries, keep).await
    }
}

impl Postgres {
    /// Returns the lane of a batch: commits of one record take the same one, so that they keep their order.
    fn lane(&self, batch: &Batch) -> &LaneQueue {
        let mut hasher = DefaultHasher::new();
        batch.changes.first().map(|change| &change.key.id).hash(&mut hasher);
        let lanes = self.lanes.len() as u64;
        &self.lanes[(hasher.finish() % lanes) as usize]
    }
}

/// Returns the number of an instance as rows hold it; zero, which is none, beyond the range.
fn number(instance: i64) -> i32 {
    i32::try_from(instance).unwrap_or(0)
}
