//! What the reads of a store have in common: pages, and errors.

use model::HostName;

use super::DamagedRecord;

/// A request for part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Continue after this lower-case ID; from the start when absent.
    pub after: Option<String>,
    /// At most this many, and at least one.
    pub limit: usize,
}

/// Part of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The records.
    pub items: Vec<T>,
    /// Where the next page continues; absent on the last page.
    pub next: Option<String>,
    /// The records that belong here and cannot be read.
    pub damaged: Vec<DamagedRecord>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Page { items: Vec::new(), next: None, damaged: Vec::new() }
    }
}

/// Why a store did nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It has too much to do; trying again later helps.
    #[error("the store is overloaded")]
    Busy,
    /// It takes no writes, as when its disk is full, or its database was away longer than a request waits, also for reads.
    /// Trying again helps once that is over. For the log.
    #[error("the store takes no writes: {0}")]
    Unwritable(String),
    /// A record exists and cannot be read. It can be deleted.
    #[error("{0}")]
    Damaged(DamagedRecord),
    /// Another instance has a host name of the one that is written.
    #[error("another instance has the host name {0}")]
    HostTaken(HostName),
    /// The lease that the commit was made under has another holder now, or none.
    #[error("the lease that this was done under has ended")]
    Fenced,
    /// It is broken or gone. For the log, not for callers.
    #[error("the store failed: {0}")]
    Broken(String),
}
