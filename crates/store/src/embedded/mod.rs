//! The embedded engine: one SQLite file, with one writer thread and group commit (crate `durable`).
//!
//! ```text
//!   commit ──► seal documents (caller's thread) ──► SQL in the writer's batch, change log included ──► on disk ──► outcomes
//!   instance, groups, authorities                   ──► snapshot in memory, brought up to date by the change log
//!   individual, registration, listings, usage       ──► SQL, open documents (caller's thread)
//! ```

mod attempts;
mod change;
mod damage;
mod document;
mod hub_devices;
mod leases;
mod load;
mod log;
mod maintenance;
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
use async_trait::async_trait;
use durable::rusqlite;
use durable::{Database, Epoch, KeyCheckError, Sealer};
use model::{
    Attempt, Attribution, CaReference, Cleanup, Day, EnrollmentGroup, EnrollmentGroupId, HostName,
    HubDeviceRef, HubName, IdScope, IndividualEnrollment, Instance, OperationKind, Registration,
    RegistrationId, StatusKind, Timestamp, Trust, UsageRow,
};
use provisioning::RecordKind;
use provisioning::ports::{
    Commit, DamagedRecord, KnownDamage, LogError, LogPage, LogQuery, LogRetention, Outcome, Owner, Page,
    PageRequest, Store, StoreError,
};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::task;

use document::Documents;
use leases::LeaseClock;
pub use maintenance::{Inspection, RecordName, RepairError};
use read::{Listing, Records};
use snapshot::{Kin, Snapshot};
use write::not_written;

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
    current: ArcSwap<Snapshot>,
    /// As many batches as the snapshot was compared with: see [`Database::commits`].
    compared: AtomicU64,
    /// Held while the snapshot is brought up to date.
    refreshing: std::sync::Mutex<()>,
    /// Held by the one who writes an instance: of those of this handle none has to try again.
    turn: Mutex<()>,
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
        let read = database.read(|connection| load::snapshot(connection, &documents, Snapshot::default()));
        let current = ArcSwap::from_pointee(read.map_err(|error: rusqlite::Error| broken(error))?);
        let memory = Memory { current, compared, ..Memory::default() };
        let lease_clock = LeaseClock::default();
        Ok(EmbeddedStore { database, documents, memory: Arc::new(memory), lease_clock })
    }

    /// Finishes the queued commits and closes the file; later ones fail.
    pub async fn close(self) {
        self.database.close().await;
    }

    /// Replaces an instance that is stored just as `expected`, on the configuration's behalf: it counts as no operation.
    /// False when another is stored.
    pub async fn reconfigure_instance(
        &self,
        expected: &Instance,
        next: Instance,
        by: Attribution,
    ) -> Result<bool, StoreError> {
        self.write_instance(Some(expected), next, None, &by).await
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

    /// The records of an instance; `None` when there is no such instance.
    fn records<'a>(&'a self, scope: &'a IdScope) -> Result<Option<Records<'a>>, StoreError> {
        let snapshot = self.snapshot()?;
        let Some(held) = snapshot.instance(scope)? else { return Ok(None) };
        let instance = held.kin.number;
        Ok(Some(Records { database: &self.database, documents: &self.documents, instance, scope }))
    }

    /// What of an instance is kept in memory; nothing when there is no such instance.
    fn kin(&self, scope: &IdScope) -> Result<Kin, StoreError> {
        let snapshot = self.snapshot()?;
        Ok(snapshot.instance(scope)?.map(|held| held.kin.clone()).unwrap_or_default())
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

#[async_trait]
impl Store for EmbeddedStore {
    async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, StoreError> {
        Ok(self.snapshot()?.instance(scope)?.map(|held| Arc::clone(&held.instance)))
    }

    async fn instance_by_host(&self, host: &HostName) -> Result<Option<Arc<Instance>>, StoreError> {
        let snapshot = self.snapshot()?;
        let Some(scope) = snapshot.scope_of(host)? else { return Ok(None) };
        Ok(snapshot.instance(scope)?.map(|held| Arc::clone(&held.instance)))
    }

    async fn instances(&self) -> Result<Vec<Arc<Instance>>, StoreError> {
        Ok(self.snapshot()?.instances())
    }

    async fn put_instance(&self, instance: Instance, by: Attribution) -> Result<(), StoreError> {
        self.write_instance(None, instance, None, &by).await.map(drop)
    }

    async fn replace_instance(
        &self,
        expected: &Instance,
        next: Instance,
        operation: (OperationKind, Day),
        by: Attribution,
    ) -> Result<bool, StoreError> {
        self.write_instance(Some(expected), next, Some(operation), &by).await
    }

    async fn individual(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, StoreError> {
        self.records(scope)?.map_or(Ok(None), |records| records.individual(&id.key()))
    }

    async fn individuals(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<IndividualEnrollment>, StoreError> {
        self.page(scope, Listing::Individuals(page)).await
    }

    async fn individuals_expiring(
        &self,
        scope: &IdScope,
        until: Timestamp,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreError> {
        self.page(scope, Listing::Expiring(until, limit)).await
    }

    async fn group(
        &self,
        scope: &IdScope,
        id: &EnrollmentGroupId,
    ) -> Result<Option<Arc<EnrollmentGroup>>, StoreError> {
        let kin = self.kin(scope)?;
        kin.reject_unreadable(RecordKind::EnrollmentGroup, id.as_str())?;
        Ok(kin.groups.group(id))
    }

    async fn groups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<EnrollmentGroup>, StoreError> {
        let kin = self.kin(scope)?;
        let mut listed = kin.groups.page(&page);
        let is_of_page = |it: &&DamagedRecord| {
            let after = page.after.as_ref().is_none_or(|after| it.id > *after);
            it.kind == RecordKind::EnrollmentGroup
                && after
                && listed.next.as_ref().is_none_or(|next| it.id <= *next)
        };
        listed.damaged = kin.unreadable.iter().filter(is_of_page).cloned().collect();
        Ok(listed)
    }

    async fn symmetric_key_groups(&self, scope: &IdScope) -> Result<Arc<[Arc<EnrollmentGroup>]>, StoreError> {
        Ok(self.kin(scope)?.groups.symmetric_key())
    }

    async fn groups_signing_as(
        &self,
        scope: &IdScope,
        subjects: &[&[u8]],
    ) -> Result<Vec<Arc<EnrollmentGroup>>, StoreError> {
        Ok(self.kin(scope)?.groups.signing_as(subjects))
    }

    async fn groups_naming(
        &self,
        scope: &IdScope,
        cas: &[CaReference],
    ) -> Result<Vec<Arc<EnrollmentGroup>>, StoreError> {
        Ok(self.kin(scope)?.groups.naming(cas))
    }

    async fn named_cas(&self, scope: &IdScope) -> Result<Arc<[CaReference]>, StoreError> {
        Ok(self.kin(scope)?.groups.named_cas())
    }

    async fn unreadable(&self, scope: &IdScope) -> Result<Arc<[DamagedRecord]>, StoreError> {
        Ok(self.kin(scope)?.unreadable)
    }

    async fn known_damage(&self) -> Result<KnownDamage, StoreError> {
        Ok(self.documents.damage().known())
    }

    async fn trust(&self, scope: &IdScope) -> Result<Arc<Trust>, StoreError> {
        Ok(self.kin(scope)?.trust)
    }

    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError> {
        self.records(scope)?.map_or(Ok(None), |records| records.registration(&id.key()))
    }

    async fn registrations_of(
        &self,
        scope: &IdScope,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.page(scope, Listing::RegistrationsOf(group.key().into_owned(), page)).await
    }

    async fn registrations(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.page(scope, Listing::Registrations(page)).await
    }

    async fn registrations_in(
        &self,
        scope: &IdScope,
        status: StatusKind,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.page(scope, Listing::RegistrationsIn(status, page)).await
    }

    async fn other_owner(
        &self,
        place: &HubDeviceRef,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Owner>, StoreError> {
        self.read_other_owner(place, scope, id)
    }

    async fn cleanup(&self, scope: &IdScope, place: &HubDeviceRef) -> Result<Option<Cleanup>, StoreError> {
        self.records(scope)?.map_or(Ok(None), |records| records.cleanup(&place.key()))
    }

    async fn cleanups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<Cleanup>, StoreError> {
        self.page(scope, Listing::Cleanups(page)).await
    }

    async fn cleanups_due(
        &self,
        scope: &IdScope,
        hub: &HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Page<Cleanup>, StoreError> {
        let hub = hub.clone();
        self.read_aside(scope, move |records| records.due(hub, now, at_most)).await
    }

    async fn cleanups_owed(&self, scope: &IdScope) -> Result<u64, StoreError> {
        self.read_aside(scope, |records| records.cleanups_owed()).await
    }

    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        self.write_records(scope, commit).await
    }

    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError> {
        self.write_attempts(scope, attempts).await
    }

    async fn attempts(&self, scope: &IdScope, id: &RegistrationId) -> Result<Page<Attempt>, StoreError> {
        let id = id.key().into_owned();
        self.read_aside(scope, move |records| records.attempts(&id)).await
    }

    async fn read_log(&self, scope: &IdScope, query: LogQuery) -> Result<LogPage, LogError> {
        self.read_log_of(scope, query).await
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        self.trim_log_to(keep).await
    }

    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        self.read_aside(scope, move |records| records.usage(from, to)).await
    }
}

/// A failure, for the log.
fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
