//! Searches among enrollments and registrations.
//!
//! What an index answers is read by it. The rest is found by the search table, where there is one: it follows the change log
//! (`follow.rs`), so that it may be behind, and each record that it names is read and compared again (`table.rs`). Without a table,
//! records are examined one after another (`scan.rs`).

mod follow;
mod list;
mod scan;
mod table;

use std::time::Duration;

use model::SearchProgress;

use crate::{Provisioning, ports::Page};

/// What the search table has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchSettings {
    /// Whether the tags of initial twins are in it, where they stand in clear.
    pub with_tags: bool,
}

impl SearchSettings {
    /// Returns whether a table is of these settings.
    fn admits(self, progress: &SearchProgress) -> bool {
        self.with_tags == progress.has_tags
    }
}

/// How records were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchMethod {
    /// By an index of the records.
    Index,
    /// By the search table, in which changes of this last time may be missing.
    Table(Duration),
    /// By examining records one after another.
    Scan,
}

/// A page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPage<T> {
    /// The records. There may be few or none although more follow.
    pub page: Page<T>,
    /// How they were found.
    pub method: SearchMethod,
}

/// A count of the records that meet a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchCount {
    /// How many there are between where the count began and where it ended.
    pub count: usize,
    /// Where the count continues; absent if it has ended.
    pub next: Option<String>,
    /// How they were found.
    pub method: SearchMethod,
}

impl Provisioning {
    /// Has searches use a search table, which the job fills; `None` has the job remove it.
    #[must_use]
    pub fn searching(mut self, settings: Option<SearchSettings>) -> Self {
        self.search = settings;
        self
    }
}
