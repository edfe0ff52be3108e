//! What a backup reads of the file.

use durable::{
    FileSnapshot, Migration,
    rusqlite::{self, OptionalExtension},
};
use model::{LogCursor, LogPosition, Timestamp};
use provisioning::ports::StoreError;

use crate::{
    broken,
    log_row::TICKS_PER_MILLI,
    sqlite::{EmbeddedStore, schema},
};

/// The newest change that a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestChange {
    /// Its position in the change log, by which readers of the log go on after it.
    pub position: LogCursor,
    /// When it was made; `None` if the log is empty.
    pub at: Option<Timestamp>,
}

impl EmbeddedStore {
    /// The version of the tables that this program writes.
    pub const SCHEMA_VERSION: u32 = schema::SCHEMA.version;

    /// Takes a snapshot of the file.
    pub fn file_snapshot(&self) -> Result<FileSnapshot, StoreError> {
        self.engine.database.file_snapshot().map_err(broken)
    }

    /// Returns the version of the tables in the file.
    pub fn schema_version(&self) -> Result<u32, StoreError> {
        self.engine.database.schema_version().map_err(broken)
    }

    /// Returns what opening the file for writing would do to its tables, if anything.
    pub fn pending_migration(&self) -> Result<Option<Migration>, StoreError> {
        self.engine.database.pending_migration(&schema::SCHEMA).map_err(broken)
    }

    /// Returns the newest change.
    pub fn newest_change(&self) -> Result<NewestChange, StoreError> {
        if self.schema_version()? < schema::FIRST_WITH_LOG {
            return Ok(NewestChange { position: LogCursor::default(), at: None });
        }
        let read = self.engine.database.read(|connection| {
            let writer = connection.query_row("SELECT writer FROM log_state", [], |row| row.get(0))?;
            let newest = "SELECT position, time FROM log ORDER BY position DESC LIMIT 1";
            let newest = connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            Ok((writer, newest))
        });
        let (writer, newest): (i64, Option<(i64, i64)>) =
            read.map_err(|error: rusqlite::Error| broken(error))?;
        let number = newest.map_or(0, |(position, _)| position);
        let mut position = LogCursor::default();
        position.advance(LogPosition::new(writer.cast_unsigned(), number.cast_unsigned()));
        let at = newest.map(|(_, millis)| Timestamp::from_ticks(millis.saturating_mul(TICKS_PER_MILLI)));
        Ok(NewestChange { position, at })
    }
}
