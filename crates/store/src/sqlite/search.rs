//! The search table: a row for each term of a record, and one for all terms of it, by which a change finds those that it removes.

use durable::rusqlite::{self, Connection, OptionalExtension, Row};
use model::SearchTerm;
use provisioning::ports::{FoundTerm, SearchRecord, TermPosition, TermRange};

use crate::{
    engine::SearchRows,
    search::{CLEARING, Difference, joined, split},
};

/// Rows of each table that are deleted at once: some milliseconds of the writer's time.
const CLEARED_AT_ONCE: i64 = 5000;

/// Returns how far the table of an instance follows the change log.
pub(super) fn progress(connection: &Connection, instance: i64) -> rusqlite::Result<Option<String>> {
    connection.prepare_cached(PROGRESS)?.query_row([instance], |row| row.get(0)).optional()
}

/// Writes a portion if the progress is the expected one. Returns whether it was.
pub(super) fn update(connection: &Connection, instance: i64, rows: &SearchRows) -> rusqlite::Result<bool> {
    if progress(connection, instance)? != rows.expected {
        return Ok(false);
    }
    connection.prepare_cached(PUT_PROGRESS)?.execute((instance, &rows.next))?;
    for record in &rows.records {
        put(connection, instance, record)?;
    }
    Ok(true)
}

fn put(connection: &Connection, instance: i64, record: &SearchRecord) -> rusqlite::Result<()> {
    let key = (instance, record.kind.code(), &record.id);
    let old: Option<String> =
        connection.prepare_cached(RECORD)?.query_row(key, |row| row.get(0)).optional()?;
    let old = split(old.as_deref().unwrap_or_default());
    let Difference { added, removed } = Difference::between(&old, &record.terms);
    let term = |sql: &str, term: &SearchTerm| {
        let values = (instance, record.kind.code(), term.as_str(), &record.id);
        connection.prepare_cached(sql)?.execute(values).map(drop)
    };
    removed.into_iter().try_for_each(|it| term(DELETE_TERM, it))?;
    added.into_iter().try_for_each(|it| term(INSERT_TERM, it))?;
    if record.terms.is_empty() {
        connection.prepare_cached(DELETE_RECORD)?.execute(key)?;
    } else if old != record.terms {
        let values = (instance, record.kind.code(), &record.id, joined(&record.terms));
        connection.prepare_cached(PUT_RECORD)?.execute(values)?;
    }
    Ok(())
}

/// Deletes a portion, and the progress, which says so meanwhile, with the last of them. Returns whether more are left.
pub(super) fn clear(connection: &Connection, instance: i64) -> rusqlite::Result<bool> {
    connection.prepare_cached(PUT_PROGRESS)?.execute((instance, CLEARING))?;
    for delete in [CLEAR_TERMS, CLEAR_RECORDS] {
        let cleared = connection.prepare_cached(delete)?.execute((instance, CLEARED_AT_ONCE))?;
        if i64::try_from(cleared).is_ok_and(|cleared| cleared >= CLEARED_AT_ONCE) {
            return Ok(true);
        }
    }
    connection.prepare_cached("DELETE FROM search_progress WHERE instance = ?1")?.execute([instance])?;
    Ok(false)
}

/// Counts terms within a range, up to a bound.
pub(super) fn count(
    connection: &Connection,
    instance: i64,
    range: &TermRange,
    at_most: usize,
) -> rusqlite::Result<usize> {
    let TermRange { kind, after, until } = range;
    let (after, until) = ((after.term.as_str(), &after.id), (until.term.as_str(), &until.id));
    let values = (instance, kind.code(), after.0, after.1, until.0, until.1, at_most as i64);
    let count: i64 = connection.prepare_cached(COUNT)?.query_row(values, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Returns the terms within a range with their records, in order.
pub(super) fn terms(
    connection: &Connection,
    instance: i64,
    range: &TermRange,
    at_most: usize,
) -> rusqlite::Result<Vec<FoundTerm>> {
    let TermRange { kind, after, until } = range;
    let (after, until) = ((after.term.as_str(), &after.id), (until.term.as_str(), &until.id));
    let values = (instance, kind.code(), after.0, after.1, until.0, until.1, at_most as i64);
    connection.prepare_cached(TERMS)?.query_map(values, found)?.collect()
}

fn found(row: &Row<'_>) -> rusqlite::Result<FoundTerm> {
    let position = TermPosition { term: SearchTerm::from_text(row.get(0)?), id: row.get(1)? };
    Ok(FoundTerm { position, terms: split(row.get_ref(2)?.as_str()?) })
}

const PROGRESS: &str = "SELECT progress FROM search_progress WHERE instance = ?1";

const PUT_PROGRESS: &str = "INSERT OR REPLACE INTO search_progress (instance, progress) VALUES (?1, ?2)";

const RECORD: &str = "SELECT terms FROM search_records WHERE instance = ?1 AND kind = ?2 AND id = ?3";

const PUT_RECORD: &str =
    "INSERT OR REPLACE INTO search_records (instance, kind, id, terms) VALUES (?1, ?2, ?3, ?4)";

const DELETE_RECORD: &str = "DELETE FROM search_records WHERE instance = ?1 AND kind = ?2 AND id = ?3";

const INSERT_TERM: &str =
    "INSERT OR IGNORE INTO search_terms (instance, kind, term, id) VALUES (?1, ?2, ?3, ?4)";

const DELETE_TERM: &str =
    "DELETE FROM search_terms WHERE instance = ?1 AND kind = ?2 AND term = ?3 AND id = ?4";

const CLEAR_TERMS: &str = "
    DELETE FROM search_terms WHERE (instance, kind, term, id) IN (
        SELECT instance, kind, term, id FROM search_terms WHERE instance = ?1 LIMIT ?2)";

const CLEAR_RECORDS: &str = "
    DELETE FROM search_records WHERE (instance, kind, id) IN (
        SELECT instance, kind, id FROM search_records WHERE instance = ?1 LIMIT ?2)";

const COUNT: &str = "
    SELECT count(*) FROM (
        SELECT 1 FROM search_terms
        WHERE instance = ?1 AND kind = ?2 AND (term, id) > (?3, ?4) AND (term, id) <= (?5, ?6) LIMIT ?7)";

/// `CROSS JOIN`: the terms come first.
const TERMS: &str = "
    SELECT t.term, t.id, r.terms FROM search_terms t CROSS JOIN search_records r
    WHERE t.instance = ?1 AND t.kind = ?2 AND (t.term, t.id) > (?3, ?4) AND (t.term, t.id) <= (?5, ?6)
        AND r.instance = ?1 AND r.kind = ?2 AND r.id = t.id
    ORDER BY t.term, t.id LIMIT ?7";
