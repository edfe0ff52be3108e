//! What a backup reads of the file of a hub.

use std::{path::Path, time::Duration};

use durable::{Database, Depth, FileSnapshot, Sealer};

use super::{SCHEMA, StorageError};

/// Why the file of a hub cannot be backed up, or its copy not be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] StorageError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] rusqlite::Error),
    /// Its structure is damaged.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// Its check did not end in time.
    #[error("the check of the file did not end in time")]
    Incomplete,
}

/// Takes a snapshot of the file of a hub, also while the hub runs. Fails if it is sealed with another key.
pub fn file_snapshot(path: &Path, sealer: &Sealer) -> Result<FileSnapshot, BackupError> {
    Ok(look(path, sealer)?.file_snapshot()?)
}

/// Checks the structure of the file of a hub, which may take this time, and its key. Returns how many devices it has.
pub fn count_devices(path: &Path, sealer: &Sealer, at_most: Duration) -> Result<u64, BackupError> {
    let database = look(path, sealer)?;
    let check = database.check_file(Depth::Indexes, at_most)?;
    if let Some(problem) = check.problems.into_iter().next() {
        return Err(BackupError::Damaged(problem));
    }
    if !check.is_complete {
        return Err(BackupError::Incomplete);
    }
    let sql = "SELECT count(*) FROM device";
    let count: i64 = database.read(|connection| connection.query_row(sql, [], |row| row.get(0)))?;
    Ok(count.unsigned_abs())
}

fn look(path: &Path, sealer: &Sealer) -> Result<Database, StorageError> {
    let database = Database::look(path, &SCHEMA)?;
    database.check_key(sealer)?;
    Ok(database)
}
