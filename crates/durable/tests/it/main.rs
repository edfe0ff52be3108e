//! The database as its users see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod crash;
mod opening;
mod reading;
mod writing;

use std::path::Path;

use durable::{Database, Schema};

/// One table of numbered notes.
pub const NOTES: Schema = Schema {
    application: "notes",
    version: 1,
    migrations: &["CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL,
                                      parent INTEGER REFERENCES note DEFERRABLE INITIALLY DEFERRED) STRICT"],
};

/// Opens the notes in `path`.
pub fn open(path: &Path) -> Database {
    Database::open(path, &NOTES).unwrap()
}

/// Adds a note and waits until it is durable.
pub async fn add(database: &Database, id: i64) -> Result<(), durable::WriteError<rusqlite::Error>> {
    database
        .write(move |connection| {
            connection
                .prepare_cached("INSERT INTO note (id, text) VALUES (?1, 'note')")?
                .execute([id])
                .map(drop)
        })
        .await
}

/// Returns the numbers of all notes, ascending.
pub fn ids(database: &Database) -> Vec<i64> {
    database
        .read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM note ORDER BY id")?;
            let ids = statement.query_map([], |row| row.get(0))?;
            ids.collect::<Result<_, rusqlite::Error>>()
        })
        .unwrap()
}
