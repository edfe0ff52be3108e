//! The `ChangeLog` port: who changed which record, when, and by which operation.

use async_trait::async_trait;
use model::{IdScope, LogCursor, LogEntry, LogKind, Timestamp};

use super::StoreError;

/// Reads the change log. It is written by [`Commits`](super::Commits).
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// Returns the changes of an instance in the order of their commits. A change is in the log as soon as it is acknowledged,
    /// and no entry between two entries of one writer is missing.
    async fn read_log(&self, scope: &IdScope, query: LogQuery) -> Result<LogPage, LogError>;

    /// Deletes the oldest entries, of all instances, that need not be kept, some thousands at a time. Returns whether there
    /// are more.
    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError>;
}

/// A request for entries of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// After these positions; from the oldest entry when empty.
    pub after: LogCursor,
    /// Only those that meet this.
    pub filter: LogFilter,
    /// At most this many, and at least one.
    pub limit: usize,
}

/// The conditions of a filter, all of which an entry must meet. An absent member is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Of this kind of record.
    pub kind: Option<LogKind>,
    /// Of the record with this key, in any case.
    pub key: Option<String>,
    /// By the access policy, the subject of a token, the device or the job with this name, in any case.
    pub actor: Option<String>,
}

impl LogFilter {
    /// Returns whether an entry meets the filter.
    pub fn admits(&self, entry: &LogEntry) -> bool {
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        self.since.is_none_or(|since| entry.attribution.at >= since)
            && self.kind.is_none_or(|kind| entry.kind == kind)
            && same(&self.key, &entry.key)
            && same(&self.actor, entry.attribution.actor.name())
    }
}

/// Part of the log of an instance, oldest entry first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The entries.
    pub entries: Vec<LogEntry>,
    /// How far was read; the next page begins there. Entries that do not meet the filter, or are another instance's, are
    /// passed over.
    pub next: LogCursor,
    /// Whether there is more to read now. A page may have few entries, or none, and more may follow.
    pub more: bool,
}

/// Why the log cannot be read from a position.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Entries after the position are not kept any more.
    #[error("entries after this position of the change log are not kept any more; read it from the start")]
    Trimmed,
    /// The position is of another log: the database is another one since, or was restored from a backup.
    #[error(
        "this position is of another change log: the database was replaced or restored; read it from the start"
    )]
    Foreign,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How much of the log is to be kept: the bound that is reached first applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// The age of the oldest entry, in days.
    pub days: u32,
    /// The number of entries.
    pub rows: u64,
}

/// How much of the log is kept. The newest entry always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRetention {
    /// Entries that are not older than this...
    pub since: Timestamp,
    /// ... and of those the newest.
    pub rows: u64,
}
