//! The search table: what enrollments and registrations are found by. It follows the change log, and can be built anew at any time.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use model::{IdPrefix, IdScope, SearchProgress, SearchTerm, SearchedKind};

use super::StoreError;

/// Reads and writes the search table. It is not written by [`Commits`](super::Commits), and has no entries in the change log.
#[async_trait]
pub trait SearchTable: Send + Sync {
    /// Returns what there is of the table of an instance.
    async fn search_state(&self, scope: &IdScope) -> Result<SearchState, StoreError>;

    /// Writes a portion, if the progress is still the expected one. Returns whether it was.
    async fn update_search(
        &self,
        scope: &IdScope,
        expected: Option<&SearchProgress>,
        update: SearchUpdate,
    ) -> Result<bool, StoreError>;

    /// Makes the table of an instance a [`SearchState::Remnant`], and deletes some thousands of its rows. Returns whether more are left.
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

/// What there is of the search table of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchState {
    /// Nothing.
    Absent,
    /// Rows that are of no use and are still to be cleared: a clear has begun, or the progress cannot be read.
    Remnant,
    /// A table that follows the change log, or that is built.
    Kept(SearchProgress),
}

impl SearchState {
    /// Returns how far the table follows the change log; `None` if there is none.
    pub fn progress(self) -> Option<SearchProgress> {
        match self {
            SearchState::Kept(progress) => Some(progress),
            SearchState::Absent | SearchState::Remnant => None,
        }
    }
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

/// The terms of records of a kind between two positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermRange {
    /// The kind.
    pub kind: SearchedKind,
    /// After this position.
    pub after: TermPosition,
    /// Until this position, inclusive.
    pub until: TermPosition,
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
    /// Returns the range of these terms. If it is a single one, whose records are in the order of their IDs, the range ends with the
    /// prefix of these; otherwise other IDs are among them.
    pub fn new(
        kind: SearchedKind,
        terms: &RangeInclusive<SearchTerm>,
        prefix: Option<&IdPrefix>,
    ) -> TermRange {
        let (first, last) = (terms.start().clone(), terms.end().clone());
        let prefix = prefix.filter(|_| first == last);
        let after = prefix.map(IdPrefix::just_before).unwrap_or_default();
        let until = prefix.map_or(IdPrefix::AFTER_ALL.to_owned(), IdPrefix::just_after);
        TermRange {
            kind,
            after: TermPosition { term: first, id: after },
            until: TermPosition { term: last, id: until },
        }
    }

    /// Returns what of the range comes after a position; `None` if nothing can.
    pub fn rest(self, after: TermPosition) -> Option<TermRange> {
        (after < self.until).then(|| TermRange { after: after.max(self.after), ..self })
    }

    /// Returns whether a position is within the range.
    pub fn contains(&self, position: &TermPosition) -> bool {
        self.after < *position && *position <= self.until
    }
}
