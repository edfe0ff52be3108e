//! Attempts that were refused: a few of each name, a bounded number in all, newest win.

use durable::rusqlite::{self, Connection, Row};
use model::{Attempt, IdScope, RegistrationId};
use provisioning::ports::{ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE, StoreError};

use crate::embedded::document::Place;
use crate::embedded::write::not_written;
use crate::embedded::{EmbeddedStore, broken};

const TABLE: &str = "attempts";

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
        let instance = self.memory.current.load().instance(scope).map(|held| held.number);
        let instance =
            instance.ok_or_else(|| broken(format!("there is no instance with ID scope {scope}")))?;
        let seal = |attempt: Attempt| {
            let id = attempt.registration_id.key().into_owned();
            let document = self.documents.seal(Place { table: TABLE, scope, id: &id }, &attempt)?;
            Ok(Sealed { id, known: attempt.known, document })
        };
        let sealed: Vec<_> = attempts.into_iter().map(seal).collect::<Result<_, StoreError>>()?;
        let write = move |connection: &Connection| keep(connection, instance, &sealed);
        self.database.write(write).await.map_err(not_written)
    }

    pub(super) fn read_attempts(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Vec<Attempt>, StoreError> {
        let Some(instance) = self.memory.current.load().instance(scope).map(|held| held.number) else {
            return Ok(Vec::new());
        };
        let id = id.key();
        let read = |row: &Row<'_>| row.get(0);
        let rows: Vec<Vec<u8>> = self
            .database
            .read(|connection| connection.prepare_cached(OF_ONE)?.query_map((instance, &id), read)?.collect())
            .map_err(|error: rusqlite::Error| broken(error))?;
        let place = Place { table: TABLE, scope, id: &id };
        rows.iter().map(|document| self.documents.open(place, document)).collect()
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
