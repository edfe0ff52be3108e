//! Read-only connections, kept for reuse.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

/// The most idle connections. Reads run on the caller's thread, so there are never more connections than threads; the limit
/// matters after a burst of blocking threads.
const KEPT: usize = 16;

/// The page cache of one reader in KiB; most pages come from the memory map instead.
const CACHE_KIB: i64 = 2048;

/// Bytes of the file that are read through the memory map; address space, not memory.
pub(crate) const MMAP_BYTES: i64 = 1 << 30;

/// Prepared statements per connection: more than an application has, so that none is prepared twice.
const STATEMENTS_KEPT: usize = 128;

#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Mutex::new(Vec::new()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a connection for one long read.
    pub(crate) fn open_one(&self) -> rusqlite::Result<Connection> {
        open(&self.path)
    }

    /// Runs `read` with a connection that no other reader uses meanwhile.
    pub(crate) fn with<T, E: From<rusqlite::Error>>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        let outcome = read(&connection);
        self.keep(connection);
        outcome
    }

    /// Closes the idle connections, so that the writer's is the last.
    pub(crate) fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn keep(&self, connection: Connection) {
        if !connection.is_autocommit() {
            return; // the closure left a transaction open, which would pin an old snapshot and the whole WAL
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(connection);
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "mmap_size", MMAP_BYTES)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Keeps prepared statements, and their plans whatever values are bound: SQLite would plan a query again for each value of a
/// `LIMIT` or a column of a partial index.
pub(crate) fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}
