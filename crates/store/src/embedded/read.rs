//! Reads of what is not kept in memory: individual enrollments, registrations, cleanups and usage.

use durable::Database;
use durable::rusqlite::types::Value;
use durable::rusqlite::{self, Connection, OptionalExtension, Row, params_from_iter};
use model::{Day, HubName, IdScope, OperationKind, StatusKind, Timestamp, UsageRow};
use provisioning::RecordKind;
use provisioning::ports::{DamagedRecord, Page, PageRequest, StoreError};
use serde::de::DeserializeOwned;

use crate::broken;
use crate::document::{Documents, RowRef};
use crate::embedded::broken_rows::damage_in;
use crate::table::Table;

/// One instance's records in the file.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    pub(crate) database: &'a Database,
    pub(crate) documents: &'a Documents,
    /// Its number.
    pub(crate) instance: i64,
    pub(crate) scope: &'a IdScope,
}

/// Which records a listing goes through.
#[derive(Debug)]
pub(crate) enum Listing {
    /// After an ID, as all but the last two.
    Individuals(PageRequest),
    /// By the lower-case ID of the group.
    RegistrationsOf(String, PageRequest),
    RegistrationsIn(StatusKind, PageRequest),
    /// Of every status, however they came.
    Registrations(PageRequest),
    Cleanups(PageRequest),
    /// Individual enrollments that expire until then, the first of them first; at most so many.
    Expiring(Timestamp, usize),
    /// Cleanups at a hub that are due at a time, the longest due first; at most so many.
    Due(HubName, Timestamp, usize),
}

/// A row that was found: its ID, and its sealed document or why that cannot be read.
struct Found {
    id: String,
    document: Result<Vec<u8>, String>,
}

impl Records<'_> {
    pub(crate) fn individual<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, StoreError> {
        self.one(Table::Individuals, "SELECT document FROM individuals WHERE instance = ?1 AND id = ?2", id)
    }

    pub(crate) fn registration<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, StoreError> {
        self.one(
            Table::Registrations,
            "SELECT document FROM registrations WHERE instance = ?1 AND id = ?2",
            id,
        )
    }

    pub(crate) fn cleanup<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, StoreError> {
        self.one(Table::Cleanups, "SELECT document FROM cleanups WHERE instance = ?1 AND id = ?2", id)
    }

    /// How many cleanups there are, counted no further than [`MAX_COUNTED`].
    pub(crate) fn cleanups_owed(&self) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM cleanups WHERE instance = ?1 LIMIT ?2)";
        let values = (self.instance, MAX_COUNTED);
        let count: i64 = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)))
            .map_err(|error: rusqlite::Error| broken(error))?;
        u64::try_from(count).map_err(broken)
    }

    /// Cleanups at a hub that are due. Damaged ones take no place: they are never done, and would keep all others from
    /// their turn.
    pub(crate) fn due<T: DeserializeOwned>(
        &self,
        hub: HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Page<T>, StoreError> {
        let page = self.page(&Listing::Due(hub.clone(), now, at_most))?;
        if page.damaged.is_empty() {
            return Ok(page);
        }
        let mut page = self.page(&Listing::Due(hub, now, LONGEST_PAGE))?;
        page.items.truncate(at_most);
        Ok(page)
    }

    /// One page of a listing. What cannot be read is named in it and does not end it.
    pub(crate) fn page<T: DeserializeOwned>(&self, listing: &Listing) -> Result<Page<T>, StoreError> {
        let read = |connection: &Connection| match self.rows(connection, listing) {
            Err(error) if damage_in(&error).is_some() => self.rows_one_by_one(connection, listing),
            rows => rows,
        };
        let (rows, more) = self.database.read(read).map_err(|error| match damage_in(&error) {
            Some(reason) => broken(format!("the index of {} is damaged: {reason}", listing.table().name())),
            None => broken(error),
        })?;
        let next = rows.last().filter(|_| more && listing.continues()).map(|row| row.id.clone());
        let mut page = Page { next, ..Page::default() };
        for Found { id, document } in rows {
            match document.map_err(|reason| self.note(listing.table(), &id, reason)) {
                Ok(sealed) => match self.open(listing.table(), &id, &sealed) {
                    Ok(record) => page.items.push(record),
                    Err(damaged) => page.damaged.push(damaged),
                },
                Err(damaged) => page.damaged.push(damaged),
            }
        }
        Ok(page)
    }

    /// Operations from the first to the last day, by day and kind.
    pub(crate) fn usage(&self, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        let sql = "SELECT day, kind, count FROM usage WHERE instance = ?1 AND day BETWEEN ?2 AND ?3";
        let range = (self.instance, from.number(), to.number());
        let rows: rusqlite::Result<Vec<Result<UsageRow, String>>> = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_map(range, usage_row)?.collect());
        let rows = rows.map_err(|error| match damage_in(&error) {
            Some(reason) => StoreError::Damaged(self.note_usage(USAGE, reason)),
            None => broken(error),
        })?;
        // A count that cannot be read is left out, and shown as damage: the others are right.
        let readable =
            |row: Result<UsageRow, String>| row.map_err(|id| self.note_usage(&id, NO_COUNT.to_owned())).ok();
        let mut usage: Vec<UsageRow> = rows.into_iter().filter_map(readable).collect();
        usage.sort_by_key(|row| (row.day, row.kind));
        Ok(usage)
    }

    fn one<T: DeserializeOwned>(&self, table: Table, sql: &str, id: &str) -> Result<Option<T>, StoreError> {
        let key = (self.instance, id);
        let sealed: Option<Vec<u8>> = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional())
            .map_err(|error: rusqlite::Error| match damage_in(&error) {
                Some(reason) => StoreError::Damaged(self.note(table, id, reason)),
                None => broken(error),
            })?;
        let opened = sealed.map(|sealed| self.open(table, id, &sealed)).transpose();
        opened.map_err(StoreError::Damaged)
    }

    /// The rows of a listing, and whether there are more.
    fn rows(&self, connection: &Connection, listing: &Listing) -> rusqlite::Result<(Vec<Found>, bool)> {
        let sql = listing.sql("id, document", listing.filter(), listing.order());
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(listing.values(self.instance)))?;
        let mut taken = Taken::new(listing.limit());
        while let Some(row) = rows.next()? {
            if taken.is_full() {
                return Ok((taken.rows, true));
            }
            taken.push(Found { id: row.get(0)?, document: Ok(row.get(1)?) });
        }
        Ok((taken.rows, false))
    }

    /// The same where a row of the table cannot be read, or is not there although an index has it: the index says which
    /// rows there should be, and each is read for itself.
    fn rows_one_by_one(
        &self,
        connection: &Connection,
        listing: &Listing,
    ) -> rusqlite::Result<(Vec<Found>, bool)> {
        let sql = listing.sql(listing.key(), listing.filter_of_index(), listing.order_of_index());
        let mut statement = connection.prepare_cached(&sql)?;
        let key = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let keys = statement.query_map(params_from_iter(listing.values(self.instance)), key)?;
        let mut taken = Taken::new(listing.limit());
        for key in keys {
            if taken.is_full() {
                return Ok((taken.rows, true));
            }
            let (number, id): (i64, Option<String>) = key?;
            if let Some(found) = listing.row(connection, number, id)? {
                taken.push(found);
            }
        }
        Ok((taken.rows, false))
    }

    fn open<T: DeserializeOwned>(&self, table: Table, id: &str, sealed: &[u8]) -> Result<T, DamagedRecord> {
        self.documents.open(RowRef { table, scope: self.scope, id }, sealed)
    }

    fn note_usage(&self, id: &str, reason: String) -> DamagedRecord {
        let record = DamagedRecord { kind: RecordKind::Usage, id: id.to_owned(), reason };
        self.documents.damage().note(&self.scope.key(), &record);
        record
    }

    fn note(&self, table: Table, id: &str, reason: String) -> DamagedRecord {
        self.documents.note(RowRef { table, scope: self.scope, id }, reason)
    }
}

/// A count, or the name of what is none.
fn usage_row(row: &Row<'_>) -> rusqlite::Result<Result<UsageRow, String>> {
    let (day, kind, count): (Value, Value, Value) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let read = match (&day, &kind, &count) {
        (Value::Integer(day), Value::Text(kind), Value::Integer(count)) => (|| {
            let (day, count) = (i32::try_from(*day).ok()?, u64::try_from(*count).ok()?);
            Some(UsageRow { day: Day::from_number(day), kind: OperationKind::from_name(kind)?, count })
        })(),
        _ => None,
    };
    Ok(read.ok_or_else(|| format!("{day:?} {kind:?}")))
}

/// The rows of a page, bounded in number and bytes.
struct Taken {
    rows: Vec<Found>,
    bytes: usize,
    limit: usize,
}

impl Taken {
    fn new(limit: usize) -> Taken {
        Taken { rows: Vec::new(), bytes: 0, limit }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || self.bytes >= LARGEST_PAGE
    }

    fn push(&mut self, row: Found) {
        self.bytes += row.document.as_ref().map_or(0, Vec::len);
        self.rows.push(row);
    }
}

impl Listing {
    fn table(&self) -> Table {
        match self {
            Listing::Individuals(_) | Listing::Expiring(..) => Table::Individuals,
            Listing::RegistrationsOf(..) | Listing::RegistrationsIn(..) | Listing::Registrations(_) => {
                Table::Registrations
            }
            Listing::Cleanups(_) | Listing::Due(..) => Table::Cleanups,
        }
    }

    /// Whether the next page begins after an ID.
    fn continues(&self) -> bool {
        !matches!(self, Listing::Expiring(..) | Listing::Due(..))
    }

    /// Rows in one page at most.
    fn limit(&self) -> usize {
        let limit = match self {
            Listing::Individuals(page) | Listing::Cleanups(page) | Listing::Registrations(page) => page.limit,
            Listing::RegistrationsOf(_, page) | Listing::RegistrationsIn(_, page) => page.limit,
            Listing::Expiring(_, limit) | Listing::Due(_, _, limit) => *limit,
        };
        limit.clamp(1, LONGEST_PAGE)
    }

    /// `?1` is the instance, `?2` one row more than the page may have.
    fn sql(&self, columns: &str, filter: &str, order: &str) -> String {
        let table = self.table().name();
        format!("SELECT {columns} FROM {table} WHERE instance = ?1 AND {filter} ORDER BY {order} LIMIT ?2")
    }

    fn values(&self, instance: i64) -> Vec<Value> {
        let after = |page: &PageRequest| Value::from(page.after.clone().unwrap_or_default());
        let mut values = vec![Value::from(instance), Value::from(self.limit() as i64 + 1)];
        values.extend(match self {
            Listing::Individuals(page) | Listing::Cleanups(page) | Listing::Registrations(page) => {
                vec![after(page)]
            }
            Listing::RegistrationsOf(group, page) => vec![after(page), Value::from(group.clone())],
            Listing::RegistrationsIn(StatusKind::Assigned, page) => vec![after(page)],
            Listing::RegistrationsIn(status, page) => {
                vec![after(page), Value::from(status.name().to_owned())]
            }
            Listing::Expiring(until, _) => vec![Value::from(until.unix_seconds())],
            Listing::Due(hub, now, _) => vec![Value::from(now.ticks()), Value::from(hub.to_string())],
        });
        values
    }

    fn filter(&self) -> &'static str {
        match self {
            Listing::Individuals(_) | Listing::Cleanups(_) | Listing::Registrations(_) => "id > ?3",
            Listing::RegistrationsOf(..) => "group_id = ?4 AND id > ?3",
            Listing::RegistrationsIn(StatusKind::Assigned, _) => "status = 'assigned' AND id > ?3",
            // The index is for the rest, which the text must say for it to be used.
            Listing::RegistrationsIn(..) => "status = ?4 AND status <> 'assigned' AND id > ?3",
            Listing::Expiring(..) => "expires <= ?3",
            Listing::Due(..) => "hub = ?4 AND due <= ?3",
        }
    }

    /// What an index can decide alone.
    fn filter_of_index(&self) -> &'static str {
        match self {
            Listing::RegistrationsIn(StatusKind::Assigned, _) => "id > ?3",
            _ => self.filter(),
        }
    }

    /// Row number and ID, as far as an index has them.
    fn key(&self) -> &'static str {
        match self {
            Listing::Expiring(..) | Listing::Due(..) => "rowid, NULL",
            _ => "rowid, id",
        }
    }

    fn order(&self) -> &'static str {
        match self {
            Listing::Expiring(..) => "expires, id",
            Listing::Due(..) => "due",
            _ => "id",
        }
    }

    fn order_of_index(&self) -> &'static str {
        match self {
            Listing::Expiring(..) => "expires",
            _ => self.order(),
        }
    }

    /// One row by its number; `None` when it does not belong to the listing after all.
    fn row(
        &self,
        connection: &Connection,
        number: i64,
        id: Option<String>,
    ) -> rusqlite::Result<Option<Found>> {
        let only = match self {
            Listing::RegistrationsIn(StatusKind::Assigned, _) => " AND status = 'assigned'",
            _ => "",
        };
        let sql = format!("SELECT id, document FROM {} WHERE rowid = ?1{only}", self.table().name());
        let named = || id.clone().unwrap_or_else(|| format!("row {number}"));
        let read = connection.prepare_cached(&sql)?.query_row([number], |row| Ok((row.get(0)?, row.get(1)?)));
        match read.optional() {
            Ok(Some((id, document))) => Ok(Some(Found { id, document: Ok(document) })),
            Ok(None) if only.is_empty() => {
                let reason = "the index has it, the table does not".to_owned();
                Ok(Some(Found { id: named(), document: Err(reason) }))
            }
            Ok(None) => Ok(None),
            Err(error) => match damage_in(&error) {
                Some(reason) => Ok(Some(Found { id: named(), document: Err(reason) })),
                None => Err(error),
            },
        }
    }
}

const USAGE: &str = "usage";

const NO_COUNT: &str = "it is no count of a kind of operation that this program knows";

/// Records in one page at most, whatever is asked for: bounds the time of one read.
const LONGEST_PAGE: usize = 1000;

/// Bytes of sealed documents after which a page ends: bounds its memory. An enrollment has 1 KB or tens of them.
const LARGEST_PAGE: usize = 4 << 20;

/// How far cleanups are counted: beyond it only that there are many matters, and monitoring asks every few seconds.
const MAX_COUNTED: i64 = 100_000;
