//! The search table on this store. Its rows are in clear, and hold what is asked of them alone.

use std::collections::HashSet;

use async_trait::async_trait;
use model::{Actor, IdScope, Job, SearchProgress, SearchTerm};
use provisioning::ports::{FoundTerm, SearchState, SearchTable, SearchUpdate, StoreError, TermRange};

use crate::{
    SealedStore, broken,
    engine::{Engine, SearchRows},
};

#[async_trait]
impl<E: Engine> SearchTable for SealedStore<E> {
    async fn search_state(&self, scope: &IdScope) -> Result<SearchState, StoreError> {
        let Some(instance) = self.instance_table().await?.readable_number(scope)? else {
            return Ok(SearchState::Absent);
        };
        let stored = self.engine.search_progress(instance).await?;
        Ok(stored.map_or(SearchState::Absent, |text| match serde_json::from_str(&text) {
            Ok(progress) => SearchState::Kept(progress),
            Err(_) => SearchState::Remnant,
        }))
    }

    async fn update_search(
        &self,
        scope: &IdScope,
        expected: Option<&SearchProgress>,
        update: SearchUpdate,
    ) -> Result<bool, StoreError> {
        let instance = self.written_number(scope, &Actor::System(Job::Search)).await?;
        let rows = SearchRows {
            expected: expected.map(text).transpose()?,
            next: text(&update.next)?,
            records: update.records,
        };
        self.engine.update_search(instance, rows).await
    }

    async fn clear_search(&self, scope: &IdScope) -> Result<bool, StoreError> {
        match self.instance_table().await?.readable_number(scope)? {
            Some(instance) => self.engine.clear_search(instance).await,
            None => Ok(false),
        }
    }

    async fn count_terms(
        &self,
        scope: &IdScope,
        range: &TermRange,
        at_most: usize,
    ) -> Result<usize, StoreError> {
        match self.instance_table().await?.readable_number(scope)? {
            Some(instance) => self.engine.count_terms(instance, range, at_most).await,
            None => Ok(0),
        }
    }

    async fn terms(
        &self,
        scope: &IdScope,
        range: &TermRange,
        at_most: usize,
    ) -> Result<Vec<FoundTerm>, StoreError> {
        match self.instance_table().await?.readable_number(scope)? {
            Some(instance) => self.engine.terms(instance, range, at_most).await,
            None => Ok(Vec::new()),
        }
    }
}

/// What stands in place of the progress of a table that is being cleared.
pub(crate) const CLEARING: &str = "clearing";

fn text(progress: &SearchProgress) -> Result<String, StoreError> {
    serde_json::to_string(progress).map_err(broken)
}

/// Joins the terms of a record to the text of its row. They have no control characters.
pub(crate) fn joined(terms: &[SearchTerm]) -> String {
    let terms: Vec<_> = terms.iter().map(SearchTerm::as_str).collect();
    terms.join("\n")
}

/// Splits the text of a row into the terms of its record.
pub(crate) fn split(text: &str) -> Vec<SearchTerm> {
    text.lines().map(|term| SearchTerm::from_text(term.to_owned())).collect()
}

/// The difference between the terms that a record has, and is to have.
pub(crate) struct Difference<'a> {
    pub(crate) added: Vec<&'a SearchTerm>,
    pub(crate) removed: Vec<&'a SearchTerm>,
}

impl<'a> Difference<'a> {
    pub(crate) fn between(old: &'a [SearchTerm], new: &'a [SearchTerm]) -> Difference<'a> {
        let (olds, news): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
        let without = |these: &'a [SearchTerm], those: &HashSet<&SearchTerm>| {
            these.iter().filter(|term| !those.contains(term)).collect()
        };
        Difference { added: without(new, &olds), removed: without(old, &news) }
    }
}
