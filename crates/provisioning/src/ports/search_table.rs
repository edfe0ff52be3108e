//! The search table: what enrollments and registrations are found by. It follows the change log, and can be built anew at any time.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use model::{IdScope, SearchProgress, SearchTerm, SearchedKind};

use super::StoreError;

/// Reads and writes the search table. It is not written by [`Commits`](super::Commits), and has no entries in the change log.
#[async_trait]
pub trait SearchTable: Send + Sync {
    /// Returns how far the table of an instance follows the change log; `None` if there is no table.
    async fn search_progress(&self, scope: &IdScope) -> Result<Option<SearchProgress>, StoreError>;

    /// Writes a portion, if the progress is still the expected one. Returns whether it was.
    async fn update_search(
        &self,
        scope: &IdScope,
        expected: Option<&SearchProgress>,
        update: SearchUpdate,
    ) -> Result<bool, StoreError>;

    /// Deletes the progress, and some thousands of the terms. Returns whether more are left.
    async fn clear_search(&self, scope: &IdScope) -> Result<bool, StoreError>;

    /// Counts the terms within a range, up to a bound.
    async fn count_terms(
        &self,
        scope: &IdScope,
        range: &TermRange,
        at_most: usize,
    ) -> Result<usize, StoreError>;

    /// Returns the terms within a range with their records, in the order of terms and then IDs, up to a number.
    async fn terms(
        &self,
        scope: &IdScope,
        range: &TermRange,
        at_most: usize,
    ) -> Result<Vec<FoundTerm>, StoreError>;
}

/// A portion that is written to the search table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchUpdate {
    /// The progress afterwards.
    pub next: SearchProgress,
    /// The records, each once.
    pub records: Vec<SearchRecord>,
}

/// What a record is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRecord {
    /// Its kind.
    pub kind: SearchedKind,
    /// Its lower-case ID.
    pub id: String,
    /// Its terms; none if there is no such record.
    pub terms: Vec<SearchTerm>,
}

/// Terms of records of a kind, within a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermRange {
    /// The kind.
    pub kind: SearchedKind,
    /// The range.
    pub terms: RangeInclusive<SearchTerm>,
    /// After this one, if it is within the range.
    pub after: Option<TermPosition>,
}

/// The position of a term of a record: by term, then by ID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TermPosition {
    /// The term.
    pub term: SearchTerm,
    /// The lower-case ID of the record.
    pub id: String,
}

/// A term of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTerm {
    /// Where it is.
    pub position: TermPosition,
    /// All terms of the record.
    pub terms: Vec<SearchTerm>,
}

impl TermRange {
    /// Returns the position that the range is read after.
    pub fn start(&self) -> TermPosition {
        let first = || TermPosition { term: self.terms.start().clone(), id: String::new() };
        self.after.clone().unwrap_or_else(first).max(first())
    }
}
