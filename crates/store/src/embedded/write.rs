//! Writes: everything that ends in a commit on disk.

use durable::WriteError;
use durable::rusqlite::{self, ErrorCode};
use model::IdScope;
use provisioning::ports::{Change, Commit, Outcome, StoreError};

use crate::batch::{Batch, RowKey};
use crate::broken;
use crate::document::RowRef;
use crate::embedded::{EmbeddedStore, change};

impl EmbeddedStore {
    pub(super) async fn write(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        let instance = match commit.changes.first() {
            Some((_, Change::PutInstance { .. })) => self.instance_table()?.number(scope),
            _ => Some(self.number(scope)?),
        };
        let batch = Batch::seal(&self.documents, scope, instance, commit)?;
        let is_damage_known = self.documents.damage().is_any_known();
        let keys: Vec<RowKey> =
            batch.changes.iter().filter(|_| is_damage_known).map(|change| change.key.clone()).collect();
        let guards = batch.guards.len();
        let outcomes = self.database.write(move |connection| change::apply(connection, &batch)).await;
        let outcomes = outcomes.map_err(not_written)?.ok_or(StoreError::Fenced)?;
        let changes = outcomes.iter().skip(guards);
        let made = keys.iter().zip(changes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        for (RowKey { table, id }, _) in made {
            self.documents.forget(RowRef { table: *table, scope, id });
        }
        Ok(outcomes)
    }

    /// Returns the number of an instance that is written to.
    pub(super) fn number(&self, scope: &IdScope) -> Result<i64, StoreError> {
        let number = self.served_number(scope)?;
        number.ok_or_else(|| broken(format!("there is no instance with ID scope {scope}")))
    }
}

pub(super) fn not_written(error: WriteError<rusqlite::Error>) -> StoreError {
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
    fn only_what_passes_is_no_defect() {
        assert!(matches!(not_written(WriteError::Full), StoreError::Busy));
        assert!(matches!(not_written(WriteError::Lost("full".into())), StoreError::Unwritable(_)));
        for (code, is_passing) in [(ffi::SQLITE_FULL, true), (ffi::SQLITE_CONSTRAINT, false)] {
            let refused = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let told = not_written(WriteError::Refused(refused));
            assert_eq!(matches!(told, StoreError::Unwritable(_)), is_passing, "{told:?}");
        }
    }
}
