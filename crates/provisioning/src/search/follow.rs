//! Fills the search table from the change log, in portions that may be repeated: what a record is found by is always read anew.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use model::{
    BuildPosition, IdScope, LogCursor, LogEntry, LogKind, RegistrationId, SearchProgress, SearchTerm,
    Searchable, SearchedKind,
};

use super::SearchSettings;
use crate::{
    Error, Provisioning,
    ports::{
        LogError, LogFilter, LogQuery, Page, PageRequest, SearchRecord, SearchState, SearchUpdate, StoreError,
    },
    resource::Portion,
};

/// The records or changes of a portion: some milliseconds of the writer's time.
const PORTION: usize = 200;

/// The entries of the change log that are passed over at once, to find its end.
const PASSED_OVER: usize = 1000;

impl Provisioning {
    /// Brings the search table of an instance one portion closer to the change log, or removes it where it is off. A table of
    /// which the log has lost the position is built anew.
    pub async fn follow_changes(&self, scope: &IdScope) -> Result<Portion, Error> {
        match (self.search, self.store.search_state(scope).await?) {
            (None, SearchState::Absent) => Ok(Portion::Done),
            (Some(settings), SearchState::Absent) => self.begin_table(scope, settings).await,
            (Some(settings), SearchState::Kept(progress)) if settings.admits(&progress) => {
                match progress.building.clone() {
                    Some(at) => self.build(scope, &progress, at).await,
                    None => self.apply_changes(scope, &progress).await,
                }
            }
            (_, SearchState::Kept(_) | SearchState::Remnant) => self.clear_table(scope).await,
        }
    }

    async fn clear_table(&self, scope: &IdScope) -> Result<Portion, Error> {
        self.store.clear_search(scope).await?;
        Ok(Portion::More)
    }

    /// Begins a table at the end of the log: what changes while it is built is applied afterwards.
    async fn begin_table(&self, scope: &IdScope, settings: SearchSettings) -> Result<Portion, Error> {
        let mut after = LogCursor::default();
        loop {
            let filter = LogFilter { since: Some(self.clock.now()), ..LogFilter::default() };
            let query = LogQuery { after, filter, limit: PASSED_OVER };
            match self.store.read_log(scope, query).await {
                Ok(page) if page.more => after = page.next,
                Ok(page) => {
                    after = page.next;
                    break;
                }
                // Trimmed meanwhile: the next portion begins again.
                Err(LogError::Trimmed | LogError::Foreign) => return Ok(Portion::More),
                Err(LogError::Store(error)) => return Err(error.into()),
            }
        }
        let building = Some(BuildPosition::START);
        let next = SearchProgress { position: after, building, has_tags: settings.with_tags };
        self.write_portion(scope, None, SearchUpdate { next, records: Vec::new() }).await
    }

    /// Adds the next records of a listing.
    async fn build(
        &self,
        scope: &IdScope,
        progress: &SearchProgress,
        BuildPosition { kind, after }: BuildPosition,
    ) -> Result<Portion, Error> {
        let request = PageRequest { after, limit: PORTION };
        let (records, next) = match kind {
            SearchedKind::Enrollment => {
                records(kind, self.store.individuals(scope, request).await?, progress.has_tags)
            }
            SearchedKind::Registration => {
                records(kind, self.store.registrations(scope, request).await?, progress.has_tags)
            }
        };
        let building = match (next, kind) {
            (Some(after), kind) => Some(BuildPosition { kind, after: Some(after) }),
            (None, SearchedKind::Enrollment) => {
                Some(BuildPosition { kind: SearchedKind::Registration, after: None })
            }
            (None, SearchedKind::Registration) => None,
        };
        let next = SearchProgress { building, ..progress.clone() };
        self.write_portion(scope, Some(progress), SearchUpdate { next, records }).await
    }

    /// Applies the next changes of the log.
    async fn apply_changes(&self, scope: &IdScope, progress: &SearchProgress) -> Result<Portion, Error> {
        let query = LogQuery { after: progress.position.clone(), limit: PORTION, ..LogQuery::default() };
        let page = match self.store.read_log(scope, query).await {
            Ok(page) => page,
            Err(LogError::Trimmed | LogError::Foreign) => return self.clear_table(scope).await,
            Err(LogError::Store(error)) => return Err(error.into()),
        };
        if page.entries.is_empty() && !page.more {
            return Ok(Portion::Done);
        }
        let changed: BTreeSet<_> = page.entries.iter().filter_map(searched).collect();
        let loaded = join_all(changed.iter().map(|(kind, key)| self.load(scope, *kind, key))).await;
        let mut records = Vec::with_capacity(loaded.len());
        for ((kind, id), terms) in changed.into_iter().zip(loaded) {
            records.push(SearchRecord { kind, id, terms: stored_terms(terms?, progress.has_tags) });
        }
        let next = SearchProgress { position: page.next, ..progress.clone() };
        self.write_portion(scope, Some(progress), SearchUpdate { next, records }).await
    }

    /// Writes a portion. If another process wrote one meanwhile, that goes on.
    async fn write_portion(
        &self,
        scope: &IdScope,
        expected: Option<&SearchProgress>,
        update: SearchUpdate,
    ) -> Result<Portion, Error> {
        self.store.update_search(scope, expected, update).await?;
        Ok(Portion::More)
    }

    /// Returns what a record is found by; nothing if it does not exist, or cannot be read.
    async fn load(&self, scope: &IdScope, kind: SearchedKind, key: &str) -> Result<Vec<SearchTerm>, Error> {
        let Ok(id) = RegistrationId::parse(key) else { return Ok(Vec::new()) };
        let terms = match kind {
            SearchedKind::Enrollment => {
                self.store.individual(scope, &id).await.map(|it| it.map(|it| it.terms()))
            }
            SearchedKind::Registration => {
                self.store.registration(scope, &id).await.map(|it| it.map(|it| it.terms()))
            }
        };
        match terms {
            Ok(terms) => Ok(terms.unwrap_or_default()),
            Err(StoreError::Damaged(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the record that a change is of, if the table has such records.
fn searched(entry: &LogEntry) -> Option<(SearchedKind, String)> {
    let kind = match entry.kind {
        LogKind::Enrollment => SearchedKind::Enrollment,
        LogKind::Registration => SearchedKind::Registration,
        _ => return None,
    };
    Some((kind, entry.key.clone()))
}

/// Returns what the records of a page are found by, and where the next page begins.
fn records<T: Searchable>(
    kind: SearchedKind,
    page: Page<T>,
    has_tags: bool,
) -> (Vec<SearchRecord>, Option<String>) {
    let record = |record: &T| {
        let terms = stored_terms(record.terms(), has_tags);
        SearchRecord { kind, id: record.key().into_owned(), terms }
    };
    (page.items.iter().map(record).collect(), page.next)
}

fn stored_terms(mut terms: Vec<SearchTerm>, has_tags: bool) -> Vec<SearchTerm> {
    terms.retain(|term| has_tags || !term.is_tag());
    terms.sort_unstable();
    terms.dedup();
    terms
}
