//! The first engine: one SQLite file, with one writer thread and group commit (crate `durable`).
//!
//! ```text
//!   apply ──► SQL in the writer's batch, change log included ──► on disk ──► outcomes
//!   read, configuration ──► SQL on the calling thread
//!   scan, count, usage, read_log ──► SQL on a thread that may block: a long read would hold up the devices on this one
//! ```

mod apply;
mod attempts;
mod backup;
mod broken_rows;
mod configuration;
mod hub_devices;
mod leases;
mod log;
mod maintenance;
mod open;
mod scan;
mod schema;
mod search;
mod statements;

use async_trait::async_trait;
use durable::{
    Database, WriteError,
    rusqlite::{self, Connection, ErrorCode, OptionalExtension},
};
use model::{Day, HubDeviceRef, Timestamp, UsageRow};
use provisioning::{
    RecordKind,
    ports::{
        DamagedRecord, FoundTerm, LogError, LogPage, LogQuery, LogRetention, Outcome, StoreError, TermRange,
    },
};
use tokio::task;

pub use self::{
    backup::NewestChange,
    maintenance::{Inspection, RecordName, RepairError},
    open::{EmbeddedStore, OpenError},
};
use crate::{
    batch::Batch,
    broken,
    engine::{
        AttemptRow, ConfigurationRows, Document, Engine, FoundRow, Listing, Lookup, Reading, SearchRows,
        attempt_number,
    },
    sqlite::{broken_rows::damage_in, leases::ProcessLeases},
    table::Table,
};

/// An SQLite file. Clones share it; the last to go closes the file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    database: Database,
    leases: ProcessLeases,
}

impl Sqlite {
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.database.write(write).await.map_err(not_written)
    }

    /// Reads one document on the calling thread, if an ID is named. The instance is `?1`, the ID `?2`.
    fn document(&self, sql: &str, instance: i64, id: Option<String>) -> Result<Option<Document>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        let read = self.database.read(|connection| {
            connection.prepare_cached(sql)?.query_row((instance, id), |row| row.get(0)).optional()
        });
        match read {
            Ok(found) => Ok(found.map(Ok)),
            Err(error) => damage_in(&error).map(|reason| Some(Err(reason))).ok_or_else(|| broken(error)),
        }
    }

    fn other_owner(
        &self,
        device: &HubDeviceRef,
        except: (i64, &str),
    ) -> Result<Option<(String, String)>, StoreError> {
        self.database
            .read(|connection| hub_devices::owner(connection, device, except))
            .map_err(|error: rusqlite::Error| broken(error))
    }

    /// Reads on a thread that may block.
    async fn read_aside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<rusqlite::Result<T>, StoreError> {
        let database = self.database.clone();
        task::spawn_blocking(move || database.read(read)).await.map_err(broken)
    }
}

#[async_trait]
impl Engine for Sqlite {
    async fn read(&self, lookup: Lookup) -> Result<Reading, StoreError> {
        let Lookup { instance, registration, individual, cleanup, other_owner } = lookup;
        // Before the rows: a batch that ends in between is then noticed by the next read.
        let activity = self.database.commits();
        Ok(Reading {
            activity,
            registration: self.document(scan::REGISTRATION, instance, registration)?,
            individual: self.document(scan::INDIVIDUAL, instance, individual)?,
            cleanup: self.document(scan::CLEANUP, instance, cleanup)?,
            other_owner: match other_owner {
                Some((device, id)) => self.other_owner(&device, (instance, &id))?,
                None => None,
            },
        })
    }

    async fn configuration(&self, since: Option<u64>) -> Result<ConfigurationRows, StoreError> {
        self.database
            .read(|connection| configuration::read(connection, since))
            .map_err(|error: rusqlite::Error| broken(error))
    }

    async fn scan(&self, instance: i64, listing: Listing) -> Result<(Vec<FoundRow>, bool), StoreError> {
        let table = listing.table().name();
        let read = self.read_aside(move |connection| scan::scan(connection, instance, &listing)).await?;
        read.map_err(|error| match damage_in(&error) {
            Some(reason) => broken(format!("the index of {table} is damaged: {reason}")),
            None => broken(error),
        })
    }

    async fn count(&self, instance: i64, table: Table, at_most: u64) -> Result<u64, StoreError> {
        let table = table.name();
        let sql = format!("SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE instance = ?1 LIMIT {at_most})");
        let count = self.read_aside(move |connection| {
            connection.prepare_cached(&sql)?.query_row([instance], |row| row.get::<_, i64>(0))
        });
        u64::try_from(count.await?.map_err(broken)?).map_err(broken)
    }

    async fn usage(
        &self,
        instance: i64,
        days: (Day, Day),
    ) -> Result<Vec<Result<UsageRow, String>>, StoreError> {
        let read = self.read_aside(move |connection| scan::usage(connection, instance, days)).await?;
        read.map_err(|error| match damage_in(&error) {
            Some(reason) => {
                let (kind, id) = (RecordKind::Usage, "usage".to_owned());
                StoreError::Damaged(DamagedRecord { kind, id, reason })
            }
            None => broken(error),
        })
    }

    async fn apply(&self, batch: Batch) -> Result<Option<Vec<Outcome>>, StoreError> {
        let leases = self.leases.clone();
        self.write(move |connection| match batch.fence {
            Some(token) if !leases.is_current(token) => Ok(None),
            _ => apply::apply(connection, &batch).map(Some),
        })
        .await
    }

    async fn keep_attempts(&self, instance: i64, rows: Vec<AttemptRow>) -> Result<(), StoreError> {
        self.write(move |connection| attempts::keep(connection, instance, &rows)).await
    }

    async fn trim_attempts(&self, before: Timestamp, own: Vec<(i64, Timestamp)>) -> Result<(), StoreError> {
        let own: Vec<_> = own.into_iter().map(|(instance, at)| (instance, attempt_number(at))).collect();
        self.write(move |connection| attempts::trim(connection, attempt_number(before), &own)).await
    }

    async fn forget(&self, instance: i64) -> Result<(), StoreError> {
        self.write(move |connection| attempts::forget(connection, instance)).await
    }

    async fn read_log(&self, instance: i64, query: LogQuery) -> Result<LogPage, LogError> {
        let read = self.read_aside(move |connection| log::read_page(connection, instance, &query)).await?;
        read.unwrap_or_else(|error| Err(LogError::Store(broken(error))))
    }

    async fn search_progress(&self, instance: i64) -> Result<Option<String>, StoreError> {
        self.read_aside(move |connection| search::progress(connection, instance)).await?.map_err(broken)
    }

    async fn update_search(&self, instance: i64, rows: SearchRows) -> Result<bool, StoreError> {
        self.write(move |connection| search::update(connection, instance, &rows)).await
    }

    async fn clear_search(&self, instance: i64) -> Result<bool, StoreError> {
        self.write(move |connection| search::clear(connection, instance)).await
    }

    async fn count_terms(
        &self,
        instance: i64,
        range: &TermRange,
        at_most: usize,
    ) -> Result<usize, StoreError> {
        let range = range.clone();
        let count = move |connection: &Connection| search::count(connection, instance, &range, at_most);
        self.read_aside(count).await?.map_err(broken)
    }

    async fn terms(
        &self,
        instance: i64,
        range: &TermRange,
        at_most: usize,
    ) -> Result<Vec<FoundTerm>, StoreError> {
        let range = range.clone();
        let read = move |connection: &Connection| search::terms(connection, instance, &range, at_most);
        self.read_aside(read).await?.map_err(broken)
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        self.write(move |connection| log::trim(connection, keep)).await
    }
}

fn not_written(error: WriteError<rusqlite::Error>) -> StoreError {
    match error {
        WriteError::Full => StoreError::Busy,
        WriteError::Lost(reason) => StoreError::Unwritable(reason),
        WriteError::Refused(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
                StoreError::Unwritable(error.to_string())
            }
            _ => broken(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use durable::rusqlite::ffi;

    use super::*;

    #[test]
    fn only_what_an_operator_can_mend_is_unwritable() {
        assert!(matches!(not_written(WriteError::Full), StoreError::Busy));
        assert!(matches!(not_written(WriteError::Lost("full".into())), StoreError::Unwritable(_)));
        for (code, is_unwritable) in [(ffi::SQLITE_FULL, true), (ffi::SQLITE_CONSTRAINT, false)] {
            let refused = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = not_written(WriteError::Refused(refused));
            assert_eq!(matches!(error, StoreError::Unwritable(_)), is_unwritable, "{error:?}");
        }
    }
}
