//! Attempts that were refused: a few of each name, a bounded number in all, newest win.

use durable::rusqlite::{self, Connection, Row};
use model::{Attempt, IdScope};
use provisioning::ports::{ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE, Page, StoreError};

use crate::broken;
use crate::document::RowRef;
use crate::embedded::EmbeddedStore;
use crate::embedded::broken_rows::damage_in;
use crate::embedded::read::Records;
use crate::embedded::write::not_written;
use crate::table::Table;

const INSERT: &str = "INSERT INTO attempts (instance, id, known, document) VALUES (?1, ?2, ?3, ?4)";

const FORGET_OF_ONE: &str = "DELETE FROM attempts WHERE instance = ?1 AND id = ?2 AND number <=
    (SELECT number FROM attempts WHERE instance = ?1 AND id = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)";

const FORGET_OF_A_KIND: &str = "DELETE FROM attempts WHERE instance = ?1 AND known = ?2 AND number <=
    (SELECT number FROM attempts WHERE instance = ?1 AND known = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)";

const OF_ONE: &str = "SELECT document FROM attempts WHERE instance = ?1 AND id = ?2 ORDER BY number DESC";

/// An attempt whose document is sealed already.
struct Sealed {
    id: String,
    known: bool,
    document: Vec<u8>,
}

impl EmbeddedStore {
    pub(super) async fn write_attempts(
        &self,
        scope: &IdScope,
        attempts: Vec<Attempt>,
    ) -> Result<(), StoreError> {
        let instance = self.number(scope)?;
        let seal = |attempt: Attempt| {
            let id = attempt.registration_id.key().into_owned();
            let document =
                self.documents.seal(RowRef { table: Table::Attempts, scope, id: &id }, &attempt)?;
            Ok(Sealed { id, known: attempt.known, document })
        };
        let sealed: Vec<_> = attempts.into_iter().map(seal).collect::<Result<_, StoreError>>()?;
        let write = move |connection: &Connection| keep(connection, instance, &sealed);
        self.database.write(write).await.map_err(not_written)
    }
}

impl Records<'_> {
    /// The attempts kept under a lower-case ID, newest first.
    pub(super) fn attempts(&self, id: &str) -> Result<Page<Attempt>, StoreError> {
        let place = RowRef { table: Table::Attempts, scope: self.scope, id };
        let read = |row: &Row<'_>| row.get(0);
        let rows: rusqlite::Result<Vec<Vec<u8>>> = self.database.read(|connection| {
            connection.prepare_cached(OF_ONE)?.query_map((self.instance, id), read)?.collect()
        });
        let rows = rows.map_err(|error| match damage_in(&error) {
            Some(reason) => StoreError::Damaged(self.documents.note(place, reason)),
            None => broken(error),
        })?;
        let mut page = Page::default();
        for document in rows {
            match self.documents.open(place, &document) {
                Ok(attempt) => page.items.push(attempt),
                Err(damaged) => page.damaged.push(damaged),
            }
        }
        // All attempts under a name are one record here: one that was read does not make another whole.
        page.damaged.iter().for_each(|damaged| self.documents.damage().note(&self.scope.key(), damaged));
        page.damaged.dedup();
        Ok(page)
    }
}

fn keep(connection: &Connection, instance: i64, attempts: &[Sealed]) -> rusqlite::Result<()> {
    for Sealed { id, known, document } in attempts {
        connection.prepare_cached(INSERT)?.execute((instance, id, known, document))?;
        connection.prepare_cached(FORGET_OF_ONE)?.execute((instance, id, ATTEMPTS_OF_ONE as i64))?;
    }
    for known in [false, true] {
        let values = (instance, known, ATTEMPTS_OF_A_KIND as i64);
        connection.prepare_cached(FORGET_OF_A_KIND)?.execute(values)?;
    }
    Ok(())
}
