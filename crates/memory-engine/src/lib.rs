//! A store engine in memory, for tests: all of an engine, and the database of simulated clusters. Never part of the product.

mod leases;
mod search;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use model::{
    Actor, Attribution, Day, HubDeviceRef, LeaseToken, LogCursor, LogEntry, LogKind, LogPosition,
    OperationKind, RegistrationId, Timestamp, UsageRow,
};
use provisioning::ports::{
    ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE, Clock, FoundTerm, Lease, LogError, LogPage, LogQuery, LogRetention,
    Outcome, StoreError, TermRange,
};
use store::{
    SystemClock,
    batch::{Batch, Columns, Row, RowChange, RowGuard, RowKey},
    engine::{
        AttemptRow, ConfigurationRow, ConfigurationRows, Engine, FoundRow, Listing, Lookup, PageRows,
        Reading, RowContent, SearchRows, attempt_number,
    },
    table::Table,
};

use crate::search::SearchTables;

/// The writer of its log.
const WRITER: u64 = 1;

/// A database in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryEngine {
    content: Arc<Mutex<Content>>,
    /// Measures leases.
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Content {
    /// How many batches were written.
    batches: u64,
    /// The position of the newest change of configuration.
    version: u64,
    /// Number and document by ID scope.
    instances: BTreeMap<String, (i64, Vec<u8>)>,
    rows: BTreeMap<(i64, RowKey), Row>,
    attempts: Vec<NumberedAttempt>,
    usage: BTreeMap<(i64, Day, OperationKind), u64>,
    search: SearchTables,
    /// With the number of the instance.
    log: Vec<(i64, LogEntry)>,
    /// With the end of each.
    leases: Vec<(Lease, Timestamp)>,
    last_token: u64,
}

/// A refused attempt.
#[derive(Debug)]
struct NumberedAttempt {
    instance: i64,
    number: i64,
    row: AttemptRow,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        MemoryEngine::new(Arc::new(SystemClock))
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryEngine")
    }
}

impl MemoryEngine {
    /// Creates an empty database that measures leases by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryEngine { content: Arc::default(), clock }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn read(&self, lookup: Lookup) -> Result<Reading, StoreError> {
        let Lookup { instance, registration, individual, cleanup, other_owner } = lookup;
        let content = self.content();
        let document = |table, id: Option<String>| {
            let row = content.rows.get(&(instance, RowKey { table, id: id? }))?;
            Some(Ok(row.document.clone()))
        };
        Ok(Reading {
            activity: content.batches,
            registration: document(Table::Registrations, registration),
            individual: document(Table::Individuals, individual),
            cleanup: document(Table::Cleanups, cleanup),
            other_owner: other_owner
                .and_then(|(device, id)| content.owner(&device, (instance, &id)))
                .and_then(|(instance, id)| Some((content.scope(instance)?, id))),
        })
    }

    async fn configuration(&self, since: Option<u64>) -> Result<ConfigurationRows, StoreError> {
        let content = self.content();
        let changed = since.and_then(|since| content.changed_since(since));
        let (is_complete, keys) = match changed {
            Some(keys) => (false, keys),
            None => (true, content.all_keys()),
        };
        let row = |(instance, key)| content.configuration_row(instance, key);
        Ok(ConfigurationRows {
            version: content.version,
            is_complete,
            rows: keys.into_iter().filter_map(row).collect(),
        })
    }

    async fn scan(&self, instance: i64, listing: Listing) -> Result<(Vec<FoundRow>, bool), StoreError> {
        let content = self.content();
        let mut page = PageRows::new(listing.limit());
        for (id, number, document) in content.listed(instance, &listing) {
            if page.is_full() {
                return Ok((page.into_rows(), true));
            }
            page.push(FoundRow { id, number, document: Ok(document) });
        }
        Ok((page.into_rows(), false))
    }

    async fn count(&self, instance: i64, table: Table, at_most: u64) -> Result<u64, StoreError> {
        let count =
            self.content().rows.keys().filter(|(of, key)| *of == instance && key.table == table).count();
        Ok(at_most.min(count as u64))
    }

    async fn usage(
        &self,
        instance: i64,
        (from, to): (Day, Day),
    ) -> Result<Vec<Result<UsageRow, String>>, StoreError> {
        let content = self.content();
        let rows =
            content.usage.iter().filter(|((of, day, _), _)| *of == instance && (from..=to).contains(day));
        Ok(rows
            .map(|((_, day, kind), count)| Ok(UsageRow { day: *day, kind: *kind, count: *count }))
            .collect())
    }

    async fn apply(&self, batch: Batch) -> Result<Option<Vec<Outcome>>, StoreError> {
        Ok(self.content().apply(&batch))
    }

    async fn keep_attempts(&self, instance: i64, rows: Vec<AttemptRow>) -> Result<(), StoreError> {
        let now = attempt_number(self.clock.now());
        let attempts = &mut self.content().attempts;
        for row in rows {
            let (id, last) = (row.id.clone(), attempts.last().map_or(0, |last| last.number));
            attempts.push(NumberedAttempt { instance, number: now.max(last + 1), row });
            keep_newest(attempts, ATTEMPTS_OF_ONE, |it| it.instance == instance && it.row.id == id);
        }
        for known in [false, true] {
            let is_of_kind = |it: &NumberedAttempt| it.instance == instance && it.row.is_known == known;
            keep_newest(attempts, ATTEMPTS_OF_A_KIND, is_of_kind);
        }
        Ok(())
    }

    async fn trim_attempts(&self, before: Timestamp, own: Vec<(i64, Timestamp)>) -> Result<(), StoreError> {
        let own: BTreeMap<i64, Timestamp> = own.into_iter().collect();
        let before = |instance| attempt_number(*own.get(&instance).unwrap_or(&before));
        self.content().attempts.retain(|it| it.number >= before(it.instance));
        Ok(())
    }

    async fn forget(&self, instance: i64) -> Result<(), StoreError> {
        let mut content = self.content();
        content.attempts.retain(|it| it.instance != instance);
        content.usage.retain(|(of, _, _), _| *of != instance);
        Ok(())
    }

    async fn read_log(&self, instance: i64, query: LogQuery) -> Result<LogPage, LogError> {
        self.content().read_log(instance, &query)
    }

    async fn search_progress(&self, instance: i64) -> Result<Option<String>, StoreError> {
        Ok(self.content().search.progress(instance))
    }

    async fn update_search(&self, instance: i64, rows: SearchRows) -> Result<bool, StoreError> {
        Ok(self.content().search.update(instance, rows))
    }

    async fn clear_search(&self, instance: i64) -> Result<bool, StoreError> {
        self.content().search.clear(instance);
        Ok(false)
    }

    async fn count_terms(&self, instance: i64, range: &TermRange, limit: usize) -> Result<usize, StoreError> {
        Ok(self.content().search.terms(instance, range, limit).len())
    }

    async fn terms(
        &self,
        instance: i64,
        range: &TermRange,
        limit: usize,
    ) -> Result<Vec<FoundTerm>, StoreError> {
        Ok(self.content().search.terms(instance, range, limit))
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        let log = &mut self.content().log;
        let newest = log.len().saturating_sub(1);
        let kept = log.iter().enumerate().position(|(at, (_, entry))| {
            at == newest || (log.len() - at) as u64 <= keep.rows && entry.attribution.at >= keep.since
        });
        log.drain(..kept.unwrap_or_default());
        Ok(false)
    }
}

/// Deletes the oldest of those that are meant, beyond this many.
fn keep_newest<T>(all: &mut Vec<T>, count: usize, is_meant: impl Fn(&T) -> bool) {
    let mut beyond = all.iter().filter(|it| is_meant(it)).count().saturating_sub(count);
    all.retain(|it| {
        let goes = beyond > 0 && is_meant(it);
        beyond -= usize::from(goes);
        !goes
    });
}

impl Content {
    fn oldest(&self) -> u64 {
        self.log.first().map_or(1, |(_, entry)| entry.position.number())
    }

    fn newest(&self) -> u64 {
        self.log.last().map_or(0, |(_, entry)| entry.position.number())
    }

    /// Returns the rows of configuration that were changed, instances first; `None` when the log does not say.
    fn changed_since(&self, since: u64) -> Option<Vec<(i64, RowKey)>> {
        if since > self.version || since + 1 < self.oldest() {
            return None;
        }
        let after = self.log.iter().filter(|(_, entry)| entry.position.number() > since);
        let changed = after.filter(|(_, entry)| entry.kind.is_configuration());
        let key = |(instance, entry): &(i64, LogEntry)| {
            let id = if entry.kind == LogKind::Instance { "" } else { &entry.key };
            (*instance, RowKey { table: Table::of(entry.kind), id: id.to_owned() })
        };
        let mut keys: Vec<_> = changed.map(key).collect();
        keys.sort_by_key(|(instance, key)| (key.table != Table::Instances, *instance, key.clone()));
        keys.dedup();
        Some(keys)
    }

    fn all_keys(&self) -> Vec<(i64, RowKey)> {
        let instances = self.instances.values();
        let instances =
            instances.map(|(number, _)| (*number, RowKey { table: Table::Instances, id: String::new() }));
        let others = self.rows.keys().filter(|(_, key)| Table::OF_CONFIGURATION.contains(&key.table));
        instances.chain(others.cloned()).collect()
    }

    /// Returns `None` if there is no such instance.
    fn configuration_row(&self, instance: i64, key: RowKey) -> Option<ConfigurationRow> {
        let (scope, (_, own)) = self.instances.iter().find(|(_, (number, _))| *number == instance)?;
        let document = match key.table {
            Table::Instances => Some(own.clone()),
            _ => self.rows.get(&(instance, key.clone())).map(|row| row.document.clone()),
        };
        let content = document.map_or(RowContent::Deleted, |document| RowContent::Document(Ok(document)));
        Some(ConfigurationRow { instance, scope: scope.clone(), key, content })
    }

    /// Returns ID, number and document of the rows of a listing, in its order.
    fn listed(&self, instance: i64, listing: &Listing) -> Vec<(String, Option<i64>, Vec<u8>)> {
        if let Listing::Attempts(rows) = listing {
            let is_listed = |it: &&NumberedAttempt| {
                let is_meant = rows.id.as_ref().is_none_or(|id| it.row.id == *id);
                it.instance == instance && is_meant && it.number < rows.below()
            };
            let found = self.attempts.iter().filter(is_listed).rev();
            return found.map(|it| (it.row.id.clone(), Some(it.number), it.row.document.clone())).collect();
        }
        let after = listing.request().and_then(|page| page.after.as_ref());
        let mut found = Vec::new();
        for ((of, key), row) in &self.rows {
            let is_after = after.is_none_or(|after| key.id > *after);
            if *of == instance
                && key.table == listing.table()
                && is_after
                && let Some(order) = order(listing, &row.columns)
            {
                found.push((order, key.id.clone(), row.document.clone()));
            }
        }
        found.sort();
        found.into_iter().map(|(_, id, document)| (id, None, document)).collect()
    }

    fn owner(&self, device: &HubDeviceRef, except: (i64, &str)) -> Option<(i64, String)> {
        let has_it = |row: &Row| match &row.columns {
            Columns::Registration { hub_devices: (at, to), .. } => [at, to].contains(&&Some(device.clone())),
            _ => false,
        };
        let is_other = |(instance, key): &(i64, RowKey)| (*instance, key.id.as_str()) != except;
        let found = self.rows.iter().find(|(key, row)| is_other(key) && has_it(row));
        found.map(|((instance, key), _)| (*instance, key.id.clone()))
    }

    fn scope(&self, instance: i64) -> Option<String> {
        let found = self.instances.iter().find(|(_, (number, _))| *number == instance);
        found.map(|(scope, _)| scope.clone())
    }

    fn apply(&mut self, batch: &Batch) -> Option<Vec<Outcome>> {
        if batch.fence.is_some_and(|token| !self.is_current(token)) {
            return None;
        }
        let instance = batch.instance.unwrap_or_else(|| self.instances.len() as i64 + 1);
        let mut outcomes: Vec<_> = batch.guards.iter().map(|guard| self.check(instance, guard)).collect();
        if outcomes.iter().any(|outcome| *outcome != Outcome::Applied) {
            outcomes.resize(outcomes.len() + batch.changes.len(), Outcome::LeftOut);
            return Some(outcomes);
        }
        let mut changes = Vec::new();
        for change in &batch.changes {
            let outcome = match change.is_left_out(changes.last()) {
                true => Outcome::LeftOut,
                false => self.change(instance, batch, change),
            };
            changes.push(outcome);
        }
        if let Some((kind, day)) = batch.counted(&changes) {
            *self.usage.entry((instance, day, kind)).or_default() += 1;
        }
        self.batches += 1;
        outcomes.extend(changes);
        Some(outcomes)
    }

    fn check(&self, instance: i64, guard: &RowGuard) -> Outcome {
        match guard {
            RowGuard::Row(key, version) => {
                let found = self.rows.get(&(instance, key.clone())).map(|row| row.etag.as_str());
                RowGuard::outcome(version.as_ref(), found)
            }
            RowGuard::Unchanged(table, since) => {
                let is_meant = |(of, key): &(i64, RowKey)| {
                    key.table == *table && (*table == Table::Instances || *of == instance)
                };
                let is_unchanged = self.changed_since(*since).is_some_and(|keys| !keys.iter().any(is_meant));
                if is_unchanged { Outcome::Applied } else { Outcome::OtherVersion }
            }
        }
    }

    fn change(&mut self, instance: i64, batch: &Batch, change: &RowChange) -> Outcome {
        let (place, id) = ((instance, change.key.clone()), change.key.id.as_str());
        let found = match change.key.table {
            Table::Instances => self.instances.get(&batch.scope).map(|_| ""),
            _ => self.rows.get(&place).map(|row| row.etag.as_str()),
        };
        let exists = found.is_some();
        if let Some(refusal) = change.refusal(found) {
            return refusal;
        }
        let Some(row) = &change.row else {
            self.rows.remove(&place);
            if exists {
                self.note(instance, &batch.by, change);
            }
            return Outcome::Applied;
        };
        if self.is_taken((instance, id), &row.columns) {
            return Outcome::Taken;
        }
        match change.key.table {
            Table::Instances => {
                drop(self.instances.insert(batch.scope.clone(), (instance, row.document.clone())))
            }
            _ => drop(self.rows.insert(place, row.clone())),
        }
        self.note(instance, &batch.by, change);
        Outcome::Applied
    }

    /// Whether a device that the registration does not have yet belongs to another one.
    fn is_taken(&self, (instance, id): (i64, &str), columns: &Columns) -> bool {
        let Columns::Registration { hub_devices: (at, to), .. } = columns else { return false };
        let key = (instance, RowKey { table: Table::Registrations, id: id.to_owned() });
        let had: Vec<_> = match self.rows.get(&key).map(|row| &row.columns) {
            Some(Columns::Registration { hub_devices: (at, to), .. }) => {
                at.iter().chain(to).cloned().collect()
            }
            _ => Vec::new(),
        };
        let wanted = at.iter().chain(to).filter(|device| !had.contains(*device));
        wanted.into_iter().any(|device| self.owner(device, (instance, id)).is_some())
    }

    fn note(&mut self, instance: i64, by: &Attribution, change: &RowChange) {
        let actor = match &by.actor {
            Actor::Device { registration_id, address } => Actor::Device {
                registration_id: RegistrationId::parse(registration_id.key())
                    .unwrap_or_else(|_| registration_id.clone()),
                address: *address,
            },
            other => other.clone(),
        };
        let position = LogPosition::new(WRITER, self.newest() + 1);
        let kind = change.key.table.log_kind();
        let version = change.row.as_ref().map(|row| row.etag.clone()).filter(|etag| !etag.is_empty());
        let attribution = Attribution { actor, ..by.clone() };
        let entry = LogEntry { position, attribution, kind, key: change.log_key().to_owned(), version };
        self.log.push((instance, entry));
        if kind.is_configuration() {
            self.version = position.number();
        }
    }

    fn read_log(&self, instance: i64, query: &LogQuery) -> Result<LogPage, LogError> {
        let after = match query.after.positions() {
            [] => self.oldest() - 1,
            [at] if at.writer() == WRITER => at.number(),
            _ => return Err(LogError::Foreign),
        };
        if after + 1 < self.oldest() {
            return Err(LogError::Trimmed);
        }
        if after > self.newest() {
            return Err(LogError::Foreign);
        }
        let (mut entries, mut last) = (Vec::new(), after);
        for (of, entry) in self.log.iter().filter(|(_, entry)| entry.position.number() > after) {
            last = entry.position.number();
            if *of == instance && query.filter.admits(entry) {
                entries.push(entry.clone());
            }
            if entries.len() >= query.limit.max(1) {
                break;
            }
        }
        let mut next = LogCursor::default();
        next.advance(LogPosition::new(WRITER, last));
        Ok(LogPage { entries, next, more: last < self.newest() })
    }

    fn is_current(&self, token: LeaseToken) -> bool {
        self.leases.iter().any(|(lease, _)| lease.token == token)
    }
}

/// Returns what a row comes by in a listing, before its ID; `None` when it does not belong there.
fn order(listing: &Listing, columns: &Columns) -> Option<i64> {
    match (listing, columns) {
        (Listing::RegistrationsOf(wanted, _), Columns::Registration { group, .. }) => {
            (group.as_ref() == Some(wanted)).then_some(0)
        }
        (Listing::RegistrationsIn(wanted, _), Columns::Registration { status, .. }) => {
            (wanted.name() == *status).then_some(0)
        }
        (Listing::Expiring(until, _), Columns::Individual { expires }) => {
            expires.filter(|expires| *expires <= until.unix_seconds())
        }
        (Listing::Due(wanted, now, _), Columns::Cleanup { hub, due }) => {
            (wanted.to_string() == *hub && *due <= now.ticks()).then_some(*due)
        }
        _ => Some(0),
    }
}
