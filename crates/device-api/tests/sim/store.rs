//! The store as one process reaches it: the real one, a little slow, and busy or out of reach now and then.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use model::{
    Attempt, Cleanup, Day, EnrollmentGroupId, HubDeviceRef, HubName, IdScope, IndividualEnrollment,
    LeaseToken, Registration, RegistrationId, SearchProgress, StatusKind, Timestamp, UsageRow,
};
use provisioning::{
    configuration::Snapshot,
    ports::{
        AttemptQuery, AttemptRetention, Attempts, ChangeLog, Cleanups, Commit, Commits, Damage,
        DeviceRecords, Devices, Enrollments, FoundTerm, HubDeviceRecords, Instances, KnownDamage, Lease,
        LeaseName, Leases, LogError, LogPage, LogQuery, LogRetention, Outcome, Page, PageRequest,
        RecordCounts, Registrations, RunnerId, SearchState, SearchTable, SearchUpdate, Store, StoreError,
        TermRange, Usage,
    },
};
use tokio::time::Instant;

use crate::{
    deployment::Deployment, finish::finish, lane::Lane, outages::wait_for_database, process::Process,
    transaction::Transaction, weather::Flaw,
};

/// How long a node keeps a snapshot that has the flaw of not following changes.
const STALE_TIME: Duration = Duration::from_secs(30);

pub struct SimulatedStore {
    process: Arc<Process>,
    /// The handle of this process on the database.
    handle: Arc<dyn Store>,
    /// How a node of a cluster commits.
    lane: Option<Arc<Lane>>,
    /// What is served by [`Flaw::ServesStaleSnapshots`], and since when.
    kept: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl SimulatedStore {
    pub fn new(process: Arc<Process>) -> SimulatedStore {
        let handle = process.world.open_handle();
        let lane = match process.world.deployment {
            Deployment::Embedded => None,
            Deployment::Cluster => Some(Arc::new(Lane::new(Arc::clone(&process), Arc::clone(&handle)))),
        };
        SimulatedStore { process, handle, lane, kept: Mutex::default() }
    }

    /// Calls the database, which acts at one moment between two others.
    async fn reach<T>(&self, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let world = &self.process.world;
        self.process.pass(0..=5).await;
        let outcome = if world.weather.strikes(2, &world.dice) {
            world.note("the store is busy");
            world.count(|figures| figures.faults += 1);
            Err(StoreError::Busy)
        } else if !wait_for_database(&self.process).await {
            Err(StoreError::Busy)
        } else {
            world.lease_clock.set(world.now());
            act()
        };
        self.process.pass(0..=5).await;
        outcome
    }
}

#[async_trait]
impl Leases for SimulatedStore {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let world = &self.process.world;
        let claim = || {
            let before = finish(self.handle.leases())?;
            let last = before.into_iter().find(|lease| lease.name == *name && lease.holder != *holder);
            let claimed = finish(self.handle.claim(name, holder, time))?;
            if let (Some(last), Some(_)) = (last, &claimed) {
                world.note(format_args!("{name} is taken over from {}", last.token));
                world.count(|figures| figures.takeovers += 1);
                world.notes().lost_leases.insert(last.token);
            }
            Ok(claimed)
        };
        self.reach(claim).await
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        let release = || {
            self.process.world.notes().lost_leases.insert(token);
            finish(self.handle.release(token))
        };
        self.reach(release).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.reach(|| finish(self.handle.leases())).await
    }
}

#[async_trait]
impl Instances for SimulatedStore {
    async fn forget(&self, scope: &IdScope) -> Result<(), StoreError> {
        self.reach(|| finish(self.handle.forget(scope))).await
    }

    async fn counts(&self, scope: &IdScope, at_most: u64) -> Result<RecordCounts, StoreError> {
        self.reach(|| finish(self.handle.counts(scope, at_most))).await
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        let snapshot = self.reach(|| finish(self.handle.snapshot())).await?;
        if self.process.world.flaw != Flaw::ServesStaleSnapshots {
            return Ok(snapshot);
        }
        let mut kept = self.kept.lock().unwrap();
        let is_old = kept.as_ref().is_none_or(|(taken, _)| taken.elapsed() > STALE_TIME);
        if is_old {
            *kept = Some((Instant::now(), snapshot));
        }
        Ok(kept.as_ref().map(|(_, snapshot)| Arc::clone(snapshot)).unwrap())
    }
}

#[async_trait]
impl SearchTable for SimulatedStore {
    async fn search_state(&self, scope: &IdScope) -> Result<SearchState, StoreError> {
        self.reach(|| finish(self.handle.search_state(scope))).await
    }

    async fn update_search(
        &self,
        scope: &IdScope,
        expected: Option<&SearchProgress>,
        update: SearchUpdate,
    ) -> Result<bool, StoreError> {
        self.reach(|| finish(self.handle.update_search(scope, expected, update.clone()))).await
    }

    async fn clear_search(&self, scope: &IdScope) -> Result<bool, StoreError> {
        self.reach(|| finish(self.handle.clear_search(scope))).await
    }

    async fn count_terms(
        &self,
        scope: &IdScope,
        range: &TermRange,
        at_most: usize,
    ) -> Result<usize, StoreError> {
        self.reach(|| finish(self.handle.count_terms(scope, range, at_most))).await
    }

    async fn terms(
        &self,
        scope: &IdScope,
        range: &TermRange,
        at_most: usize,
    ) -> Result<Vec<FoundTerm>, StoreError> {
        self.reach(|| finish(self.handle.terms(scope, range, at_most))).await
    }
}

#[async_trait]
impl Enrollments for SimulatedStore {
    async fn individual(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, StoreError> {
        if self.process.world.flaw == Flaw::OverlooksIndividuals {
            return Ok(None);
        }
        self.reach(|| finish(self.handle.individual(scope, id))).await
    }

    async fn individuals(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<IndividualEnrollment>, StoreError> {
        self.reach(|| finish(self.handle.individuals(scope, page))).await
    }

    async fn individuals_expiring(
        &self,
        scope: &IdScope,
        until: Timestamp,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreError> {
        self.reach(|| finish(self.handle.individuals_expiring(scope, until, limit))).await
    }
}

#[async_trait]
impl Registrations for SimulatedStore {
    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError> {
        self.reach(|| finish(self.handle.registration(scope, id))).await
    }

    async fn registrations(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.reach(|| finish(self.handle.registrations(scope, page))).await
    }

    async fn registrations_of(
        &self,
        scope: &IdScope,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.reach(|| finish(self.handle.registrations_of(scope, group, page))).await
    }

    async fn registrations_in(
        &self,
        scope: &IdScope,
        status: StatusKind,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.reach(|| finish(self.handle.registrations_in(scope, status, page))).await
    }
}

#[async_trait]
impl Devices for SimulatedStore {
    async fn device(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<DeviceRecords>, StoreError> {
        let device = self.reach(|| finish(self.handle.device(scope, id))).await?;
        Ok(match (self.process.world.flaw, device) {
            (Flaw::OverlooksIndividuals, Some(device)) => {
                Some(DeviceRecords { individual: Ok(None), ..device })
            }
            (Flaw::ServesStaleSnapshots, Some(device)) => {
                let snapshot = self.snapshot().await?;
                Some(DeviceRecords { configuration: snapshot.configuration(scope)?, ..device })
            }
            (_, device) => device,
        })
    }

    async fn hub_device(
        &self,
        hub_device: &HubDeviceRef,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<HubDeviceRecords, StoreError> {
        self.reach(|| finish(self.handle.hub_device(hub_device, scope, id))).await
    }
}

#[async_trait]
impl Cleanups for SimulatedStore {
    async fn cleanup(&self, scope: &IdScope, place: &HubDeviceRef) -> Result<Option<Cleanup>, StoreError> {
        self.reach(|| finish(self.handle.cleanup(scope, place))).await
    }

    async fn cleanups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<Cleanup>, StoreError> {
        self.reach(|| finish(self.handle.cleanups(scope, page))).await
    }

    async fn cleanups_due(
        &self,
        scope: &IdScope,
        hub: &HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Page<Cleanup>, StoreError> {
        self.reach(|| finish(self.handle.cleanups_due(scope, hub, now, at_most))).await
    }

    async fn cleanups_owed(&self, scope: &IdScope) -> Result<u64, StoreError> {
        self.reach(|| finish(self.handle.cleanups_owed(scope))).await
    }
}

#[async_trait]
impl Commits for SimulatedStore {
    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        let world = &self.process.world;
        let transaction = Arc::new(Transaction::new(world, scope.clone(), commit));
        let answer = match &self.lane {
            Some(lane) => Arc::clone(lane).commit(Arc::clone(&transaction)).await,
            None => self.reach(|| transaction.apply(&self.process, &*self.handle)).await,
        };
        transaction.check_answer(world, &answer);
        answer
    }
}

#[async_trait]
impl Attempts for SimulatedStore {
    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError> {
        self.reach(|| finish(self.handle.keep_attempts(scope, attempts))).await
    }

    async fn attempts(&self, scope: &IdScope, query: AttemptQuery) -> Result<Page<Attempt>, StoreError> {
        self.reach(|| finish(self.handle.attempts(scope, query))).await
    }

    async fn trim_attempts(&self, retention: AttemptRetention) -> Result<(), StoreError> {
        self.reach(|| finish(self.handle.trim_attempts(retention))).await
    }
}

#[async_trait]
impl ChangeLog for SimulatedStore {
    async fn read_log(&self, scope: &IdScope, query: LogQuery) -> Result<LogPage, LogError> {
        let read = || Ok(finish(self.handle.read_log(scope, query)));
        self.reach(read).await?
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        self.reach(|| finish(self.handle.trim_log(keep))).await
    }
}

#[async_trait]
impl Usage for SimulatedStore {
    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        self.reach(|| finish(self.handle.usage(scope, from, to))).await
    }
}

#[async_trait]
impl Damage for SimulatedStore {
    async fn known_damage(&self) -> Result<KnownDamage, StoreError> {
        self.reach(|| finish(self.handle.known_damage())).await
    }
}
