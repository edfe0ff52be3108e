//! The change log in the file: a row for each change of a record, written in the transaction of the change.
//!
//! The file has one writer at a time, so a position is the number of the row before plus one: positions follow the order of
//! commits, and have no gaps. A row has 50 to 70 bytes.

use durable::rusqlite::{
    self, Connection, OptionalExtension, Row,
    types::{Type, Value},
};
use model::{LogCursor, LogEntry, LogKind, LogPosition};
use provisioning::ports::{LogError, LogPage, LogQuery, LogRetention};

use crate::log_row::{LogRow, Signature, TICKS_PER_MILLI};

/// Logs the changes of one commit.
pub(crate) struct LogWriter<'a> {
    pub(crate) connection: &'a Connection,
    /// The number of the instance.
    pub(crate) instance: i64,
    pub(crate) signature: &'a Signature,
}

impl LogWriter<'_> {
    /// Logs that a record has this version from now on, or is deleted.
    pub(crate) fn note(&self, kind: LogKind, key: &str, version: Option<&str>) -> rusqlite::Result<()> {
        let is_configuration = kind.is_configuration();
        let Signature { millis, operation, actor, address, .. } = self.signature;
        let name = self.signature.name_beside(key);
        let values =
            (millis, self.instance, kind.code(), operation, key, version.map(packed), actor, name, address);
        let position = self.connection.prepare_cached(INSERT)?.insert(values)?;
        if is_configuration {
            self.connection.prepare_cached(CONFIGURED)?.execute([position])?;
        }
        Ok(())
    }
}

/// Returns the position of the newest change of configuration: the version of the snapshot.
pub(crate) fn configured(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT configured FROM log_state")?;
    statement.query_row([], |row| row.get(0)).map(i64::cast_unsigned)
}

/// A record of configuration that was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) instance: i64,
    pub(crate) kind: LogKind,
    pub(crate) key: String,
}

/// Returns the records of configuration that were changed after this version, in the order of their last changes; `None` when
/// the log does not reach back that far.
pub(crate) fn changed_since(connection: &Connection, version: u64) -> rusqlite::Result<Option<Vec<Changed>>> {
    let position = version.cast_signed();
    let oldest: Option<i64> = connection.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
    if oldest.is_none_or(|oldest| oldest > position + 1) {
        return Ok(None);
    }
    let changed = |row: &Row<'_>| {
        let kind: u8 = row.get(1)?;
        let kind =
            LogKind::from_code(kind).ok_or_else(|| unreadable(format!("{kind} is no kind of record")))?;
        Ok(Changed { instance: row.get(0)?, kind, key: row.get(2)? })
    };
    let mut statement = connection.prepare_cached(CHANGED)?;
    let rows: rusqlite::Result<Vec<_>> = statement.query_map([position], changed)?.collect();
    rows.map(Some)
}

/// Reads a page in one transaction, so that a trim in between is noticed.
pub(super) fn read_page(
    connection: &Connection,
    instance: i64,
    query: &LogQuery,
) -> rusqlite::Result<Result<LogPage, LogError>> {
    let transaction = connection.unchecked_transaction()?;
    let log = LogReader { connection: &transaction, instance, query };
    match log.bounds()? {
        Ok(bounds) => log.page(&bounds).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

struct LogReader<'a> {
    connection: &'a Connection,
    instance: i64,
    query: &'a LogQuery,
}

/// The rows to read.
struct Bounds {
    writer: u64,
    /// After this position.
    after: i64,
    newest: i64,
}

impl LogReader<'_> {
    /// Returns where the page begins, or why there is no page.
    fn bounds(&self) -> rusqlite::Result<Result<Bounds, LogError>> {
        let (writer, oldest, newest): (i64, Option<i64>, Option<i64>) = self
            .connection
            .prepare_cached(BOUNDS)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let writer = writer.cast_unsigned();
        let (oldest, newest) = (oldest.unwrap_or(1), newest.unwrap_or(0));
        let after = match self.query.after.positions() {
            [] => oldest - 1,
            [at] if at.writer() == writer => at.number().cast_signed(),
            _ => return Ok(Err(LogError::Foreign)),
        };
        Ok(match after {
            _ if after < oldest - 1 => Err(LogError::Trimmed),
            _ if after > newest => Err(LogError::Foreign),
            _ => Ok(Bounds { writer, after: after.max(self.before_since(oldest, newest)?), newest }),
        })
    }

    /// Returns the position before the first entry that is not too old, by binary search: entries are in the order of time,
    /// except where the clock was set back.
    fn before_since(&self, oldest: i64, newest: i64) -> rusqlite::Result<i64> {
        let Some(since) = self.query.filter.since else { return Ok(oldest - 1) };
        let millis = since.ticks().div_euclid(TICKS_PER_MILLI);
        let (mut low, mut high) = (oldest, newest + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let time: Option<i64> =
                self.connection.prepare_cached(TIME)?.query_row([middle], |row| row.get(0)).optional()?;
            if time.is_some_and(|time| time < millis) { low = middle + 1 } else { high = middle }
        }
        Ok(low - 1)
    }

    fn page(&self, bounds: &Bounds) -> rusqlite::Result<LogPage> {
        let mut page = LogPage::default();
        let mut last = bounds.after;
        let mut statement = self.connection.prepare_cached(READ)?;
        let mut rows = statement.query((last, MOST_LOOKED_AT))?;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            if row.get::<_, i64>(1)? != self.instance {
                continue;
            }
            let entry = entry(row, LogPosition::new(bounds.writer, last.cast_unsigned()))?;
            if self.query.filter.admits(&entry) {
                page.entries.push(entry);
            }
            if page.entries.len() >= self.query.limit.clamp(1, LONGEST_PAGE) {
                break;
            }
        }
        page.next = LogCursor::default();
        page.next.advance(LogPosition::new(bounds.writer, last.cast_unsigned()));
        page.more = last < bounds.newest;
        Ok(page)
    }
}

fn entry(row: &Row<'_>, position: LogPosition) -> rusqlite::Result<LogEntry> {
    let row = LogRow {
        millis: row.get(2)?,
        kind: row.get(3)?,
        operation: row.get(4)?,
        key: row.get(5)?,
        version: unpacked(row.get(6)?),
        actor: row.get(7)?,
        name: row.get(8)?,
        address: row.get(9)?,
    };
    row.into_entry(position).map_err(unreadable)
}

fn unreadable(reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, reason.into())
}

/// Packs an etag into eight bytes if this program generated it.
fn packed(etag: &str) -> Value {
    let number = u64::from_str_radix(etag, 16).ok().filter(|number| format!("{number:016x}") == etag);
    number.map_or_else(|| Value::Text(etag.to_owned()), |number| Value::Integer(number.cast_signed()))
}

fn unpacked(version: Value) -> Option<String> {
    match version {
        Value::Integer(number) => Some(format!("{:016x}", number.cast_unsigned())),
        Value::Text(etag) => Some(etag),
        Value::Null | Value::Real(_) | Value::Blob(_) => None,
    }
}

/// Deletes the oldest rows. The newest always stays: the next position is counted from its number.
pub(super) fn trim(connection: &Connection, keep: LogRetention) -> rusqlite::Result<bool> {
    let newest: Option<i64> = connection.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))?;
    let Some(newest) = newest else { return Ok(false) };
    let by_rows = newest.saturating_sub(i64::try_from(keep.rows).unwrap_or(i64::MAX));
    let millis = keep.since.ticks().div_euclid(TICKS_PER_MILLI);
    let first: i64 = connection
        .prepare_cached(FIRST_KEPT)?
        .query_row((TRIMMED_AT_ONCE, by_rows, millis, newest), |row| row.get(0))?;
    let trimmed = connection.prepare_cached("DELETE FROM log WHERE position < ?1")?.execute([first])?;
    Ok(i64::try_from(trimmed).is_ok_and(|trimmed| trimmed >= TRIMMED_AT_ONCE))
}

/// The most rows, of all instances, that are read for one page: bounds the time of a read to some milliseconds.
const MOST_LOOKED_AT: i64 = 20_000;

/// The most entries of one page.
const LONGEST_PAGE: usize = 1000;

/// Rows that are deleted at once: about 5 ms of the writer's time.
const TRIMMED_AT_ONCE: i64 = 5000;

const INSERT: &str = "
    INSERT INTO log (time, instance, kind, operation, key, version, actor, name, address)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const CONFIGURED: &str = "UPDATE log_state SET configured = ?1";

const OLDEST: &str = "SELECT min(position) FROM log";

const NEWEST: &str = "SELECT max(position) FROM log";

const BOUNDS: &str =
    "SELECT writer, (SELECT min(position) FROM log), (SELECT max(position) FROM log) FROM log_state";

const TIME: &str = "SELECT time FROM log WHERE position = ?1";

const READ: &str = "
    SELECT position, instance, time, kind, operation, key, version, actor, name, address FROM log
    WHERE position > ?1 ORDER BY position LIMIT ?2";

/// Selects the first row that stays among the oldest `?1`, or the position after them.
const FIRST_KEPT: &str = "
    SELECT coalesce(min(position) FILTER (WHERE position > ?2 AND time >= ?3 OR position >= ?4), max(position) + 1)
    FROM (SELECT position, time FROM log ORDER BY position LIMIT ?1)";

const CHANGED: &str = "
    SELECT instance, kind, key FROM log INDEXED BY log_of_configuration
    WHERE position > ?1 AND kind < 16 GROUP BY instance, kind, key ORDER BY max(position)";
