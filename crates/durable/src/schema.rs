//! The tables that a database file must contain, and the migrations to them.
//!
//! The table `meta` belongs to this crate: it names the application, the schema version and the key check.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};

/// The tables that an application expects, as a list of migrations.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The application that owns the file, such as `muster-store`. Files of other applications are rejected.
    pub application: &'static str,
    /// The version that this program works with: the number of migrations.
    pub version: u32,
    /// SQL; batch `i` migrates version `i` to `i + 1`. A released batch is never edited.
    pub migrations: &'static [&'static str],
}

/// What opening a database for writing would do to its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The version that they have.
    pub from: u32,
    /// The version that they would get.
    pub to: u32,
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from schema version {} to {}", self.from, self.to)
    }
}

/// Why a database could not be opened. Nothing was changed in the file but by migrations that were completed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a database of this application.
    #[error("{} belongs to {found}, not to {expected}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The program that it seems to belong to.
        found: String,
        /// The application that tried to open it.
        expected: &'static str,
    },
    /// Another process (or another handle in this one) has the database open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file system returned an error.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A migration failed; the file stays at the version before it.
    #[error("cannot bring {} from schema version {from} to {}: {source}", path.display(), from + 1)]
    Migration {
        /// The file.
        path: PathBuf,
        /// The version the file has.
        from: u32,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// A programming mistake: the schema's version is not the number of its migrations.
    #[error("schema of {application}: version {version} but {migrations} migrations")]
    Schema {
        /// The application.
        application: &'static str,
        /// The version it declares.
        version: u32,
        /// How many migrations it has.
        migrations: usize,
    },
    /// SQLite returned an error.
    #[error("cannot open {}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// The file was written by a newer program. Going back needs the newer program or a backup.
    #[error(
        "{} has schema version {found}, this program knows versions up to {supported}: start the program that wrote it, or a newer \
         one; to go back, restore a backup from before the upgrade (docs/upgrading.md)",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this program knows.
        supported: u32,
    },
}

impl Schema {
    /// Rejects foreign and newer files, then runs the missing migrations, each in a transaction of its own.
    pub(crate) fn apply(&self, connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
        if self.version as usize != self.migrations.len() {
            let (application, version) = (self.application, self.version);
            return Err(OpenError::Schema { application, version, migrations: self.migrations.len() });
        }
        let found = self.claim(connection, path)?;
        if found > self.version {
            return Err(OpenError::TooNew { path: path.to_owned(), found, supported: self.version });
        }
        for (from, batch) in (0..self.version).zip(self.migrations).skip(found as usize) {
            migrate(connection, from, batch).map_err(|source| OpenError::Migration {
                path: path.to_owned(),
                from,
                source,
            })?;
        }
        Ok(())
    }

    /// Rejects foreign and newer files, and changes nothing. An empty file is foreign, too.
    pub(crate) fn accept(&self, connection: &Connection, path: &Path) -> Result<(), OpenError> {
        let sqlite = |source| sqlite_error(path, self.application, source);
        let foreign =
            |found: String| OpenError::Foreign { path: path.to_owned(), found, expected: self.application };
        match contents(connection).map_err(sqlite)? {
            Contents::Nothing => return Err(foreign("no program (it is empty)".to_owned())),
            Contents::NoMeta => return Err(foreign("another program (it has no table meta)".to_owned())),
            Contents::Meta => {}
        }
        let found = self.version_of(connection, path)?;
        if found > self.version {
            return Err(OpenError::TooNew { path: path.to_owned(), found, supported: self.version });
        }
        Ok(())
    }

    /// Returns the schema version of a file that has the table `meta`.
    fn version_of(&self, connection: &Connection, path: &Path) -> Result<u32, OpenError> {
        let sqlite = |source| sqlite_error(path, self.application, source);
        let foreign =
            |found: String| OpenError::Foreign { path: path.to_owned(), found, expected: self.application };
        let application: Option<String> = meta(connection, "application").map_err(sqlite)?;
        match application {
            Some(application) if application == self.application => {}
            Some(application) => return Err(foreign(application)),
            None => return Err(foreign("another program (it names no application)".to_owned())),
        }
        let version: Option<u32> = meta(connection, "schema_version").map_err(sqlite)?;
        version.ok_or_else(|| foreign("another program (it has no schema version)".to_owned()))
    }

    /// Returns the schema version of the file; an empty file gets the table `meta` and version 0.
    fn claim(&self, connection: &mut Connection, path: &Path) -> Result<u32, OpenError> {
        let sqlite = |source| sqlite_error(path, self.application, source);
        let foreign =
            |found: String| OpenError::Foreign { path: path.to_owned(), found, expected: self.application };
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        match contents(&transaction).map_err(sqlite)? {
            Contents::Nothing => transaction
                .execute_batch(
                    "CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID",
                )
                .and_then(|()| put_meta(&transaction, "application", self.application))
                .and_then(|()| put_meta(&transaction, "schema_version", 0))
                .map_err(sqlite)?,
            Contents::NoMeta => return Err(foreign("another program (it has no table meta)".to_owned())),
            Contents::Meta => {}
        }
        let version = self.version_of(&transaction, path)?;
        transaction.commit().map_err(sqlite)?;
        Ok(version)
    }
}

/// Reads one value of the table `meta`.
pub(crate) fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<T>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// Writes one value of the table `meta`.
pub(crate) fn put_meta(
    connection: &Connection,
    key: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
            (key, value),
        )
        .map(drop)
}

/// Distinguishes a file that is no database, and a full disk, from the other errors of SQLite.
pub(crate) fn sqlite_error(path: &Path, expected: &'static str, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign {
            path: path.to_owned(),
            found: "something that is no database".to_owned(),
            expected,
        },
        Some(ErrorCode::DiskFull) => no_room(path, &source),
        _ if source.sqlite_error().is_some_and(|error| error.extended_code == NO_ROOM_FOR_INDEX) => {
            no_room(path, &source)
        }
        _ => OpenError::Sqlite { path: path.to_owned(), source },
    }
}

/// `SQLITE_IOERR_SHMSIZE`: there is no room for the index of the write-ahead log, 32 KB. SQLite calls it an I/O error.
const NO_ROOM_FOR_INDEX: std::ffi::c_int = 4874;

fn no_room(path: &Path, source: &rusqlite::Error) -> OpenError {
    let text = format!("there is no room on the disk ({source})");
    OpenError::Io { path: path.to_owned(), source: io::Error::new(io::ErrorKind::StorageFull, text) }
}

fn migrate(connection: &mut Connection, from: u32, batch: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(batch)?;
    put_meta(&transaction, "schema_version", from + 1)?;
    transaction.commit()
}

enum Contents {
    Nothing,
    NoMeta,
    Meta,
}

fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let (all, meta): (u32, u32) = connection.query_row(
        "SELECT count(*), count(*) FILTER (WHERE type = 'table' AND name = 'meta') FROM sqlite_schema",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(match (all, meta) {
        (0, _) => Contents::Nothing,
        (_, 0) => Contents::NoMeta,
        (_, _) => Contents::Meta,
    })
}
