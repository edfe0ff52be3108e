//! Attempts that were refused: a few of each registration ID, a bounded number in all, newest win.

use provisioning::ports::{ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE, StoreError};

use super::queries::Queries;
use crate::engine::AttemptRow;

/// Adds attempts, and deletes those beyond the bounds. What is not deleted after a failure is deleted the next time.
pub(super) async fn keep(queries: &Queries, instance: i32, rows: &[AttemptRow]) -> Result<(), StoreError> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let known: Vec<bool> = rows.iter().map(|row| row.is_known).collect();
    let documents: Vec<&[u8]> = rows.iter().map(|row| row.document.as_slice()).collect();
    queries.query(INSERT, &[&instance, &ids, &known, &documents]).await?;
    queries.query(DELETE_OF_ONE, &[&instance, &ids, &(ATTEMPTS_OF_ONE as i64)]).await?;
    for is_known in [false, true] {
        queries.query(DELETE_OF_A_KIND, &[&instance, &is_known, &(ATTEMPTS_OF_A_KIND as i64)]).await?;
    }
    Ok(())
}

/// Deletes attempts with lower numbers; of the instances in the list instead, those below their own numbers.
pub(super) async fn trim(queries: &Queries, below: i64, own: Vec<(i32, i64)>) -> Result<(), StoreError> {
    let (instances, numbers): (Vec<i32>, Vec<i64>) = own.into_iter().unzip();
    queries.query(TRIM, &[&below, &instances, &numbers]).await.map(drop)
}

/// Deletes the attempts and the counted operations of an instance. May be repeated.
pub(super) async fn forget(queries: &Queries, instance: i32) -> Result<(), StoreError> {
    queries.query("DELETE FROM attempts WHERE instance = $1", &[&instance]).await?;
    queries.query("DELETE FROM usage WHERE instance = $1", &[&instance]).await?;
    Ok(())
}

const INSERT: &str = "
    INSERT INTO attempts (instance, id, number, known, document)
    SELECT $1::int4, c.id, (extract(epoch FROM now()) * 1000000)::bigint + c.ord, c.known, c.document
    FROM unnest($2::text[], $3::bool[], $4::bytea[]) WITH ORDINALITY AS c(id, known, document, ord)
    ON CONFLICT DO NOTHING";

const TRIM: &str = "
    DELETE FROM attempts a USING (
        SELECT i.number AS instance, coalesce(o.below, $1::bigint) AS below
        FROM instances i LEFT JOIN unnest($2::int4[], $3::bigint[]) AS o(instance, below) ON o.instance = i.number) AS c
    WHERE a.instance = c.instance AND a.number < c.below";

const DELETE_OF_ONE: &str = "
    DELETE FROM attempts a USING (SELECT DISTINCT unnest($2::text[]) AS id) AS c
    WHERE a.instance = $1 AND a.id = c.id AND a.number <= (
        SELECT number FROM attempts WHERE instance = $1 AND id = c.id ORDER BY number DESC LIMIT 1 OFFSET $3)";

const DELETE_OF_A_KIND: &str = "
    DELETE FROM attempts WHERE instance = $1 AND known = $2 AND number <= (
        SELECT number FROM attempts WHERE instance = $1 AND known = $2 ORDER BY number DESC LIMIT 1 OFFSET $3)";
