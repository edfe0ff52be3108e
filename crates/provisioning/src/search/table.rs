//! Searches by the search table.

use std::time::Duration;

use model::{Condition, IdScope, Search, SearchProgress, SearchTerm, Searchable, SearchedKind};

use crate::{
    Error, Provisioning,
    ports::{
        FoundTerm, LogError, LogQuery, Page, PageRequest, SearchTable, StoreError, TermPosition, TermRange,
    },
};

/// The terms that one request examines at most, unless only one condition is asked for: each costs a read of the terms of its
/// record.
pub(super) const EXAMINED: usize = 1000;

/// The terms that a request examines at most that counts.
pub(super) const COUNTED: usize = 10_000;

/// How far the records that meet a condition are counted to compare conditions.
const COMPARED: usize = 500;

/// A search that the search table answers.
#[derive(Debug)]
pub(super) struct TableSearch<'a> {
    kind: SearchedKind,
    search: &'a Search,
    /// The conditions that the table has terms for, at least one.
    conditions: Vec<&'a Condition>,
    after: Option<TermPosition>,
    /// The age of the oldest change that is not in the table yet.
    pub(super) lag: Duration,
}

/// The records that a page of a search found.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Their lower-case IDs.
    pub(super) found: Vec<String>,
    /// Where the search continues.
    pub(super) next: Option<String>,
}

impl Provisioning {
    /// Returns how far the search table of an instance is behind the change log; `None` if there is no complete table.
    pub async fn search_lag(&self, scope: &IdScope) -> Result<Option<Duration>, Error> {
        match self.usable_progress(scope).await? {
            Some(progress) => self.lag_of(scope, &progress).await,
            None => Ok(None),
        }
    }

    /// Returns the search as the table answers it; `None` if records must be examined. Fails if it would continue by a table
    /// that is not there any more.
    pub(super) async fn table_search<'a>(
        &self,
        scope: &IdScope,
        kind: SearchedKind,
        search: &'a Search,
        page: &PageRequest,
    ) -> Result<Option<TableSearch<'a>>, Error> {
        if search.conditions.is_empty() {
            return Ok(None);
        }
        let after = page.after.as_deref().map(parse_position);
        // A page that began by examining records continues so.
        if let Some(None) = after {
            return Ok(None);
        }
        let after = after.flatten();
        let none = if after.is_some() { Err(gone()) } else { Ok(None) };
        let Some(progress) = self.usable_progress(scope).await? else { return none };
        let has_terms = |it: &&Condition| progress.has_tags || !it.is_of_tags();
        let conditions: Vec<_> = search.conditions.iter().filter(has_terms).collect();
        let Some(lag) = self.lag_of(scope, &progress).await?.filter(|_| !conditions.is_empty()) else {
            return none;
        };
        Ok(Some(TableSearch { kind, search, conditions, after, lag }))
    }

    async fn usable_progress(&self, scope: &IdScope) -> Result<Option<SearchProgress>, Error> {
        let Some(settings) = self.search else { return Ok(None) };
        let progress = self.store.search_state(scope).await?.progress();
        Ok(progress.filter(|progress| progress.building.is_none() && settings.admits(progress)))
    }

    /// Returns the age of the oldest change after the progress; `None` if the log does not reach back so far.
    async fn lag_of(&self, scope: &IdScope, progress: &SearchProgress) -> Result<Option<Duration>, Error> {
        let query = LogQuery { after: progress.position.clone(), limit: 1, ..LogQuery::default() };
        match self.store.read_log(scope, query).await {
            Ok(page) => {
                let oldest = page.entries.first().map(|entry| entry.attribution.at);
                Ok(Some(oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest))))
            }
            Err(LogError::Trimmed | LogError::Foreign) => Ok(None),
            Err(LogError::Store(error)) => Err(error.into()),
        }
    }
}

impl TableSearch<'_> {
    /// Whether the table has terms for every condition.
    pub(super) fn is_complete(&self) -> bool {
        self.conditions.len() == self.search.conditions.len()
    }

    /// Whether it continues an earlier page.
    pub(super) fn is_continued(&self) -> bool {
        self.after.is_some()
    }

    /// Returns the records of a page, up to a limit, and examines this many terms at most.
    pub(super) async fn find_keys(
        &self,
        store: &dyn SearchTable,
        scope: &IdScope,
        (limit, examined): (usize, usize),
    ) -> Result<Keys, Error> {
        let driver = self.driver(store, scope).await?;
        let is_simple = self.conditions.len() == 1 && self.search.prefix.is_none();
        let left = if is_simple { limit.min(examined) } else { examined };
        let mut page = KeyPage { table: self, limit, left, last: None, found: Vec::new() };
        for range in self.ranges(driver) {
            let found = store.terms(scope, &range, page.left).await?;
            if page.is_ended_by(found) {
                return Ok(Keys { found: page.found, next: page.last.as_ref().map(position_text) });
            }
        }
        Ok(Keys { found: page.found, next: None })
    }

    /// Returns the condition whose terms are gone through: the one that fewest records meet, or that the page continues with.
    async fn driver(&self, store: &dyn SearchTable, scope: &IdScope) -> Result<&Condition, Error> {
        if let Some(after) = &self.after {
            let driver = self.conditions.iter().find(|condition| condition.admits(&after.term));
            return driver
                .copied()
                .ok_or_else(|| Error::Invalid("the continuation is of another search".to_owned()));
        }
        let mut best = (usize::MAX, self.conditions.first());
        for condition in self.conditions.iter().filter(|_| self.conditions.len() > 1) {
            let mut count = 0;
            for range in self.ranges(condition) {
                count += store.count_terms(scope, &range, COMPARED).await?;
            }
            if count < best.0 {
                best = (count, Some(condition));
            }
        }
        best.1.copied().ok_or_else(|| Error::Broken("a search of the table without a condition".to_owned()))
    }

    /// Returns what is left of the ranges of a condition.
    fn ranges(&self, condition: &Condition) -> impl Iterator<Item = TermRange> {
        condition.ranges().iter().filter_map(|terms| {
            let range = TermRange::new(self.kind, terms, self.search.prefix.as_ref());
            match &self.after {
                Some(after) => range.rest(after.clone()),
                None => Some(range),
            }
        })
    }
}

/// The page of a search that is being found.
struct KeyPage<'a> {
    table: &'a TableSearch<'a>,
    limit: usize,
    /// How many terms may still be examined: at least one, until the page ends.
    left: usize,
    last: Option<TermPosition>,
    found: Vec<String>,
}

impl KeyPage<'_> {
    /// Adds the records among these terms that meet the search. Returns whether the page ends here, before the range may have.
    fn is_ended_by(&mut self, terms: Vec<FoundTerm>) -> bool {
        for FoundTerm { position, terms } in terms {
            let prefix = self.table.search.prefix.as_ref();
            let has_prefix = prefix.is_none_or(|prefix| prefix.is_prefix_of(&position.id));
            if has_prefix && self.table.conditions.iter().all(|condition| condition.holds_for(&terms)) {
                self.found.push(position.id.clone());
            }
            self.left -= 1;
            self.last = Some(position);
            if self.found.len() >= self.limit {
                return true;
            }
        }
        self.left == 0
    }
}

/// Returns the error of a search that continues by a table that is not there any more.
pub(super) fn gone() -> Error {
    Error::Invalid("the search table is not there any more: search from the start".to_owned())
}

/// Adds a record that the table named to a page, unless it has changed since and does not meet the search any more.
pub(super) fn add<T: Searchable>(
    page: &mut Page<T>,
    search: &Search,
    loaded: Result<Option<T>, StoreError>,
) -> Result<(), Error> {
    match loaded {
        Ok(record) => page.items.extend(record.filter(|record| search.matches(record))),
        Err(StoreError::Damaged(record)) => page.damaged.push(record),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Writes a position as pages continue with it. No term and no ID has a line feed.
fn position_text(position: &TermPosition) -> String {
    format!("{}\n{}", position.term.as_str(), position.id)
}

fn parse_position(text: &str) -> Option<TermPosition> {
    let (term, id) = text.split_once('\n')?;
    Some(TermPosition { term: SearchTerm::from_text(term.to_owned()), id: id.to_owned() })
}

#[cfg(test)]
mod tests;
