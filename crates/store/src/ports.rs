//! The ports of provisioning on this store.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use model::{
    Actor, Attempt, Cleanup, Day, EnrollmentGroupId, HubDeviceRef, HubName, IdScope, IndividualEnrollment,
    Job, LeaseToken, Registration, RegistrationId, StatusKind, Timestamp, UsageRow,
};
use provisioning::{
    RecordKind,
    configuration::Snapshot,
    ports::{
        AttemptQuery, AttemptRetention, Attempts, ChangeLog, Cleanups, Commit, Commits, Damage,
        DamagedRecord, DeviceRecords, Devices, Enrollments, HubDeviceRecords, Instances, KnownDamage, Lease,
        LeaseName, Leases, LogError, LogPage, LogQuery, LogRetention, Outcome, Owner, Page, PageRequest,
        RecordCounts, Registrations, RunnerId, StoreError, Usage,
    },
};

use crate::{
    SealedStore, broken,
    document::RowRef,
    engine::{AttemptRow, AttemptRows, Engine, Listing, Lookup, MAX_COUNTED, MAX_PAGE},
    table::Table,
};

const NO_COUNT: &str = "it is no count of a kind of operation that this program knows";

#[async_trait]
impl<E: Engine> Instances for SealedStore<E> {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        Ok(Arc::clone(self.instance_table().await?.snapshot()))
    }

    async fn forget(&self, scope: &IdScope) -> Result<(), StoreError> {
        match self.instance_table().await?.readable_number(scope)? {
            Some(instance) => self.engine.forget(instance).await,
            None => Ok(()),
        }
    }

    async fn counts(&self, scope: &IdScope, at_most: u64) -> Result<RecordCounts, StoreError> {
        let Some(instance) = self.instance_table().await?.readable_number(scope)? else {
            return Ok(RecordCounts::default());
        };
        Ok(RecordCounts {
            individuals: self.engine.count(instance, Table::Individuals, at_most).await?,
            registrations: self.engine.count(instance, Table::Registrations, at_most).await?,
            cleanups: self.engine.count(instance, Table::Cleanups, at_most).await?,
        })
    }
}

#[async_trait]
impl<E: Engine> Enrollments for SealedStore<E> {
    async fn individual(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, StoreError> {
        let id = id.key();
        let lookup = Lookup { individual: Some(id.to_string()), ..Lookup::default() };
        let place = RowRef { table: Table::Individuals, scope, id: &id };
        self.read_record(place, lookup, |reading| reading.individual).await
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
impl<E: Engine> Registrations for SealedStore<E> {
    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError> {
        let id = id.key();
        let lookup = Lookup { registration: Some(id.to_string()), ..Lookup::default() };
        let place = RowRef { table: Table::Registrations, scope, id: &id };
        self.read_record(place, lookup, |reading| reading.registration).await
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
}

#[async_trait]
impl<E: Engine> Devices for SealedStore<E> {
    async fn device(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<DeviceRecords>, StoreError> {
        let (registration_id, id) = (id.clone(), id.key());
        let lookup = Lookup {
            registration: Some(id.to_string()),
            individual: Some(id.to_string()),
            ..Lookup::default()
        };
        let Some((instances, reading)) = self.read(scope, lookup).await? else { return Ok(None) };
        let snapshot = instances.snapshot();
        let Some(instance) = snapshot.instance(scope)?.cloned() else { return Ok(None) };
        let place = |table| RowRef { table, scope, id: &id };
        Ok(Some(DeviceRecords {
            registration_id,
            instance,
            configuration: snapshot.configuration(scope)?,
            registration: self.opened(place(Table::Registrations), reading.registration),
            individual: self.opened(place(Table::Individuals), reading.individual),
        }))
    }

    async fn hub_device(
        &self,
        hub_device: &HubDeviceRef,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<HubDeviceRecords, StoreError> {
        let key = hub_device.key();
        let lookup = Lookup {
            cleanup: Some(key.to_string()),
            other_owner: Some((hub_device.clone(), id.key().into_owned())),
            ..Lookup::default()
        };
        let found = self.read(scope, lookup).await?;
        let (_, reading) = found.ok_or_else(|| broken(format!("instance {scope} is gone")))?;
        Ok(HubDeviceRecords {
            other_owner: reading.other_owner.map(owner).transpose()?,
            cleanup: self.opened(RowRef { table: Table::Cleanups, scope, id: &key }, reading.cleanup),
        })
    }
}

fn owner((scope, id): (String, String)) -> Result<Owner, StoreError> {
    let (id_scope, registration_id) = (IdScope::parse(scope), RegistrationId::parse(&id));
    Ok(Owner { id_scope: id_scope.map_err(broken)?, registration_id: registration_id.map_err(broken)? })
}

#[async_trait]
impl<E: Engine> Cleanups for SealedStore<E> {
    async fn cleanup(&self, scope: &IdScope, place: &HubDeviceRef) -> Result<Option<Cleanup>, StoreError> {
        let id = place.key();
        let lookup = Lookup { cleanup: Some(id.to_string()), ..Lookup::default() };
        let place = RowRef { table: Table::Cleanups, scope, id: &id };
        self.read_record(place, lookup, |reading| reading.cleanup).await
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
        let page: Page<Cleanup> = self.page(scope, Listing::Due(hub.clone(), now, at_most)).await?;
        if page.damaged.is_empty() {
            return Ok(page);
        }
        let mut page = self.page(scope, Listing::Due(hub.clone(), now, MAX_PAGE)).await?;
        page.items.truncate(at_most);
        Ok(page)
    }

    async fn cleanups_owed(&self, scope: &IdScope) -> Result<u64, StoreError> {
        match self.instance_table().await?.readable_number(scope)? {
            Some(instance) => self.engine.count(instance, Table::Cleanups, MAX_COUNTED).await,
            None => Ok(0),
        }
    }
}

#[async_trait]
impl<E: Engine> Commits for SealedStore<E> {
    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        self.write(scope, commit).await
    }
}

#[async_trait]
impl<E: Engine> Attempts for SealedStore<E> {
    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError> {
        // Not even attempts are kept of an instance that is deleted.
        let instance = self.written_number(scope, &Actor::System(Job::Assignments)).await?;
        let seal = |attempt: Attempt| {
            let id = attempt.registration_id.key().into_owned();
            let place = RowRef { table: Table::Attempts, scope, id: &id };
            let document = self.documents.seal(place, &attempt)?;
            Ok(AttemptRow { id, is_known: attempt.known, document })
        };
        let rows = attempts.into_iter().map(seal).collect::<Result<_, StoreError>>()?;
        self.engine.keep_attempts(instance, rows).await
    }

    async fn attempts(&self, scope: &IdScope, query: AttemptQuery) -> Result<Page<Attempt>, StoreError> {
        let rows =
            AttemptRows { id: query.registration_id.map(|id| id.key().into_owned()), page: query.page };
        let mut page = self.page(scope, Listing::Attempts(rows)).await?;
        // All attempts of an ID are one record here: one that was read does not mend another.
        page.damaged.iter().for_each(|damaged| self.documents.damage().note(&scope.key(), damaged));
        page.damaged.dedup();
        Ok(page)
    }

    async fn trim_attempts(&self, retention: AttemptRetention) -> Result<(), StoreError> {
        let table = self.instance_table().await?;
        let number = |(scope, before)| Ok(table.readable_number(&scope)?.map(|number| (number, before)));
        let own = retention.of_instances.into_iter().filter_map(|it| number(it).transpose());
        self.engine.trim_attempts(retention.before, own.collect::<Result<_, StoreError>>()?).await
    }
}

#[async_trait]
impl<E: Engine> ChangeLog for SealedStore<E> {
    async fn read_log(&self, scope: &IdScope, query: LogQuery) -> Result<LogPage, LogError> {
        match self.instance_table().await?.readable_number(scope)? {
            Some(instance) => self.engine.read_log(instance, query).await,
            None => Ok(LogPage::default()),
        }
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        self.engine.trim_log(keep).await
    }
}

#[async_trait]
impl<E: Engine> Usage for SealedStore<E> {
    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        let Some(instance) = self.instance_table().await?.readable_number(scope)? else {
            return Ok(Vec::new());
        };
        let rows = self.engine.usage(instance, (from, to)).await.inspect_err(|error| {
            if let StoreError::Damaged(record) = error {
                self.documents.damage().note(&scope.key(), record);
            }
        })?;
        // A count that cannot be read is left out, and shown as damage: the others are right.
        let readable = |row: Result<UsageRow, String>| {
            let damaged = |id| DamagedRecord { kind: RecordKind::Usage, id, reason: NO_COUNT.to_owned() };
            row.map_err(|id| self.documents.damage().note(&scope.key(), &damaged(id))).ok()
        };
        let mut usage: Vec<UsageRow> = rows.into_iter().filter_map(readable).collect();
        usage.sort_by_key(|row| (row.day, row.kind));
        Ok(usage)
    }
}

#[async_trait]
impl<E: Engine> Damage for SealedStore<E> {
    async fn known_damage(&self) -> Result<KnownDamage, StoreError> {
        Ok(self.documents.damage().known())
    }
}

#[async_trait]
impl<E: Engine> Leases for SealedStore<E> {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.engine.claim(name, holder, time).await
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        self.engine.release(token).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.engine.leases().await
    }
}
