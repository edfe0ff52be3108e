//! A store with one instance, and shorthands for its methods.

use std::sync::Arc;

use model::{
    Block, CaCertificate, Day, EnrollmentGroup, Etag, HostName, IdScope, IndividualEnrollment, Instance,
    LogEntry, OperationKind, Registration, RevocationList, StatusKind, Trust, UsageRow,
};
use provisioning::{
    configuration::Configuration,
    ports::{Change, Commit, Expect, LogQuery, Outcome, Page, PageRequest, Store, StoreError},
};

use super::StoreLocation;
use crate::sample;

/// An open store, and the ID scope of the instance that a case uses.
pub(super) struct World {
    location: Arc<dyn StoreLocation>,
    pub(super) store: Arc<dyn Store>,
    pub(super) scope: IdScope,
}

impl World {
    /// Opens a store and creates the instance `one`.
    pub(super) async fn open(location: Arc<dyn StoreLocation>) -> World {
        let store = location.open().await;
        store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
        World { location, store, scope: sample::scope("one") }
    }

    /// Closes the store and opens it again.
    pub(super) async fn reopen(self) -> World {
        let World { location, store, scope } = self;
        drop(store);
        World { store: location.open().await, location, scope }
    }

    /// Closes the store and opens it again as two handles.
    pub(super) async fn open_twice(self) -> [World; 2] {
        let World { location, store, scope } = self;
        drop(store);
        let stores = location.open_twice().await;
        stores.map(|store| World { location: Arc::clone(&location), store, scope: scope.clone() })
    }

    /// Returns the whole change log of the instance.
    pub(super) async fn log(&self) -> Vec<LogEntry> {
        let query = LogQuery { limit: 1000, ..LogQuery::default() };
        self.store.read_log(&self.scope, query).await.unwrap().entries
    }

    /// Returns the same store for another instance.
    pub(super) fn beside(&self, scope: &str) -> World {
        let (location, store) = (Arc::clone(&self.location), Arc::clone(&self.store));
        World { location, store, scope: sample::scope(scope) }
    }

    pub(super) async fn commit(&self, changes: Vec<(Expect, Change)>) -> Vec<Outcome> {
        self.try_commit(changes, None).await.unwrap()
    }

    /// Applies changes without a precondition.
    pub(super) async fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        let changes: Vec<_> = changes.into_iter().map(|change| (Expect::Anything, change)).collect();
        let count = changes.len();
        assert_eq!(self.commit(changes).await, vec![Outcome::Applied; count]);
    }

    pub(super) async fn try_commit(
        &self,
        changes: Vec<(Expect, Change)>,
        operation: Option<OperationKind>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let operation = operation.map(|kind| (kind, TODAY));
        self.store.commit(&self.scope, Commit { changes, operation, ..Commit::by(sample::by()) }).await
    }

    pub(super) async fn individual(&self, id: &str) -> Option<IndividualEnrollment> {
        self.store.individual(&self.scope, &sample::registration_id(id)).await.unwrap()
    }

    pub(super) async fn group(&self, id: &str) -> Option<EnrollmentGroup> {
        let group = self.configuration().await.group(&sample::group_id(id)).unwrap().cloned();
        group.map(Arc::unwrap_or_clone)
    }

    pub(super) async fn instances(&self) -> Vec<Arc<Instance>> {
        self.store.snapshot().await.unwrap().instances()
    }

    pub(super) async fn instance_by_host(&self, host: &HostName) -> Option<Arc<Instance>> {
        self.store.snapshot().await.unwrap().instance_by_host(host).unwrap().cloned()
    }

    pub(super) async fn configuration(&self) -> Configuration {
        self.store.configuration(&self.scope).await.unwrap()
    }

    /// Returns all groups on one page.
    pub(super) async fn groups(&self) -> Page<EnrollmentGroup> {
        self.configuration().await.group_page(&everything())
    }

    pub(super) async fn registration(&self, id: &str) -> Option<Registration> {
        self.store.registration(&self.scope, &sample::registration_id(id)).await.unwrap()
    }

    pub(super) async fn usage(&self) -> Vec<UsageRow> {
        let (first, last) = (Day::from_number(0), Day::from_number(100_000));
        self.store.usage(&self.scope, first, last).await.unwrap()
    }

    pub(super) async fn trust(&self) -> Arc<Trust> {
        Arc::clone(self.configuration().await.trust())
    }

    pub(super) async fn registrations_of(&self, group: &str, page: PageRequest) -> Page<Registration> {
        self.store.registrations_of(&self.scope, &sample::group_id(group), page).await.unwrap()
    }

    pub(super) async fn assigning(&self, page: PageRequest) -> Page<Registration> {
        self.store.registrations_in(&self.scope, StatusKind::Assigning, page).await.unwrap()
    }
}

pub(super) fn put_individual(record: IndividualEnrollment) -> Change {
    Change::PutIndividual(Box::new(record))
}

pub(super) fn put_group(record: EnrollmentGroup) -> Change {
    Change::PutGroup(Box::new(record))
}

pub(super) fn put_certificate(record: CaCertificate) -> Change {
    Change::PutCertificate(Box::new(record))
}

pub(super) fn put_list(record: RevocationList) -> Change {
    Change::PutRevocationList(Box::new(record))
}

pub(super) fn put_block(record: Block) -> Change {
    Change::PutBlock(Box::new(record))
}

pub(super) fn put_registration(record: Registration) -> Change {
    Change::PutRegistration(Box::new(record))
}

/// A record with an etag.
pub(super) trait Versioned: Sized {
    fn with_etag(self, etag: &str) -> Self;
    fn etag(&self) -> &Etag;
}

macro_rules! versioned {
    ($($record:ty),+) => {$(
        impl Versioned for $record {
            fn with_etag(mut self, etag: &str) -> Self {
                self.record.etag = sample::etag(etag);
                self
            }
            fn etag(&self) -> &Etag {
                &self.record.etag
            }
        }
    )+};
}

versioned!(IndividualEnrollment, EnrollmentGroup, Registration, CaCertificate, RevocationList, Block);

/// Returns the IDs of registrations, in the case in which they were written.
pub(super) fn ids(registrations: &[Registration]) -> Vec<&str> {
    registrations.iter().map(|registration| registration.registration_id.as_str()).collect()
}

/// Returns a request for all records on one page.
pub(super) fn everything() -> PageRequest {
    PageRequest { after: None, limit: 1000 }
}

/// The day of the operations in the cases.
pub(super) const TODAY: Day = Day::from_number(20_780);
