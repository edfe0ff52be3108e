//! The embedded engine: one SQLite file, with one writer thread and group commit (crate `durable`).
//!
//! ```text
//!   commit ──► seal documents (caller's thread) ──► SQL in the writer's batch ──► on disk ──► outcomes
//!                                                                                  └► small tables changed: next snapshot
//!   instance, groups, authorities                   ──► snapshot in memory
//!   individual, registration, listings, usage       ──► SQL, open documents (caller's thread)
//! ```

mod attempts;
mod change;
mod document;
mod load;
mod read;
mod schema;
mod snapshot;
mod statements;
mod write;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use durable::{Database, KeyCheckError, Sealer};
use model::{
    Attempt, Authorities, Cleanup, Day, EnrollmentGroup, EnrollmentGroupId, HostName, HubName, IdScope,
    IndividualEnrollment, Instance, OperationKind, Place, Registration, RegistrationId, StatusKind,
    Timestamp, UsageRow,
};
use provisioning::ports::{Commit, Outcome, Page, PageRequest, Store, StoreError};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::task;

use document::Documents;
use read::{Listing, Records};
use snapshot::{Groups, Snapshot};

/// A store in one file, for one process. Clones share it; the last to go closes the file.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    database: Database,
    documents: Documents,
    memory: Arc<Memory>,
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
    /// An instance, or one of the records that are kept in memory with it, cannot be read.
    #[error(transparent)]
    Content(#[from] StoreError),
}

/// What is kept in memory, and whose turn it is to change it.
#[derive(Debug, Default)]
struct Memory {
    current: ArcSwap<Snapshot>,
    /// Held from before such a change is written until the snapshot has it: snapshots follow the order of the commits.
    turn: Mutex<()>,
}

impl EmbeddedStore {
    /// Opens the store at `path`, made when missing; its documents are sealed with this key from then on. Reads the
    /// instances with their groups and CAs, not the enrollments and registrations.
    pub fn open(path: &Path, sealer: Sealer) -> Result<EmbeddedStore, OpenError> {
        let database = Database::open(path, &schema::SCHEMA)?;
        database.check_key(&sealer)?;
        let documents = Documents::new(sealer);
        let snapshot = load::snapshot(&database, &documents)?;
        let memory = Memory { current: ArcSwap::from_pointee(snapshot), turn: Mutex::default() };
        Ok(EmbeddedStore { database, documents, memory: Arc::new(memory) })
    }

    /// Finishes the queued commits and closes the file; later ones fail.
    pub async fn close(self) {
        self.database.close().await;
    }

    /// Batches of commits that were made durable so far; each is one fsync, shared by the commits in it.
    pub fn batches(&self) -> u64 {
        self.database.commits()
    }

    /// The records of an instance; `None` when there is no such instance.
    fn records<'a>(&'a self, scope: &'a IdScope) -> Option<Records<'a>> {
        let instance = self.memory.current.load().instance(scope)?.number;
        Some(Records { database: &self.database, documents: &self.documents, instance, scope })
    }

    fn groups_of(&self, scope: &IdScope) -> Arc<Groups> {
        let snapshot = self.memory.current.load();
        snapshot.instance(scope).map(|held| Arc::clone(&held.groups)).unwrap_or_default()
    }

    /// One page, read on a thread that may block: a long page would hold up the devices on this one.
    async fn page<T>(
        &self,
        scope: &IdScope,
        listing: Listing,
        page: PageRequest,
    ) -> Result<Page<T>, StoreError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (store, scope) = (self.clone(), scope.clone());
        let read = move || match store.records(&scope) {
            Some(records) => records.page(&listing, &page),
            None => Ok(Page { items: Vec::new(), next: None }),
        };
        task::spawn_blocking(read).await.map_err(broken)?
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, StoreError> {
        Ok(self.memory.current.load().instance(scope).map(|held| Arc::clone(&held.instance)))
    }

    async fn instance_by_host(&self, host: &HostName) -> Result<Option<Arc<Instance>>, StoreError> {
        let snapshot = self.memory.current.load();
        let held = snapshot.scope_of(host).and_then(|scope| snapshot.instance(scope));
        Ok(held.map(|held| Arc::clone(&held.instance)))
    }

    async fn instances(&self) -> Result<Vec<Arc<Instance>>, StoreError> {
        Ok(self.memory.current.load().instances())
    }

    async fn put_instance(&self, instance: Instance) -> Result<(), StoreError> {
        self.write_instance(instance).await
    }

    async fn replace_instance(
        &self,
        expected: &Instance,
        next: Instance,
        operation: (OperationKind, Day),
    ) -> Result<bool, StoreError> {
        self.rewrite_instance(expected.clone(), next, operation).await
    }

    async fn individual(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, StoreError> {
        self.records(scope).map_or(Ok(None), |records| records.individual(&id.key()))
    }

    async fn individuals(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<IndividualEnrollment>, StoreError> {
        self.page(scope, Listing::Individuals, page).await
    }

    async fn individuals_expiring(
        &self,
        scope: &IdScope,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<IndividualEnrollment>, StoreError> {
        let (store, scope) = (self.clone(), scope.clone());
        let read =
            move || store.records(&scope).map_or(Ok(Vec::new()), |records| records.expiring(until, limit));
        task::spawn_blocking(read).await.map_err(broken)?
    }

    async fn group(
        &self,
        scope: &IdScope,
        id: &EnrollmentGroupId,
    ) -> Result<Option<Arc<EnrollmentGroup>>, StoreError> {
        Ok(self.groups_of(scope).group(id))
    }

    async fn groups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<EnrollmentGroup>, StoreError> {
        Ok(self.groups_of(scope).page(&page))
    }

    async fn symmetric_key_groups(&self, scope: &IdScope) -> Result<Arc<[Arc<EnrollmentGroup>]>, StoreError> {
        Ok(self.groups_of(scope).symmetric_key())
    }

    async fn groups_signing_as(
        &self,
        scope: &IdScope,
        subjects: &[&[u8]],
    ) -> Result<Vec<Arc<EnrollmentGroup>>, StoreError> {
        Ok(self.groups_of(scope).signing_as(subjects))
    }

    async fn reference_groups(&self, scope: &IdScope) -> Result<Arc<[Arc<EnrollmentGroup>]>, StoreError> {
        Ok(self.groups_of(scope).referring())
    }

    async fn authorities(&self, scope: &IdScope) -> Result<Arc<Authorities>, StoreError> {
        let snapshot = self.memory.current.load();
        Ok(snapshot.instance(scope).map(|held| Arc::clone(&held.authorities)).unwrap_or_default())
    }

    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError> {
        self.records(scope).map_or(Ok(None), |records| records.registration(&id.key()))
    }

    async fn registrations_of(
        &self,
        scope: &IdScope,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.page(scope, Listing::RegistrationsOf(group.key().into_owned()), page).await
    }

    async fn registrations_in(
        &self,
        scope: &IdScope,
        status: StatusKind,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.page(scope, Listing::RegistrationsIn(status), page).await
    }

    async fn cleanup(&self, scope: &IdScope, place: &Place) -> Result<Option<Cleanup>, StoreError> {
        self.records(scope).map_or(Ok(None), |records| records.cleanup(&place.key()))
    }

    async fn cleanups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<Cleanup>, StoreError> {
        self.page(scope, Listing::Cleanups, page).await
    }

    async fn cleanups_due(
        &self,
        scope: &IdScope,
        hub: &HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Vec<Cleanup>, StoreError> {
        self.records(scope).map_or(Ok(Vec::new()), |records| records.cleanups_due(hub, now, at_most))
    }

    async fn cleanups_owed(&self, scope: &IdScope) -> Result<u64, StoreError> {
        self.records(scope).map_or(Ok(0), |records| records.cleanups_owed())
    }

    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        self.write_records(scope, commit).await
    }

    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError> {
        self.write_attempts(scope, attempts).await
    }

    async fn attempts(&self, scope: &IdScope, id: &RegistrationId) -> Result<Vec<Attempt>, StoreError> {
        self.read_attempts(scope, id)
    }

    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        self.records(scope).map_or(Ok(Vec::new()), |records| records.usage(from, to))
    }
}

/// A failure, for the log.
fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
