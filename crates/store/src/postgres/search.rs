//! The search table: a row for each term of a record, and one for all terms of it, by which a change finds those that it removes.

use std::collections::HashMap;

use model::SearchTerm;
use provisioning::ports::{FoundTerm, SearchRecord, StoreError, TermPosition, TermRange};
use tokio_postgres::{Error, Row};

use super::queries::Queries;
use crate::{
    broken,
    engine::SearchRows,
    search::{CLEARING, Difference, joined, split},
};

/// Rows of each table that are deleted at once.
const CLEARED_AT_ONCE: i64 = 5000;

/// Returns how far the table of an instance follows the change log.
pub(super) async fn progress(queries: &Queries, instance: i32) -> Result<Option<String>, StoreError> {
    let row =
        queries.query_opt("SELECT progress FROM search_progress WHERE instance = $1", &[&instance]).await?;
    row.map(|row| row.try_get(0)).transpose().map_err(broken)
}

/// Writes a portion if the progress is the expected one. Returns whether it was; not when the portion was written already, by
/// a statement whose reply was lost.
pub(super) async fn update(queries: &Queries, instance: i32, rows: &SearchRows) -> Result<bool, StoreError> {
    let old = stored_terms(queries, instance, &rows.records).await?;
    let changes = Changes::of(&rows.records, &old);
    let Changes { added, removed, put, deleted } = &changes;
    let row = queries
        .query_opt(
            UPDATE,
            &[
                &instance,
                &rows.next,
                &rows.expected,
                &removed.kinds,
                &removed.terms,
                &removed.ids,
                &added.kinds,
                &added.terms,
                &added.ids,
                &deleted.kinds,
                &deleted.ids,
                &put.kinds,
                &put.ids,
                &put.terms,
            ],
        )
        .await?;
    let moved: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(broken)?;
    Ok(moved > 0)
}

/// Returns the terms that records have, by kind and ID.
async fn stored_terms(
    queries: &Queries,
    instance: i32,
    records: &[SearchRecord],
) -> Result<HashMap<(i16, String), Vec<SearchTerm>>, StoreError> {
    let kinds: Vec<i16> = records.iter().map(|record| record.kind.code()).collect();
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let rows = queries.query(RECORDS, &[&instance, &kinds, &ids]).await?;
    let stored = |row: &Row| Ok(((row.try_get(0)?, row.try_get(1)?), split(row.try_get(2)?)));
    rows.iter().map(stored).collect::<Result<_, Error>>().map_err(broken)
}

/// Rows as arrays, one for each column.
#[derive(Default)]
struct Columns {
    kinds: Vec<i16>,
    ids: Vec<String>,
    terms: Vec<String>,
}

impl Columns {
    fn add(&mut self, record: &SearchRecord, terms: String) {
        self.kinds.push(record.kind.code());
        self.ids.push(record.id.clone());
        self.terms.push(terms);
    }
}

/// The rows that a portion changes.
#[derive(Default)]
struct Changes {
    added: Columns,
    removed: Columns,
    put: Columns,
    deleted: Columns,
}

impl Changes {
    fn of(records: &[SearchRecord], stored: &HashMap<(i16, String), Vec<SearchTerm>>) -> Changes {
        let mut changes = Changes::default();
        for record in records {
            let old = stored.get(&(record.kind.code(), record.id.clone())).map_or(&[][..], Vec::as_slice);
            let Difference { added, removed } = Difference::between(old, &record.terms);
            added.iter().for_each(|term| changes.added.add(record, term.as_str().to_owned()));
            removed.iter().for_each(|term| changes.removed.add(record, term.as_str().to_owned()));
            match record.terms.is_empty() {
                true => changes.deleted.add(record, String::new()),
                false => changes.put.add(record, joined(&record.terms)),
            }
        }
        changes
    }
}

/// Deletes a portion, and the progress, which says so meanwhile, once nothing else is left. Returns whether more is.
pub(super) async fn clear(queries: &Queries, instance: i32) -> Result<bool, StoreError> {
    queries.query(PUT_CLEARING, &[&instance, &CLEARING]).await?;
    for delete in [CLEAR_TERMS, CLEAR_RECORDS] {
        queries.query(delete, &[&instance, &CLEARED_AT_ONCE, &CLEARING]).await?;
    }
    Ok(queries.query_opt(CLEAR_PROGRESS, &[&instance, &CLEARING]).await?.is_none())
}

/// Counts terms within a range, up to a bound.
pub(super) async fn count(
    queries: &Queries,
    instance: i32,
    range: &TermRange,
    at_most: usize,
) -> Result<usize, StoreError> {
    let TermRange { kind, after, until } = range;
    let (first, last) = (after.term.as_str(), until.term.as_str());
    let row = queries
        .query_opt(COUNT, &[&instance, &kind.code(), &first, &after.id, &last, &until.id, &(at_most as i64)])
        .await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(broken)?;
    usize::try_from(count).map_err(broken)
}

/// Returns the terms within a range with their records, in order.
pub(super) async fn terms(
    queries: &Queries,
    instance: i32,
    range: &TermRange,
    at_most: usize,
) -> Result<Vec<FoundTerm>, StoreError> {
    let TermRange { kind, after, until } = range;
    let (first, last) = (after.term.as_str(), until.term.as_str());
    let rows = queries
        .query(TERMS, &[&instance, &kind.code(), &first, &after.id, &last, &until.id, &(at_most as i64)])
        .await?;
    rows.iter().map(found).collect::<Result<_, Error>>().map_err(broken)
}

fn found(row: &Row) -> Result<FoundTerm, Error> {
    let position = TermPosition { term: SearchTerm::from_text(row.try_get(0)?), id: row.try_get(1)? };
    Ok(FoundTerm { position, terms: split(row.try_get(2)?) })
}

const RECORDS: &str = "
    SELECT r.kind, r.id, r.terms FROM unnest($2::int2[], $3::text[]) AS c(kind, id)
    JOIN search_records r ON r.instance = $1 AND r.kind = c.kind AND r.id = c.id";

/// One statement, so that it is done wholly or not at all. `$1` instance, `$2` next and `$3` expected progress; kinds, terms and IDs
/// of `$4` to `$6` the terms to remove and `$7` to `$9` to add; kinds and IDs of `$10` and `$11` the records to delete; kinds,
/// IDs and terms of `$12` to `$14` the records to write.
const UPDATE: &str = "
    WITH changed AS (
        UPDATE search_progress SET progress = $2::text WHERE instance = $1::int4 AND progress = $3::text RETURNING 1
    ), created AS (
        INSERT INTO search_progress (instance, progress) SELECT $1::int4, $2::text WHERE $3::text IS NULL
        ON CONFLICT DO NOTHING RETURNING 1
    ), moved AS (
        SELECT 1 AS one FROM changed UNION ALL SELECT 1 FROM created
    ), removed AS (
        DELETE FROM search_terms t USING unnest($4::int2[], $5::text[], $6::text[]) AS c(kind, term, id)
        WHERE t.instance = $1::int4 AND t.kind = c.kind AND t.term = c.term AND t.id = c.id AND EXISTS (SELECT 1 FROM moved)
    ), added AS (
        INSERT INTO search_terms (instance, kind, term, id)
        SELECT $1::int4, c.kind, c.term, c.id FROM unnest($7::int2[], $8::text[], $9::text[]) AS c(kind, term, id)
        WHERE EXISTS (SELECT 1 FROM moved) ON CONFLICT DO NOTHING
    ), deleted AS (
        DELETE FROM search_records r USING unnest($10::int2[], $11::text[]) AS c(kind, id)
        WHERE r.instance = $1::int4 AND r.kind = c.kind AND r.id = c.id AND EXISTS (SELECT 1 FROM moved)
    ), put AS (
        INSERT INTO search_records (instance, kind, id, terms)
        SELECT $1::int4, c.kind, c.id, c.terms FROM unnest($12::int2[], $13::text[], $14::text[]) AS c(kind, id, terms)
        WHERE EXISTS (SELECT 1 FROM moved)
        ON CONFLICT (instance, kind, id) DO UPDATE SET terms = excluded.terms
    )
    SELECT count(*) FROM moved";

const PUT_CLEARING: &str = "
    INSERT INTO search_progress (instance, progress) VALUES ($1, $2)
    ON CONFLICT (instance) DO UPDATE SET progress = excluded.progress";

/// Only while the table is cleared: another process may have begun the next one meanwhile.
const CLEAR_TERMS: &str = "
    DELETE FROM search_terms WHERE (instance, kind, term, id) IN (
        SELECT instance, kind, term, id FROM search_terms WHERE instance = $1 LIMIT $2)
        AND EXISTS (SELECT 1 FROM search_progress WHERE instance = $1 AND progress = $3)";

const CLEAR_RECORDS: &str = "
    DELETE FROM search_records WHERE (instance, kind, id) IN (
        SELECT instance, kind, id FROM search_records WHERE instance = $1 LIMIT $2)
        AND EXISTS (SELECT 1 FROM search_progress WHERE instance = $1 AND progress = $3)";

const CLEAR_PROGRESS: &str = "
    DELETE FROM search_progress WHERE instance = $1 AND progress = $2
        AND NOT EXISTS (SELECT 1 FROM search_terms WHERE instance = $1)
        AND NOT EXISTS (SELECT 1 FROM search_records WHERE instance = $1) RETURNING 1";

const COUNT: &str = "
    SELECT count(*) FROM (
        SELECT 1 FROM search_terms WHERE instance = $1 AND kind = $2 
            AND (term, id) > ($3, $4) AND (term, id) <= ($5, $6) LIMIT $7) AS t";

const TERMS: &str = "
    SELECT t.term, t.id, r.terms FROM search_terms t
    JOIN search_records r ON r.instance = t.instance AND r.kind = t.kind AND r.id = t.id
    WHERE t.instance = $1 AND t.kind = $2 AND (t.term, t.id) > ($3, $4) AND (t.term, t.id) <= ($5, $6)
    ORDER BY t.term, t.id LIMIT $7";
