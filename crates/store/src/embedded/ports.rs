//! The ports of provisioning on this store.

use std::sync::Arc;

use async_trait::async_trait;
use model::{
    Attempt, Cleanup, Day, EnrollmentGroupId, HubDeviceRef, HubName, IdScope, IndividualEnrollment,
    Registration, RegistrationId, StatusKind, Timestamp, UsageRow,
};
use provisioning::configuration::Snapshot;
use provisioning::ports::{
    Attempts, ChangeLog, Cleanups, Commit, Commits, Damage, Enrollments, Instances, KnownDamage, LogError,
    LogPage, LogQuery, LogRetention, Outcome, Owner, Page, PageRequest, Registrations, StoreError, Usage,
};

use crate::embedded::EmbeddedStore;
use crate::embedded::read::Listing;

#[async_trait]
impl Instances for EmbeddedStore {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.current_snapshot()
    }
}

#[async_trait]
impl Enrollments for EmbeddedStore {
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
}

#[async_trait]
impl Registrations for EmbeddedStore {
    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError> {
        self.records(scope)?.map_or(Ok(None), |records| records.registration(&id.key()))
    }

    async fn registrations(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.page(scope, Listing::Registrations(page)).await
    }

    async fn registrations_of(
        &self,
        scope: &IdScope,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.page(scope, Listing::RegistrationsOf(group.key().into_owned(), page)).await
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
}

#[async_trait]
impl Cleanups for EmbeddedStore {
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
}

#[async_trait]
impl Commits for EmbeddedStore {
    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        self.write(scope, commit).await
    }
}

#[async_trait]
impl Attempts for EmbeddedStore {
    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError> {
        self.write_attempts(scope, attempts).await
    }

    async fn attempts(&self, scope: &IdScope, id: &RegistrationId) -> Result<Page<Attempt>, StoreError> {
        let id = id.key().into_owned();
        self.read_aside(scope, move |records| records.attempts(&id)).await
    }
}

#[async_trait]
impl ChangeLog for EmbeddedStore {
    async fn read_log(&self, scope: &IdScope, query: LogQuery) -> Result<LogPage, LogError> {
        self.read_log_of(scope, query).await
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        self.trim_log_to(keep).await
    }
}

#[async_trait]
impl Usage for EmbeddedStore {
    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        self.read_aside(scope, move |records| records.usage(from, to)).await
    }
}

#[async_trait]
impl Damage for EmbeddedStore {
    async fn known_damage(&self) -> Result<KnownDamage, StoreError> {
        Ok(self.documents.damage().known())
    }
}
