//! Reads of what is not kept in memory: individual enrollments, registrations, cleanups and usage.

use durable::Database;
use durable::rusqlite::{self, OptionalExtension, Row, ToSql};
use model::{Day, HubName, IdScope, OperationKind, StatusKind, Timestamp, UsageRow};
use provisioning::ports::{Page, PageRequest, StoreError};
use serde::de::DeserializeOwned;

use crate::embedded::broken;
use crate::embedded::document::{Documents, Place};

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
    Individuals,
    /// By the lower-case ID of the group.
    RegistrationsOf(String),
    RegistrationsIn(StatusKind),
    Cleanups,
}

impl Records<'_> {
    pub(crate) fn individual<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, StoreError> {
        self.one("individuals", "SELECT document FROM individuals WHERE instance = ?1 AND id = ?2", id)
    }

    pub(crate) fn registration<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, StoreError> {
        self.one("registrations", "SELECT document FROM registrations WHERE instance = ?1 AND id = ?2", id)
    }

    pub(crate) fn cleanup<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, StoreError> {
        self.one("cleanups", "SELECT document FROM cleanups WHERE instance = ?1 AND id = ?2", id)
    }

    /// How many cleanups there are.
    pub(crate) fn cleanups_owed(&self) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM cleanups WHERE instance = ?1";
        let count: i64 = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_row([self.instance], |row| row.get(0)))
            .map_err(|error: rusqlite::Error| broken(error))?;
        u64::try_from(count).map_err(broken)
    }

    /// Cleanups at a hub that are due, the longest due first.
    pub(crate) fn cleanups_due<T: DeserializeOwned>(
        &self,
        hub: &HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Vec<T>, StoreError> {
        let sql = "SELECT id, document FROM cleanups
                   WHERE instance = ?1 AND hub = ?2 AND due <= ?3 ORDER BY due LIMIT ?4";
        let values = (self.instance, hub.as_str(), now.ticks(), at_most.min(LONGEST_PAGE) as i64);
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<SealedRow> = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_map(values, read)?.collect())
            .map_err(|error: rusqlite::Error| broken(error))?;
        rows.iter().map(|(id, sealed)| self.open("cleanups", id, sealed)).collect()
    }

    /// One page of a listing, in the order of the IDs: lower-case ones, but for cleanups.
    pub(crate) fn page<T: DeserializeOwned>(
        &self,
        listing: &Listing,
        page: &PageRequest,
    ) -> Result<Page<T>, StoreError> {
        let limit = page.limit.clamp(1, LONGEST_PAGE);
        let after = page.after.as_deref().unwrap_or("");
        let (rows, more) = self.rows(listing, after, limit).map_err(broken)?;
        let next = rows.last().filter(|_| more).map(|(id, _)| id.clone());
        let items = rows.iter().map(|(id, sealed)| self.open(listing.table(), id, sealed));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next })
    }

    /// Individual enrollments that expire until then, the first of them first.
    pub(crate) fn expiring<T: DeserializeOwned>(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        let sql = "SELECT id, document FROM individuals
                   WHERE instance = ?1 AND expires <= ?2 ORDER BY expires, id LIMIT ?3";
        let values = (self.instance, until.unix_seconds(), limit.clamp(1, LONGEST_PAGE) as i64);
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<SealedRow> = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_map(values, read)?.collect())
            .map_err(|error: rusqlite::Error| broken(error))?;
        rows.iter().map(|(id, sealed)| self.open("individuals", id, sealed)).collect()
    }

    /// Operations from the first to the last day, by day and kind.
    pub(crate) fn usage(&self, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        let sql = "SELECT day, kind, count FROM usage WHERE instance = ?1 AND day BETWEEN ?2 AND ?3";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
        let range = (self.instance, from.number(), to.number());
        let rows: Vec<(i32, String, i64)> = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_map(range, read)?.collect())
            .map_err(|error: rusqlite::Error| broken(error))?;
        let parse = |(day, kind, count): (i32, String, i64)| {
            let known = OperationKind::from_name(&kind);
            let kind = known.ok_or_else(|| broken(format!("usage of an unknown kind: {kind:?}")))?;
            Ok(UsageRow { day: Day::from_number(day), kind, count: u64::try_from(count).map_err(broken)? })
        };
        let mut usage = rows.into_iter().map(parse).collect::<Result<Vec<_>, StoreError>>()?;
        usage.sort_by_key(|row| (row.day, row.kind));
        Ok(usage)
    }

    fn one<T: DeserializeOwned>(
        &self,
        table: &'static str,
        sql: &str,
        id: &str,
    ) -> Result<Option<T>, StoreError> {
        let key = (self.instance, id);
        let sealed: Option<Vec<u8>> = self
            .database
            .read(|connection| connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional())
            .map_err(|error: rusqlite::Error| broken(error))?;
        sealed.map(|sealed| self.open(table, id, &sealed)).transpose()
    }

    /// IDs and sealed documents after a lower-case ID, and whether there are more.
    fn rows(&self, listing: &Listing, after: &str, limit: usize) -> rusqlite::Result<(Vec<SealedRow>, bool)> {
        let one_more = limit as i64 + 1;
        let mut values: Vec<&dyn ToSql> = vec![&self.instance, &after, &one_more];
        let status = listing.status();
        match listing {
            Listing::RegistrationsOf(group) => values.push(group),
            Listing::RegistrationsIn(_) => values.push(&status),
            Listing::Individuals | Listing::Cleanups => {}
        }
        self.database.read(|connection| {
            let mut statement = connection.prepare_cached(listing.sql())?;
            let mut found = statement.query(values.as_slice())?;
            let (mut rows, mut bytes) = (Vec::new(), 0);
            while let Some(row) = found.next()? {
                if rows.len() >= limit || bytes >= LARGEST_PAGE {
                    return Ok((rows, true));
                }
                let (id, sealed): SealedRow = (row.get(0)?, row.get(1)?);
                bytes += sealed.len();
                rows.push((id, sealed));
            }
            Ok((rows, false))
        })
    }

    fn open<T: DeserializeOwned>(
        &self,
        table: &'static str,
        id: &str,
        sealed: &[u8],
    ) -> Result<T, StoreError> {
        self.documents.open(Place { table, scope: self.scope, id }, sealed)
    }
}

impl Listing {
    fn table(&self) -> &'static str {
        match self {
            Listing::Individuals => "individuals",
            Listing::RegistrationsOf(_) | Listing::RegistrationsIn(_) => "registrations",
            Listing::Cleanups => "cleanups",
        }
    }

    fn status(&self) -> &'static str {
        match self {
            Listing::RegistrationsIn(status) => status.name(),
            Listing::Individuals | Listing::RegistrationsOf(_) | Listing::Cleanups => "",
        }
    }

    fn sql(&self) -> &'static str {
        match self {
            Listing::Individuals => {
                "SELECT id, document FROM individuals
                 WHERE instance = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
            }
            Listing::RegistrationsOf(_) => {
                "SELECT id, document FROM registrations
                 WHERE instance = ?1 AND group_id = ?4 AND id > ?2 ORDER BY id LIMIT ?3"
            }
            Listing::RegistrationsIn(StatusKind::Assigned) => {
                "SELECT id, document FROM registrations
                 WHERE instance = ?1 AND status = ?4 AND id > ?2 ORDER BY id LIMIT ?3"
            }
            // The index is for the rest, which the text must say for it to be used.
            Listing::RegistrationsIn(_) => {
                "SELECT id, document FROM registrations
                 WHERE instance = ?1 AND status = ?4 AND status <> 'assigned' AND id > ?2 ORDER BY id LIMIT ?3"
            }
            Listing::Cleanups => {
                "SELECT id, document FROM cleanups
                 WHERE instance = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
            }
        }
    }
}

/// An ID and its sealed document.
type SealedRow = (String, Vec<u8>);

/// Records in one page at most, whatever is asked for: bounds the time of one read.
const LONGEST_PAGE: usize = 1000;

/// Bytes of sealed documents after which a page ends: bounds its memory. An enrollment has 1 KB or tens of them.
const LARGEST_PAGE: usize = 4 << 20;
