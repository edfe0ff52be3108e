//! Rows that SQLite cannot read.

use durable::rusqlite::{self, ErrorCode};

/// Returns why a row cannot be read, if the row itself is the reason: its bytes are not what SQLite wrote.
pub(crate) fn damage_in(error: &rusqlite::Error) -> Option<String> {
    let is_damage = match error {
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => true,
        other => other.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt),
    };
    is_damage.then(|| error.to_string())
}
