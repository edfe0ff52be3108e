//! Conditions on the terms of a record.

use std::ops::RangeInclusive;

use super::SearchTerm;

/// A condition: one of the terms of the record is in one of these ranges, which are in ascending order and do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Vec<RangeInclusive<SearchTerm>>);

impl Condition {
    /// Returns the condition that a record has one of these terms.
    pub fn any_of(mut terms: Vec<SearchTerm>) -> Condition {
        terms.sort_unstable();
        terms.dedup();
        Condition(terms.into_iter().map(|term| term.clone()..=term).collect())
    }

    /// Returns the condition that a record has a term that begins so.
    pub fn beginning(term: &SearchTerm) -> Condition {
        Condition::within(term.clone()..=term.end_of_prefix())
    }

    /// Returns the condition that a record has a term within a range.
    pub fn within(range: RangeInclusive<SearchTerm>) -> Condition {
        Condition(vec![range])
    }

    /// Returns the ranges.
    pub fn ranges(&self) -> &[RangeInclusive<SearchTerm>] {
        &self.0
    }

    /// Whether it is a condition on tags of initial twins.
    pub fn is_of_tags(&self) -> bool {
        self.0.iter().all(|range| range.start().is_tag())
    }

    /// Returns whether a term meets the condition.
    pub fn admits(&self, term: &SearchTerm) -> bool {
        self.0.iter().any(|range| range.contains(term))
    }

    /// Returns whether the condition holds for a record with these terms.
    pub fn holds_for(&self, terms: &[SearchTerm]) -> bool {
        terms.iter().any(|term| self.admits(term))
    }
}
