//! A store over any engine: what all engines have in common.

use std::sync::{Arc, atomic::AtomicU64};

use arc_swap::ArcSwap;
use model::{Actor, IdScope};
use provisioning::ports::{Change, Commit, Found, Outcome, Page, StoreError};
use serde::de::DeserializeOwned;
use tokio::task;

use crate::{
    batch::{Batch, RowKey},
    broken,
    document::{Documents, RowRef},
    engine::{ConfigurationRows, Document, Engine, FoundRow, Listing, Lookup, Reading},
    snapshot::InstanceTable,
};

/// Rows of a page that are opened where it was asked for. A longer page would hold up the devices on that thread, and is opened
/// on one that may block. Most pages are short: the reconciler and the cleanup job look every second, and find little.
const SHORT_PAGE: usize = 8;

/// A store of sealed documents over an engine. Clones share it.
#[derive(Debug, Clone)]
pub struct SealedStore<E> {
    pub(crate) engine: E,
    pub(crate) documents: Documents,
    pub(crate) memory: Arc<Memory>,
}

/// What a handle keeps in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) current: ArcSwap<InstanceTable>,
    /// The activity that the table was last compared with: see [`Reading`].
    pub(crate) seen: AtomicU64,
    /// Held while the table is brought up to date.
    pub(crate) refreshing: tokio::sync::Mutex<()>,
}

impl<E: Engine> SealedStore<E> {
    /// Opens a store over an engine; its documents are sealed with this key.
    pub async fn over(engine: E, sealer: durable::Sealer) -> Result<Self, StoreError> {
        let activity = engine.read(Lookup::default()).await?.activity;
        let rows = engine.configuration(None).await?;
        Ok(Self::with_configuration(engine, Documents::new(sealer), activity, &rows))
    }

    /// Opens a store of which the configuration was read after this activity.
    pub(crate) fn with_configuration(
        engine: E,
        documents: Documents,
        activity: u64,
        rows: &ConfigurationRows,
    ) -> Self {
        let current = ArcSwap::from_pointee(InstanceTable::default().next(&documents, rows));
        let memory = Memory { current, seen: AtomicU64::new(activity), ..Memory::default() };
        SealedStore { engine, documents, memory: Arc::new(memory) }
    }

    /// Reads rows of an instance, and the instances as they are then. Returns `None` if it is not served.
    pub(crate) async fn read(
        &self,
        scope: &IdScope,
        lookup: Lookup,
    ) -> Result<Option<(Arc<InstanceTable>, Reading)>, StoreError> {
        let Some(instance) = self.known_number(scope).await? else { return Ok(None) };
        let (table, reading) = self.look_up(Lookup { instance, ..lookup }).await?;
        // The instance may have been removed since.
        Ok(table.readable_number(scope)?.map(|_| (table, reading)))
    }

    /// Reads a record of an instance. Returns `None` if there is none, or the instance is not served.
    pub(crate) async fn read_record<T: DeserializeOwned>(
        &self,
        place: RowRef<'_>,
        lookup: Lookup,
        document: fn(Reading) -> Option<Document>,
    ) -> Result<Option<T>, StoreError> {
        let Some((_, reading)) = self.read(place.scope, lookup).await? else { return Ok(None) };
        self.opened(place, document(reading)).map_err(StoreError::Damaged)
    }

    /// Opens a document that was read.
    pub(crate) fn opened<T: DeserializeOwned>(
        &self,
        place: RowRef<'_>,
        document: Option<Document>,
    ) -> Found<T> {
        let open = |document: Document| match document {
            Ok(sealed) => self.documents.open(place, &sealed),
            Err(reason) => Err(self.documents.note(place, reason)),
        };
        document.map(open).transpose()
    }

    /// Returns the number of an instance, which never changes; looked up where this handle has not seen the instance yet.
    async fn known_number(&self, scope: &IdScope) -> Result<Option<i64>, StoreError> {
        match self.memory.current.load().number(scope) {
            Some(number) => Ok(Some(number)),
            None => Ok(self.instance_table().await?.number(scope)),
        }
    }

    /// Reads one page of a listing. What cannot be read is named in it and does not end it.
    pub(crate) async fn page<T>(&self, scope: &IdScope, listing: Listing) -> Result<Page<T>, StoreError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let Some(instance) = self.instance_table().await?.readable_number(scope)? else {
            return Ok(Page::default());
        };
        let (table, continues) = (listing.table(), listing.request().is_some());
        let (rows, more) = self.engine.scan(instance, listing).await?;
        let next = rows.last().filter(|_| more && continues).map(FoundRow::position);
        let (documents, scope) = (self.documents.clone(), scope.clone());
        let is_short = rows.len() <= SHORT_PAGE;
        let open = move || documents.open_page(table, &scope, rows);
        let (items, damaged) =
            if is_short { open() } else { task::spawn_blocking(open).await.map_err(broken)? };
        Ok(Page { items, next, damaged })
    }

    pub(crate) async fn write(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        let instance = match commit.changes.first() {
            Some((_, Change::PutInstance { .. })) => self.instance_table().await?.number(scope),
            _ => Some(self.written_number(scope, &commit.by.actor).await?),
        };
        let batch = Batch::seal(&self.documents, scope, instance, commit)?;
        let is_damage_known = self.documents.damage().is_any_known();
        let changes = batch.changes.iter().filter(|_| is_damage_known);
        let keys: Vec<RowKey> = changes.map(|change| change.key.clone()).collect();
        let guards = batch.guards.len();
        let outcomes = self.engine.apply(batch).await?.ok_or(StoreError::Fenced)?;
        let made = keys.iter().zip(outcomes.iter().skip(guards));
        for (RowKey { table, id }, _) in made.filter(|(_, outcome)| **outcome == Outcome::Applied) {
            self.documents.forget(RowRef { table: *table, scope, id });
        }
        Ok(outcomes)
    }

    /// Returns the number of an instance that this actor writes to, as the last read of this handle has left it: the number never
    /// changes, and a request or a job that writes has read before.
    pub(crate) async fn written_number(&self, scope: &IdScope, by: &Actor) -> Result<i64, StoreError> {
        if let Ok(Some(number)) = self.memory.current.load().written_number(scope, by) {
            return Ok(number);
        }
        let number = self.instance_table().await?.written_number(scope, by)?;
        number.ok_or_else(|| broken(format!("there is no instance with ID scope {scope}")))
    }
}
