//! Reads listings and usage.

use durable::rusqlite::{self, Connection, OptionalExtension, Row, params_from_iter, types::Value};
use model::{Day, OperationKind, StatusKind, UsageRow};

use crate::{
    engine::{FoundRow, Listing, PageRows},
    listing::ListingValue,
    sqlite::broken_rows::damage_in,
};

pub(super) const REGISTRATION: &str = "SELECT document FROM registrations WHERE instance = ?1 AND id = ?2";

pub(super) const INDIVIDUAL: &str = "SELECT document FROM individuals WHERE instance = ?1 AND id = ?2";

pub(super) const CLEANUP: &str = "SELECT document FROM cleanups WHERE instance = ?1 AND id = ?2";

/// Returns the rows of a listing, and whether there are more.
pub(super) fn scan(
    connection: &Connection,
    instance: i64,
    listing: &Listing,
) -> rusqlite::Result<(Vec<FoundRow>, bool)> {
    match rows(connection, instance, listing) {
        Err(error) if damage_in(&error).is_some() => rows_one_by_one(connection, instance, listing),
        rows => rows,
    }
}

/// Returns the operations from the first to the last day; of a count that cannot be read, what identifies it.
pub(super) fn usage(
    connection: &Connection,
    instance: i64,
    (from, to): (Day, Day),
) -> rusqlite::Result<Vec<Result<UsageRow, String>>> {
    let sql = "SELECT day, kind, count FROM usage WHERE instance = ?1 AND day BETWEEN ?2 AND ?3";
    let range = (instance, from.number(), to.number());
    connection.prepare_cached(sql)?.query_map(range, usage_row)?.collect()
}

/// Reads the rows of a listing in one query.
fn rows(
    connection: &Connection,
    instance: i64,
    listing: &Listing,
) -> rusqlite::Result<(Vec<FoundRow>, bool)> {
    let query = Query(listing);
    let sql = query.sql(listing.columns(), listing.filter(), listing.order());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(query.values(instance)))?;
    let mut page = PageRows::new(listing.limit());
    while let Some(row) = rows.next()? {
        if page.is_full() {
            return Ok((page.into_rows(), true));
        }
        let number = if listing.is_numbered() { Some(row.get(2)?) } else { None };
        page.push(FoundRow { id: row.get(0)?, number, document: Ok(row.get(1)?) });
    }
    Ok((page.into_rows(), false))
}

/// Reads the rows of a listing one by one, where a row of the table cannot be read, or is missing although an index has it: the
/// index tells which rows there should be.
fn rows_one_by_one(
    connection: &Connection,
    instance: i64,
    listing: &Listing,
) -> rusqlite::Result<(Vec<FoundRow>, bool)> {
    let query = Query(listing);
    let sql = query.sql(query.key(), query.filter_of_index(), query.order_of_index());
    let mut statement = connection.prepare_cached(&sql)?;
    let key = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let keys = statement.query_map(params_from_iter(query.values(instance)), key)?;
    let mut page = PageRows::new(listing.limit());
    for key in keys {
        if page.is_full() {
            return Ok((page.into_rows(), true));
        }
        let (number, id): (i64, Option<String>) = key?;
        if let Some(found) = query.row(connection, number, id)? {
            page.push(found);
        }
    }
    Ok((page.into_rows(), false))
}

/// Reads a count; returns what identifies the row if it does not hold one.
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

/// The SQL of a listing.
struct Query<'a>(&'a Listing);

impl Query<'_> {
    /// `?1` is the instance, `?2` one row more than the page may have.
    fn sql(&self, columns: &str, filter: &str, order: &str) -> String {
        let table = self.0.table().name();
        format!("SELECT {columns} FROM {table} WHERE instance = ?1 AND {filter} ORDER BY {order} LIMIT ?2")
    }

    fn values(&self, instance: i64) -> Vec<Value> {
        let mut values = vec![Value::from(instance), Value::from(self.0.limit() as i64 + 1)];
        values.extend(self.0.values().into_iter().map(|value| match value {
            ListingValue::Number(number) => Value::from(number),
            ListingValue::Text(text) => Value::from(text),
        }));
        values
    }

    /// Returns the filter that an index alone can decide.
    fn filter_of_index(&self) -> &'static str {
        match self.0 {
            Listing::RegistrationsIn(StatusKind::Assigned, _) => "id > ?3",
            _ => self.0.filter(),
        }
    }

    /// Returns the columns of row number and ID, as far as an index has them.
    fn key(&self) -> &'static str {
        match self.0 {
            Listing::Expiring(..) | Listing::Due(..) | Listing::Attempts(_) => "rowid, NULL",
            _ => "rowid, id",
        }
    }

    fn order_of_index(&self) -> &'static str {
        match self.0 {
            Listing::Expiring(..) => "expires",
            _ => self.0.order(),
        }
    }

    /// Reads one row by its number; `None` when it does not belong to the listing after all.
    fn row(
        &self,
        connection: &Connection,
        number: i64,
        id: Option<String>,
    ) -> rusqlite::Result<Option<FoundRow>> {
        let only = match self.0 {
            Listing::RegistrationsIn(StatusKind::Assigned, _) => " AND status = 'assigned'",
            _ => "",
        };
        let sql = format!("SELECT id, document FROM {} WHERE rowid = ?1{only}", self.0.table().name());
        let named = || id.clone().unwrap_or_else(|| format!("row {number}"));
        // The number of an attempt is that of its row.
        let found = |id, document| FoundRow { id, number: self.0.is_numbered().then_some(number), document };
        let read = connection.prepare_cached(&sql)?.query_row([number], |row| Ok((row.get(0)?, row.get(1)?)));
        match read.optional() {
            Ok(Some((id, document))) => Ok(Some(found(id, Ok(document)))),
            Ok(None) if only.is_empty() => {
                let reason = "the index has it, the table does not".to_owned();
                Ok(Some(found(named(), Err(reason))))
            }
            Ok(None) => Ok(None),
            Err(error) => match damage_in(&error) {
                Some(reason) => Ok(Some(found(named(), Err(reason)))),
                None => Err(error),
            },
        }
    }
}
