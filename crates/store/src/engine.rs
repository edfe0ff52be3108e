//! What a database must do to be a store.
//!
//! An engine keeps rows: where each belongs, its version, the columns that it is listed by, and a sealed document that it
//! cannot read. It decides nothing but whether an expectation holds. Everything else is done once for all engines: documents,
//! the snapshot of configurations, damage, and the ports.

use async_trait::async_trait;
use model::{Day, HubDeviceRef, HubName, StatusKind, Timestamp, UsageRow};
use provisioning::ports::{
    FoundTerm, Leases, LogError, LogPage, LogQuery, LogRetention, Outcome, PageRequest, SearchRecord,
    StoreError, TermRange,
};

use crate::{
    batch::{Batch, RowKey},
    log_row::TICKS_PER_MICRO,
    table::Table,
};

/// Records of a page at most, whatever is asked for: bounds the time of one read.
pub const MAX_PAGE: usize = 1000;

/// Bytes of sealed documents after which a page ends: bounds its memory. An enrollment has 1 KB or tens of them.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

/// How far rows are counted: beyond it only that there are many matters, and monitoring asks every few seconds.
pub const MAX_COUNTED: u64 = 100_000;

/// A database of rows. Instances are named by numbers, which it gives them.
///
/// A read sees every batch that was acknowledged before, through whichever handle. Its clock measures leases
/// ([`Leases`]), which need no documents and are the engine's alone.
#[async_trait]
pub trait Engine: Leases + 'static {
    /// Reads rows, and the activity, as they are at one moment. Each request reads, so this is one round trip at most.
    async fn read(&self, lookup: Lookup) -> Result<Reading, StoreError>;

    /// Returns the rows of instances and configurations that were changed after this version of the snapshot, or all of them,
    /// as they are at one moment.
    async fn configuration(&self, since: Option<u64>) -> Result<ConfigurationRows, StoreError>;

    /// Returns the rows of a listing, in its order, and whether there are more.
    async fn scan(&self, instance: i64, listing: Listing) -> Result<(Vec<FoundRow>, bool), StoreError>;

    /// Counts the rows of a table of an instance, up to this number.
    async fn count(&self, instance: i64, table: Table, at_most: u64) -> Result<u64, StoreError>;

    /// Returns the operations from the first to the last day; of a count that cannot be read, what identifies it.
    async fn usage(
        &self,
        instance: i64,
        days: (Day, Day),
    ) -> Result<Vec<Result<UsageRow, String>>, StoreError>;

    /// Writes a batch in one transaction, with an entry in the change log for each change that was made; on disk when this
    /// returns. Returns the outcomes of its guards and changes; `None` when it is fenced.
    async fn apply(&self, batch: Batch) -> Result<Option<Vec<Outcome>>, StoreError>;

    /// Adds refused attempts, and deletes those beyond the bounds of the port, oldest first.
    async fn keep_attempts(&self, instance: i64, attempts: Vec<AttemptRow>) -> Result<(), StoreError>;

    /// Deletes the attempts that were written before this time; of the instances in the list instead, before their own time.
    async fn trim_attempts(&self, before: Timestamp, own: Vec<(i64, Timestamp)>) -> Result<(), StoreError>;

    /// Deletes the attempts and the counted operations of an instance.
    async fn forget(&self, instance: i64) -> Result<(), StoreError>;

    /// Returns part of the change log of an instance.
    async fn read_log(&self, instance: i64, query: LogQuery) -> Result<LogPage, LogError>;

    /// Returns how far the search table of an instance follows the change log, as it was written.
    async fn search_progress(&self, instance: i64) -> Result<Option<String>, StoreError>;

    /// Writes a portion of the search table if the progress is the expected one. Returns whether it was.
    async fn update_search(&self, instance: i64, rows: SearchRows) -> Result<bool, StoreError>;

    /// Writes that the search table is being cleared in place of its progress, deletes a portion of it, and the progress once
    /// nothing else is left. Returns whether more is.
    async fn clear_search(&self, instance: i64) -> Result<bool, StoreError>;

    /// Counts the terms within a range, up to a bound.
    async fn count_terms(
        &self,
        instance: i64,
        range: &TermRange,
        at_most: usize,
    ) -> Result<usize, StoreError>;

    /// Returns the terms within a range, byte by byte in the order of terms and then IDs, up to a number.
    async fn terms(
        &self,
        instance: i64,
        range: &TermRange,
        at_most: usize,
    ) -> Result<Vec<FoundTerm>, StoreError>;

    /// Deletes entries of the change log; see [`ChangeLog::trim_log`](provisioning::ports::ChangeLog::trim_log).
    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError>;
}

/// Why bytes in the database cannot be read.
pub type Damaged = String;

/// A sealed document, or why the row that has it cannot be read.
pub type Document = Result<Vec<u8>, Damaged>;

/// Rows of an instance that are read together, by their lower-case IDs. What has no ID is not looked up.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// The number of the instance.
    pub instance: i64,
    /// The registration.
    pub registration: Option<String>,
    /// The individual enrollment.
    pub individual: Option<String>,
    /// The cleanup.
    pub cleanup: Option<String>,
    /// The registration that this device at a hub belongs to, unless it is the one of the instance with this ID.
    pub other_owner: Option<(HubDeviceRef, String)>,
}

/// What a [`Lookup`] found.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// A number that rises with every batch that changes configuration, at the latest when the batch is acknowledged. It
    /// may rise at other times. It falls only if the database has lost batches.
    pub activity: u64,
    /// The registration.
    pub registration: Option<Document>,
    /// The individual enrollment.
    pub individual: Option<Document>,
    /// The cleanup.
    pub cleanup: Option<Document>,
    /// The lower-case ID scope and ID of the registration that the device belongs to.
    pub other_owner: Option<(String, String)>,
}

/// A row of a listing.
#[derive(Debug, Clone)]
pub struct FoundRow {
    /// Its lower-case ID.
    pub id: String,
    /// The number that the listing continues after; `None` if it continues after the ID.
    pub number: Option<i64>,
    /// Its document.
    pub document: Document,
}

impl FoundRow {
    /// Returns what the next page of the listing continues after.
    pub fn position(&self) -> String {
        self.number.map_or_else(|| self.id.clone(), |number| number.to_string())
    }
}

/// Rows of instances and their configurations, as they were at one moment.
#[derive(Debug)]
pub struct ConfigurationRows {
    /// The version of the newest change.
    pub version: u64,
    /// Whether these are all rows, and not only those that were changed.
    pub is_complete: bool,
    /// The rows: each instance before its configuration.
    pub rows: Vec<ConfigurationRow>,
}

/// A row of an instance or of its configuration.
#[derive(Debug)]
pub struct ConfigurationRow {
    /// The number of the instance.
    pub instance: i64,
    /// The ID scope of the instance as it is stored.
    pub scope: String,
    /// The row.
    pub key: RowKey,
    /// What it holds.
    pub content: RowContent,
}

/// What a row of configuration holds.
#[derive(Debug)]
pub enum RowContent {
    /// A document, or why the row cannot be read.
    Document(Document),
    /// A document that was given up: the next one that is written takes over what belongs to the instance.
    GivenUp,
    /// Nothing: the row was deleted.
    Deleted,
}

/// A refused attempt, sealed.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// The lower-case registration ID.
    pub id: String,
    /// Whether the ID was known.
    pub is_known: bool,
    /// The document.
    pub document: Vec<u8>,
}

/// A portion of the search table.
#[derive(Debug, Clone)]
pub struct SearchRows {
    /// The progress that must be found; absent for a new table.
    pub expected: Option<String>,
    /// The progress afterwards.
    pub next: String,
    /// The records, each once.
    pub records: Vec<SearchRecord>,
}

/// The rows of an instance that a listing goes through.
#[derive(Debug, Clone)]
pub enum Listing {
    /// Individual enrollments by ID.
    Individuals(PageRequest),
    /// Registrations of a group, which is named by its lower-case ID, by ID.
    RegistrationsOf(String, PageRequest),
    /// Registrations of a status by ID.
    RegistrationsIn(StatusKind, PageRequest),
    /// Registrations by ID.
    Registrations(PageRequest),
    /// Cleanups by key.
    Cleanups(PageRequest),
    /// Individual enrollments that expire until this time, the first of them first; at most this many.
    Expiring(Timestamp, usize),
    /// Cleanups at a hub that are due at this time, the longest due first; at most this many.
    Due(HubName, Timestamp, usize),
    /// Attempts, newest first.
    Attempts(AttemptRows),
}

/// Which attempts a listing goes through. They are numbered by the microseconds since 1970 when they were written, or higher
/// where several were written at once.
#[derive(Debug, Clone)]
pub struct AttemptRows {
    /// Only those of this lower-case registration ID.
    pub id: Option<String>,
    /// Which page: it continues with numbers below the one that it names.
    pub page: PageRequest,
}

impl AttemptRows {
    /// Returns the number that the numbers of the page are below; none are if it is malformed.
    pub fn below(&self) -> i64 {
        self.page.after.as_ref().map_or(i64::MAX, |number| number.parse().unwrap_or(0))
    }
}

/// Returns the number of attempts that are written at this time.
pub fn attempt_number(at: Timestamp) -> i64 {
    at.ticks() / TICKS_PER_MICRO
}

impl Listing {
    /// Returns the table that it lists.
    pub fn table(&self) -> Table {
        match self {
            Listing::Individuals(_) | Listing::Expiring(..) => Table::Individuals,
            Listing::RegistrationsOf(..) | Listing::RegistrationsIn(..) | Listing::Registrations(_) => {
                Table::Registrations
            }
            Listing::Cleanups(_) | Listing::Due(..) => Table::Cleanups,
            Listing::Attempts(_) => Table::Attempts,
        }
    }

    /// Returns the request, if the listing has pages that begin after an ID.
    pub fn request(&self) -> Option<&PageRequest> {
        match self {
            Listing::Individuals(page) | Listing::Cleanups(page) | Listing::Registrations(page) => Some(page),
            Listing::RegistrationsOf(_, page) | Listing::RegistrationsIn(_, page) => Some(page),
            Listing::Attempts(rows) => Some(&rows.page),
            Listing::Expiring(..) | Listing::Due(..) => None,
        }
    }

    /// Returns the most rows of a page.
    pub fn limit(&self) -> usize {
        let limit = match self {
            Listing::Expiring(_, limit) | Listing::Due(_, _, limit) => *limit,
            listing => listing.request().map_or(MAX_PAGE, |page| page.limit),
        };
        limit.clamp(1, MAX_PAGE)
    }
}

/// The rows of a page, bounded in number and bytes.
#[derive(Debug)]
pub struct PageRows {
    rows: Vec<FoundRow>,
    bytes: usize,
    limit: usize,
}

impl PageRows {
    /// Creates a page without rows.
    pub fn new(limit: usize) -> Self {
        PageRows { rows: Vec::new(), bytes: 0, limit }
    }

    /// Whether it takes no more rows.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || self.bytes >= MAX_PAGE_BYTES
    }

    /// Adds a row.
    pub fn push(&mut self, row: FoundRow) {
        self.bytes += row.document.as_ref().map_or(0, Vec::len);
        self.rows.push(row);
    }

    /// Returns the rows.
    pub fn into_rows(self) -> Vec<FoundRow> {
        self.rows
    }
}
