//! The change log in the database: entries of several lanes, each lane with positions of its own.

use std::collections::HashMap;

use model::{LogCursor, LogEntry, LogPosition};
use provisioning::ports::{Clock, LogError, LogPage, LogQuery, LogRetention, StoreError};
use tokio_postgres::{Error, Row};

use super::queries::Queries;
use crate::{
    SystemClock, broken,
    log_row::{LogRow, TICKS_PER_MICRO},
};

/// Returns the position before the first entry of a transaction.
pub(super) fn first_position(seq: i64) -> i64 {
    seq << ORDINAL_BITS
}

/// Returns part of the log of an instance. `writer` is that of the database; see [`writer_of`].
pub(super) async fn read(
    queries: &Queries,
    writer: i64,
    instance: i32,
    query: &LogQuery,
) -> Result<LogPage, LogError> {
    let lanes = lanes(queries, instance).await?;
    let after = start(&lanes, writer, &query.after)?;
    let limit = query.limit.clamp(1, LONGEST_PAGE);
    let (numbers, positions): (Vec<i32>, Vec<i64>) =
        after.iter().map(|(lane, after)| (*lane, *after)).unzip();
    let rows = queries.query(READ, &[&instance, &numbers, &positions, &MOST_LOOKED_AT]).await?;
    // What was removed in the meantime is missing among the rows.
    start(&self::lanes(queries, instance).await?, writer, &query.after)?;
    let mut left = rows.len() as i64 >= MOST_LOOKED_AT;
    let mut merge = Merge { after, entries: Vec::new() };
    for row in in_order(&rows)? {
        if merge.entries.len() >= limit {
            left = true;
            break;
        }
        merge.add(row, writer, query)?;
    }
    Ok(merge.into_page(writer, left))
}

/// A lane that has entries, or had.
struct Lane {
    number: i32,
    /// The last position that was removed.
    trimmed: i64,
    /// The last position that a batch can have.
    last: i64,
}

async fn lanes(queries: &Queries, instance: i32) -> Result<Vec<Lane>, StoreError> {
    let lane = |row: &Row| {
        let last = first_position(row.try_get::<_, i64>(2)? + 1) - 1;
        Ok(Lane { number: row.try_get(0)?, trimmed: row.try_get(1)?, last })
    };
    queries.query(LANES, &[&instance]).await?.iter().map(lane).collect::<Result<_, Error>>().map_err(broken)
}

/// Returns the positions to read after.
fn start(lanes: &[Lane], writer: i64, cursor: &LogCursor) -> Result<HashMap<i32, i64>, LogError> {
    let of = |lane: &Lane| cursor.positions().iter().find(|it| it.writer() == writer_of(writer, lane.number));
    let is_known = |it: &LogPosition| lanes.iter().any(|lane| writer_of(writer, lane.number) == it.writer());
    if !cursor.positions().iter().all(is_known) {
        return Err(LogError::Foreign);
    }
    let is_at_start = cursor.positions().is_empty();
    let mut after = HashMap::new();
    for lane in lanes {
        let from = match of(lane) {
            Some(position) => i64::try_from(position.number()).map_err(|_| LogError::Foreign)?,
            None if is_at_start => lane.trimmed,
            None => 0,
        };
        if from > lane.last {
            return Err(LogError::Foreign);
        }
        after.insert(lane.number, from);
    }
    let is_trimmed = |lane: &Lane| after.get(&lane.number).is_some_and(|from| *from < lane.trimmed);
    if lanes.iter().any(is_trimmed) { Err(LogError::Trimmed) } else { Ok(after) }
}

/// Sorts rows by the time of their transactions, each lane in the order of its positions.
fn in_order(rows: &[Row]) -> Result<Vec<&Row>, LogError> {
    let mut latest: HashMap<i32, i64> = HashMap::new();
    let mut keyed = Vec::with_capacity(rows.len());
    for row in rows {
        let (lane, position, written) = key(row).map_err(|error| LogError::Store(broken(error)))?;
        // The clock of the database may be set back: no entry comes before an earlier one of its lane.
        let time = latest.entry(lane).and_modify(|latest| *latest = written.max(*latest)).or_insert(written);
        keyed.push(((*time, lane, position), row));
    }
    keyed.sort_by_key(|(key, _)| *key);
    Ok(keyed.into_iter().map(|(_, row)| row).collect())
}

fn key(row: &Row) -> Result<(i32, i64, i64), Error> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

struct Merge {
    after: HashMap<i32, i64>,
    entries: Vec<LogEntry>,
}

impl Merge {
    fn add(&mut self, row: &Row, writer: i64, query: &LogQuery) -> Result<(), LogError> {
        let entry = entry(row, writer).map_err(|error| LogError::Store(broken(error)))?;
        let (lane, position, _) = key(row).map_err(|error| LogError::Store(broken(error)))?;
        self.after.insert(lane, position);
        if query.filter.admits(&entry) {
            self.entries.push(entry);
        }
        Ok(())
    }

    fn into_page(self, writer: i64, more: bool) -> LogPage {
        let mut next = LogCursor::default();
        let mut after: Vec<_> = self.after.into_iter().collect();
        after.sort_unstable();
        for (lane, position) in after {
            next.advance(LogPosition::new(writer_of(writer, lane), position.cast_unsigned()));
        }
        LogPage { entries: self.entries, next, more }
    }
}

fn entry(row: &Row, writer: i64) -> Result<LogEntry, String> {
    let (lane, position, _) = key(row).map_err(|error| error.to_string())?;
    let columns = || -> Result<LogRow, Error> {
        Ok(LogRow {
            millis: row.try_get(3)?,
            kind: code(row.try_get(4)?),
            operation: code(row.try_get(5)?),
            key: row.try_get(6)?,
            version: row.try_get(7)?,
            actor: code(row.try_get(8)?),
            name: row.try_get(9)?,
            address: row.try_get(10)?,
        })
    };
    let columns = columns().map_err(|error| error.to_string())?;
    columns.into_entry(LogPosition::new(writer_of(writer, lane), position.cast_unsigned()))
}

/// No code is as large as the one that stands for those out of range.
fn code(stored: i16) -> u8 {
    u8::try_from(stored).unwrap_or(u8::MAX)
}

/// Returns the writer of the positions of a lane: that of the database in the upper 40 bits.
fn writer_of(writer: i64, lane: i32) -> u64 {
    writer.cast_unsigned() << 24 | u64::from(lane.cast_unsigned())
}

/// Deletes the entries of all instances that need not be kept, and old notes of what changed. Returns whether there are more.
pub(super) async fn trim(queries: &Queries, keep: LogRetention) -> Result<bool, StoreError> {
    let rows = i64::try_from(keep.rows).unwrap_or(i64::MAX).max(1);
    queries.query(TRIM_CHANGES, &[&rows.min(MOST_NOTES)]).await?;
    // The clocks of nodes differ: the age is the same by each of them, and the database measures it by its own.
    let age = (SystemClock.now().ticks() - keep.since.ticks()) / TICKS_PER_MICRO;
    // Found once for all portions: it passes over all entries that are kept.
    let Some(kept) = queries.query_opt(FIRST_KEPT, &[&(rows - 1), &age]).await? else { return Ok(false) };
    let first_kept = (|| Ok::<_, Error>((kept.try_get(0)?, kept.try_get(1)?, kept.try_get(2)?)))();
    let first_kept = first_kept.map_err(broken)?;
    for _ in 0..PORTIONS {
        if !trim_portion(queries, &first_kept).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes the oldest entries before this one. Returns whether there are more.
async fn trim_portion(
    queries: &Queries,
    (written, lane, position): &(String, i32, i64),
) -> Result<bool, StoreError> {
    let victims = queries.query(VICTIMS, &[written, lane, position, &TRIMMED_AT_ONCE]).await?;
    let mut columns = (Vec::<i32>::new(), Vec::<i32>::new(), Vec::<i64>::new());
    for row in &victims {
        columns.0.push(row.try_get(0).map_err(broken)?);
        columns.1.push(row.try_get(1).map_err(broken)?);
        columns.2.push(row.try_get(2).map_err(broken)?);
    }
    // The mark comes first: entries that are gone without one would be a gap that no reader notices.
    queries.query(MARK_TRIMMED, &[&columns.0, &columns.1, &columns.2]).await?;
    queries.query(TRIM, &[&columns.0, &columns.1, &columns.2]).await?;
    Ok(victims.len() as i64 >= TRIMMED_AT_ONCE)
}

/// Bits of a position that count the entries of a batch.
const ORDINAL_BITS: u32 = 24;

/// The most rows of a lane that are read for one page.
const MOST_LOOKED_AT: i64 = 1000;

/// The most entries of one page.
const LONGEST_PAGE: usize = 1000;

/// The most rows that are deleted at once.
const TRIMMED_AT_ONCE: i64 = 5000;

/// The most deletions of one call.
const PORTIONS: usize = 40;

/// The versions of the configuration whose changes are kept: a handle that is further behind reads everything.
const MOST_NOTES: i64 = 10_000;

const LANES: &str = "
    SELECT l.lane, coalesce(t.position, 0), l.seq FROM lanes l
    LEFT JOIN log_trimmed t ON t.instance = $1 AND t.lane = l.lane ORDER BY l.lane";

const READ: &str = "
    SELECT l.lane, l.position, (extract(epoch FROM l.written) * 1000000)::bigint, l.at, l.kind, l.operation, l.key,
           l.version, l.actor, l.name, l.address
    FROM unnest($2::int4[], $3::bigint[]) AS c(lane, after) CROSS JOIN LATERAL (
        SELECT * FROM log WHERE instance = $1 AND lane = c.lane AND position > c.after ORDER BY position LIMIT $4) AS l";

/// The first entry that is kept: of the newest but `$1`, of those that are younger than `$2` microseconds, and of the newest of all,
/// the last.
const FIRST_KEPT: &str = "
    SELECT written::text, lane, position FROM (
        (SELECT written, lane, position FROM log ORDER BY written DESC, lane DESC, position DESC OFFSET $1 LIMIT 1)
        UNION ALL
        (SELECT written, lane, position FROM log
         WHERE written >= least(now() - $2::bigint * interval '1 microsecond', (SELECT max(written) FROM log))
         ORDER BY written, lane, position LIMIT 1)
    ) AS kept ORDER BY kept.written DESC, kept.lane DESC, kept.position DESC LIMIT 1";

/// The oldest `$4` before an entry.
const VICTIMS: &str = "
    SELECT instance, lane, position FROM log WHERE (written, lane, position) < ($1::text::timestamptz, $2::int4, $3::bigint)
    ORDER BY written, lane, position LIMIT $4";

const MARK_TRIMMED: &str = "
    INSERT INTO log_trimmed (instance, lane, position)
    SELECT c.instance, c.lane, max(c.position) FROM unnest($1::int4[], $2::int4[], $3::bigint[]) AS c(instance, lane, position)
    GROUP BY c.instance, c.lane
    ON CONFLICT (instance, lane) DO UPDATE SET position = greatest(log_trimmed.position, excluded.position)";

const TRIM: &str = "
    DELETE FROM log l USING unnest($1::int4[], $2::int4[], $3::bigint[]) AS c(instance, lane, position)
    WHERE l.instance = c.instance AND l.lane = c.lane AND l.position = c.position";

const TRIM_CHANGES: &str = "
    DELETE FROM changes WHERE version < (
        SELECT version FROM (SELECT DISTINCT version FROM changes) AS c ORDER BY version DESC OFFSET $1 LIMIT 1)";
