//! The hub's tables: one row per device with its identity and twin sealed separately, one row per queued message. Device IDs,
//! whether a device is disabled and when it was last active are not sealed, because listings and counts need them; everything else
//! is sealed for its row.

mod backup;
mod devices;
mod messages;

use std::path::Path;

use durable::{Database, KeyCheckError, Migration, OpenError, Schema, Sealer};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::HubFailure;

pub use backup::{BackupError, count_devices, file_snapshot};
pub use devices::{Activity, LastSeen, SealedDevice, StoredDevice};
pub use messages::{QueueTimes, QueuedMessage, StoredMessage};

/// The hub's file.
pub struct Storage {
    database: Database,
    sealer: Sealer,
    /// The last message that a killed process may have sent; 0 after a process that closed the file. Sent messages are not recorded,
    /// because that would take another commit for each.
    maybe_sent: i64,
}

/// Why a hub's file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The sealing key is not that of the file.
    #[error(transparent)]
    Key(#[from] KeyCheckError),
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The tables over one connection.
pub struct Rows<'a> {
    connection: &'a Connection,
    sealer: &'a Sealer,
    maybe_sent: i64,
}

impl Storage {
    /// Opens or creates the file.
    pub fn open(path: &Path, sealer: Sealer) -> Result<Storage, StorageError> {
        let database = Database::open(path, &SCHEMA)?;
        database.check_key(&sealer)?;
        let maybe_sent = if database.was_cut_off() { last_message(&database, path)? } else { 0 };
        Ok(Storage { database, sealer, maybe_sent })
    }

    /// Reads on the calling thread.
    pub fn read<T>(&self, read: impl FnOnce(&Rows) -> Result<T, HubFailure>) -> Result<T, HubFailure> {
        let (sealer, maybe_sent) = (&self.sealer, self.maybe_sent);
        self.database.read(|connection| read(&Rows { connection, sealer, maybe_sent }))
    }

    /// Changes the tables; on disk when it returns. A failure undoes the whole change.
    pub async fn write<T, F>(&self, write: F) -> Result<T, HubFailure>
    where
        F: FnOnce(&Rows) -> Result<T, HubFailure> + Send + 'static,
        T: Send + 'static,
    {
        let (sealer, maybe_sent) = (self.sealer.clone(), self.maybe_sent);
        let written = self
            .database
            .write(move |connection| write(&Rows { connection, sealer: &sealer, maybe_sent }))
            .await;
        written.map_err(HubFailure::from)
    }
}

/// Returns the sequence of the last queued message; 0 if there is none.
fn last_message(database: &Database, path: &Path) -> Result<i64, OpenError> {
    let sql = "SELECT coalesce(max(sequence), 0) FROM message";
    let last = database.read(|connection| connection.query_row(sql, [], |row| row.get(0)));
    last.map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
}

/// The kind of a sealed document; the seal is bound to it and to the row's key.
#[derive(Clone, Copy)]
enum Kind {
    Identity,
    Message,
    Model,
    Session,
    Twin,
}

impl Kind {
    fn context(self, key: &str) -> Vec<u8> {
        let name = match self {
            Kind::Identity => "identity:",
            Kind::Message => "message:",
            Kind::Model => "model:",
            Kind::Session => "session:",
            Kind::Twin => "twin:",
        };
        [name.as_bytes(), key.as_bytes()].concat()
    }
}

fn seal(sealer: &Sealer, kind: Kind, key: &str, document: &impl Serialize) -> Result<Vec<u8>, HubFailure> {
    let plain = serde_json::to_vec(document).map_err(|error| HubFailure::Broken(error.to_string()))?;
    Ok(sealer.seal(&kind.context(key), &plain))
}

fn unseal<T: DeserializeOwned>(
    sealer: &Sealer,
    kind: Kind,
    key: &str,
    sealed: &[u8],
) -> Result<T, HubFailure> {
    let broken = |error: &dyn std::fmt::Display| HubFailure::Broken(format!("the row of '{key}': {error}"));
    let plain = sealer.open(&kind.context(key), sealed).map_err(|error| broken(&error))?;
    serde_json::from_slice(&plain).map_err(|error| broken(&error))
}

/// Refuses a database that a hub would not open with this key, and changes nothing. One that is missing or empty is fine: it would
/// be created. Returns what opening it would do to its tables, if anything.
pub fn check(path: &Path, sealer: &Sealer) -> Result<Option<Migration>, StorageError> {
    if !std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        return Ok(None);
    }
    let database = Database::look(path, &SCHEMA)?;
    database.check_key(sealer)?;
    let pending = database.pending_migration(&SCHEMA);
    Ok(pending.map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?)
}

const SCHEMA: Schema =
    Schema { application: "muster embedded hub", version: 2, migrations: &[VERSION_1, VERSION_2] };

/// A device's MQTT session and digital twin model, sealed; NULL if there is none.
const VERSION_2: &str = "
    ALTER TABLE device ADD COLUMN session BLOB;
    ALTER TABLE device ADD COLUMN model BLOB;
";

/// Times are ticks of 100 ns since 1970. The sequence of messages never repeats, because devices acknowledge by it. `returns` counts
/// how often a device held a message and did not complete it.
const VERSION_1: &str = "
    CREATE TABLE device (
        number   INTEGER PRIMARY KEY,
        id       TEXT NOT NULL UNIQUE,
        disabled INTEGER NOT NULL,
        identity BLOB NOT NULL,
        twin     BLOB NOT NULL,
        state_at INTEGER,
        seen_at  INTEGER,
        messages INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX device_disabled ON device (id) WHERE disabled = 1;
    CREATE TABLE message (
        sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
        device      TEXT NOT NULL,
        enqueued_at INTEGER NOT NULL,
        expires_at  INTEGER NOT NULL,
        returns     INTEGER NOT NULL DEFAULT 0,
        document    BLOB NOT NULL
    ) STRICT;
    CREATE INDEX message_device ON message (device, sequence);
";
