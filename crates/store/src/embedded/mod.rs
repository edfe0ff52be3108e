//! The embedded engine: one SQLite file, with one writer thread and group commit (crate `durable`).
//!
//! ```text
//!   commit ──► seal documents (caller's thread) ──► SQL in the writer's batch, change log included ──► on disk ──► outcomes
//!   instance, groups, authorities                   ──► snapshot in memory, brought up to date by the change log
//!   individual, registration, listings, usage       ──► SQL, open documents (caller's thread)
//! ```

mod attempts;
mod broken_rows;
mod change;
mod hub_devices;
mod leases;
mod load;
mod log;
mod maintenance;
mod ports;
mod read;
mod refresh;
mod schema;
mod snapshot;
mod statements;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use durable::rusqlite;
use durable::{Database, Epoch, KeyCheckError, Sealer};
use model::IdScope;
use provisioning::ports::{Page, StoreError};
use serde::de::DeserializeOwned;
use tokio::task;

use leases::LeaseClock;
pub use maintenance::{Inspection, RecordName, RepairError};
use read::{Listing, Records};
use snapshot::InstanceTable;
use write::not_written;

use crate::broken;
use crate::document::Documents;

/// A store in one file, for one process. Clones share it; the last to go closes the file.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    database: Database,
    documents: Documents,
    memory: Arc<Memory>,
    lease_clock: LeaseClock,
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is foreign, newer, in use, or cannot be read or made.
    #[error(transparent)]
    Database(#[from] durable::OpenError),
    /// The sealing key is not the one the file was written with.
    #[error(transparent)]
    Key(#[from] KeyCheckError),
    /// It cannot even be read which instances there are.
    #[error(transparent)]
    Content(#[from] StoreError),
}

/// What is kept in memory.
#[derive(Debug, Default)]
struct Memory {
    current: ArcSwap<InstanceTable>,
    /// As many batches as the snapshot was compared with: see [`Database::commits`].
    compared: AtomicU64,
    /// Held while the snapshot is brought up to date.
    refreshing: std::sync::Mutex<()>,
}

impl EmbeddedStore {
    /// Opens the store at `path`, made when missing; its documents are sealed with this key from then on. Reads the
    /// instances with their groups and CAs, not the enrollments and registrations.
    pub fn open(path: &Path, sealer: Sealer) -> Result<EmbeddedStore, OpenError> {
        let store = EmbeddedStore::over(Database::open(path, &schema::SCHEMA)?, sealer)?;
        hub_devices::fill(&store.database, &store.documents)?;
        store.end_leases();
        Ok(store)
    }

    /// Opens a second handle on the same file. They share nothing in memory but the key, and see each other's acknowledged
    /// changes at once.
    pub fn beside(&self) -> Result<EmbeddedStore, OpenError> {
        let lease_clock = self.lease_clock.clone();
        let store = EmbeddedStore::reading(self.database.beside()?, self.documents.of_another_handle())?;
        Ok(EmbeddedStore { lease_clock, ..store })
    }

    fn over(database: Database, sealer: Sealer) -> Result<EmbeddedStore, OpenError> {
        let key_check = database.check_key(&sealer);
        let documents = Documents::new(sealer);
        if let Err(error) = key_check {
            load::confirm_key(&database, &documents, error)?;
        }
        EmbeddedStore::reading(database, documents)
    }

    /// Reads what is kept in memory.
    fn reading(database: Database, documents: Documents) -> Result<EmbeddedStore, OpenError> {
        let compared = AtomicU64::new(database.commits());
        let table = InstanceTable::default();
        let read = database.read(|connection| load::instance_table(connection, &documents, table));
        let current = ArcSwap::from_pointee(read.map_err(|error: rusqlite::Error| broken(error))?);
        let memory = Memory { current, compared, ..Memory::default() };
        let lease_clock = LeaseClock::default();
        Ok(EmbeddedStore { database, documents, memory: Arc::new(memory), lease_clock })
    }

    /// Finishes the queued commits and closes the file; later ones fail.
    pub async fn close(self) {
        self.database.close().await;
    }

    /// Reads the epoch that the file holds; `None` when it was never marked.
    pub fn epoch(&self) -> Result<Option<Epoch>, StoreError> {
        self.database.epoch().map_err(broken)
    }

    /// Writes the epoch that the file is in.
    pub async fn put_epoch(&self, epoch: &Epoch) -> Result<(), StoreError> {
        self.database.put_epoch(epoch).await.map_err(not_written)
    }

    /// Batches of commits that were made durable so far; each is one fsync, shared by the commits in it.
    pub fn batches(&self) -> u64 {
        self.database.commits()
    }

    /// Returns the records of an instance; `None` when there is no such instance.
    fn records<'a>(&'a self, scope: &'a IdScope) -> Result<Option<Records<'a>>, StoreError> {
        let Some(instance) = self.served_number(scope)? else { return Ok(None) };
        Ok(Some(Records { database: &self.database, documents: &self.documents, instance, scope }))
    }

    /// Returns the number of an instance that is served; fails if it cannot be read.
    fn served_number(&self, scope: &IdScope) -> Result<Option<i64>, StoreError> {
        let table = self.instance_table()?;
        Ok(table.snapshot().instance(scope)?.and_then(|_| table.number(scope)))
    }

    /// Reads on a thread that may block: a long read would hold up the devices on this one.
    async fn read_aside<T: Default + Send + 'static>(
        &self,
        scope: &IdScope,
        read: impl FnOnce(Records<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, scope) = (self.clone(), scope.clone());
        let read = move || store.records(&scope)?.map_or(Ok(T::default()), read);
        task::spawn_blocking(read).await.map_err(broken)?
    }

    async fn page<T>(&self, scope: &IdScope, listing: Listing) -> Result<Page<T>, StoreError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.read_aside(scope, move |records| records.page(&listing)).await
    }
}
