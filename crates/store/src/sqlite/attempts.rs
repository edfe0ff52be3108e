//! Attempts that were refused: a few of each registration ID, a bounded number in all, newest win.

use durable::rusqlite::{self, Connection};
use provisioning::ports::{ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE, Clock};

use crate::{
    SystemClock,
    engine::{AttemptRow, attempt_number},
};

/// Numbers rise, also where the clock was set back.
const INSERT: &str = "INSERT INTO attempts (number, instance, id, known, document)
    SELECT max(?5, ifnull(max(number), 0) + 1), ?1, ?2, ?3, ?4 FROM attempts";

const DELETE_OF_ONE: &str = "DELETE FROM attempts WHERE instance = ?1 AND id = ?2 AND number <=
    (SELECT number FROM attempts WHERE instance = ?1 AND id = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)";

const DELETE_OF_A_KIND: &str = "DELETE FROM attempts WHERE instance = ?1 AND known = ?2 AND number <=
    (SELECT number FROM attempts WHERE instance = ?1 AND known = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)";

const DELETE_OF_OTHERS: &str =
    "DELETE FROM attempts WHERE number < ?1 AND instance NOT IN (SELECT value FROM json_each(?2))";

/// Deletes attempts with lower numbers; of the instances in the list instead, those below their own numbers.
pub(super) fn trim(connection: &Connection, below: i64, own: &[(i64, i64)]) -> rusqlite::Result<()> {
    let others = serde_json::to_string(&own.iter().map(|(instance, _)| instance).collect::<Vec<_>>());
    let others = others.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection.prepare_cached(DELETE_OF_OTHERS)?.execute((below, others))?;
    for of_instance in own {
        connection
            .prepare_cached("DELETE FROM attempts WHERE instance = ?1 AND number < ?2")?
            .execute(*of_instance)?;
    }
    Ok(())
}

/// Adds attempts, and deletes those beyond the bounds.
pub(super) fn keep(connection: &Connection, instance: i64, attempts: &[AttemptRow]) -> rusqlite::Result<()> {
    let now = attempt_number(SystemClock.now());
    for AttemptRow { id, is_known, document } in attempts {
        connection.prepare_cached(INSERT)?.execute((instance, id, is_known, document, now))?;
        connection.prepare_cached(DELETE_OF_ONE)?.execute((instance, id, ATTEMPTS_OF_ONE as i64))?;
    }
    for is_known in [false, true] {
        let values = (instance, is_known, ATTEMPTS_OF_A_KIND as i64);
        connection.prepare_cached(DELETE_OF_A_KIND)?.execute(values)?;
    }
    Ok(())
}

/// Deletes the attempts and the counted operations of an instance.
pub(super) fn forget(connection: &Connection, instance: i64) -> rusqlite::Result<()> {
    for delete in ["DELETE FROM attempts WHERE instance = ?1", "DELETE FROM usage WHERE instance = ?1"] {
        connection.prepare_cached(delete)?.execute((instance,))?;
    }
    Ok(())
}
