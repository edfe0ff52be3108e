//! The lock file that keeps a second process out.
//!
//! SQLite would let two processes share the file, but the group commit and the caches above it assume one process.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::schema::OpenError;

/// Holds the exclusive lock on `PATH.lock`; the operating system releases it when this is dropped or the
/// process ends.
#[derive(Debug)]
pub(crate) struct SingleProcess {
    locked: File,
}

impl Drop for SingleProcess {
    /// Unlocks explicitly: closing the file does not while a child process that is being started shares it.
    fn drop(&mut self) {
        if let Err(error) = self.locked.unlock() {
            tracing::warn!(%error, "the database's lock file stays locked until the process ends");
        }
    }
}

impl SingleProcess {
    /// Takes the lock without waiting.
    pub(crate) fn take(database: &Path) -> Result<SingleProcess, OpenError> {
        let path = lock_path(database);
        let failed = |source: io::Error| OpenError::Io { path: path.clone(), source };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(SingleProcess { locked: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: database.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
