//! The way to the disk: the real store, a little slow, and busy now and then. It also watches what is written.

use std::{
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use async_trait::async_trait;
use model::{
    Attempt, Cleanup, Day, EnrollmentGroupId, EnrollmentRef, HubDeviceRef, HubName, IdScope,
    IndividualEnrollment, LeaseToken, OperationKind, Registration, RegistrationId, Status, StatusKind,
    Timestamp, UsageRow,
};
use provisioning::{
    configuration::Snapshot,
    ports::{
        Attempts, Change, ChangeLog, Cleanups, Commit, Commits, Damage, Enrollments, Instances, KnownDamage,
        Lease, LeaseName, Leases, LogError, LogPage, LogQuery, LogRetention, Outcome, Owner, Page,
        PageRequest, Registrations, RunnerId, StoreError, Usage,
    },
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    hostility, intruder, life::Pulse, operator, rivals, run::has_standby, weather::Flaw, world::GROUPS,
};

pub struct SimulatedStore {
    pulse: Arc<Pulse>,
}

impl SimulatedStore {
    pub fn new(pulse: Arc<Pulse>) -> SimulatedStore {
        SimulatedStore { pulse }
    }

    /// Reads in one moment between two others.
    async fn reach<T>(&self, act: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.reach_then(|| (), act, |_| ()).await
    }

    /// The same; something happens just before, and what comes of it is looked at in the same moment.
    async fn reach_then<T>(
        &self,
        before: impl FnOnce(),
        act: impl Future<Output = Result<T, StoreError>>,
        look: impl FnOnce(&T),
    ) -> Result<T, StoreError> {
        let world = &self.pulse.world;
        self.pulse.on_the_way(0..=5).await;
        let outcome = if world.weather.strikes(2, &world.dice) {
            world.note("the store is busy");
            world.count(|figures| figures.faults += 1);
            Err(StoreError::Busy)
        } else {
            before();
            world.lease_clock.set(world.now());
            finish(act).inspect(look)
        };
        self.pulse.on_the_way(0..=5).await;
        outcome
    }

    /// Now and then an operator is a moment faster than the end of a run, and has been answered: the group that let the
    /// device in is deleted or disabled.
    fn forestall(&self, commit: &Commit) {
        let world = &self.pulse.world;
        let arriving = commit.changes.iter().find_map(|(_, change)| match change {
            Change::PutRegistration(registration) => Some(registration),
            _ => None,
        });
        let Some(Registration { status: Status::Assigned(_), enrollment, registration_id, .. }) =
            arriving.map(|registration| &**registration)
        else {
            return;
        };
        let EnrollmentRef::Group(group) = enrollment else {
            return self.forestall_individual(registration_id);
        };
        // No operator touches the group that an intruder must not take devices from.
        let is_touched = GROUPS.iter().any(|(name, _)| *name == group.as_str());
        if is_touched && world.weather.strikes(10, &world.dice) && world.refuses(group).is_none() {
            world.count(|figures| figures.interventions += 1);
            match world.dice.roll(2) {
                0 => operator::delete_group(world, group.as_str()),
                _ => operator::switch(world, group.as_str()),
            }
        }
    }

    fn forestall_individual(&self, id: &RegistrationId) {
        let world = &self.pulse.world;
        let is_touched = world.notes().individuals.contains_key(id);
        if is_touched && world.weather.strikes(100, &world.dice) {
            world.count(|figures| figures.interventions += 1);
            hostility::delete_individual(world, id);
        }
    }

    /// A commit as a store would make it that knows no fences.
    fn unfenced(&self, commit: &Commit) -> Commit {
        let is_flawed = self.pulse.world.flaw == Flaw::ForgetsFences;
        Commit { fence: commit.fence.filter(|_| !is_flawed), ..commit.clone() }
    }

    /// A commit as a broken service would make it.
    fn flawed(&self, mut commit: Commit) -> Commit {
        match self.pulse.world.flaw {
            Flaw::ForgetsGuards => commit.guards.clear(),
            Flaw::MovesInSilence => {
                for (_, change) in &mut commit.changes {
                    if let Change::PutRegistration(registration) = change
                        && let Some(decision) = registration.decisions.latest_mut()
                    {
                        decision.moved_from = None;
                    }
                }
            }
            _ => {}
        }
        commit
    }

    /// A commit that cannot be recalled once it is sent: it is made also if its sender has lost its lease meanwhile and given
    /// it up. Now and then it is on its way for long.
    async fn commit_unrecallably(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        let (store, scope) = (SimulatedStore::new(Arc::clone(&self.pulse)), scope.clone());
        tokio::spawn(async move {
            let world = &store.pulse.world;
            if world.weather.strikes(100, &world.dice) {
                tokio::time::sleep(world.dice.millis(1..=20_000)).await;
            }
            // The sender may be gone.
            drop(sender.send(store.commit_now(&scope, commit).await));
        });
        answer.await.map_err(|_| StoreError::Busy)?
    }

    async fn commit_now(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        // What a commit removes is looked at in the same moment: a run may end just before it.
        let written = async {
            let removed = self.removed_by(scope, &commit).await?;
            Ok((removed, self.pulse.world.disk().commit(scope, self.unfenced(&commit)).await?))
        };
        let look = |(removed, outcomes): &(Vec<_>, Vec<_>)| self.watch(&commit, outcomes, removed);
        let made = self.reach_then(|| self.forestall(&commit), written, look).await;
        if matches!(made, Err(StoreError::Fenced)) {
            self.pulse.world.count(|figures| figures.fenced += 1);
        }
        made.map(|(_, outcomes)| outcomes)
    }

    /// Nothing is written under a lease that another process has taken over.
    fn watch_fence(&self, commit: &Commit) {
        let world = &self.pulse.world;
        if let Some(token) = commit.fence.filter(|token| world.notes().lost_leases.contains(token)) {
            world.violated(format_args!("a commit was made under lease {token}, which was lost"));
        }
    }

    /// The registrations that a commit is to remove, as they stand.
    async fn removed_by(&self, scope: &IdScope, commit: &Commit) -> Result<Vec<Registration>, StoreError> {
        let mut removed = Vec::new();
        for (_, change) in &commit.changes {
            if let Change::DeleteRegistration(id) = change {
                removed.extend(self.pulse.world.disk().registration(scope, id).await?);
            }
        }
        Ok(removed)
    }

    /// Looks at what was written: dates never go back, and what moved or ended is written down. `removed` is what stood
    /// when the commit was made.
    fn watch(&self, commit: &Commit, outcomes: &[Outcome], removed: &[Registration]) {
        self.watch_fence(commit);
        let (guards, changes) = outcomes.split_at(commit.guards.len());
        if guards.iter().any(|outcome| *outcome != Outcome::Applied) {
            return self.pulse.world.note("a commit is held back");
        }
        let made = commit.changes.iter().zip(changes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        for ((_, change), _) in made.clone() {
            match change {
                Change::PutRegistration(registration) => self.watch_registration(registration),
                Change::DeleteRegistration(id) => self.watch_removal(id, removed),
                _ => {}
            }
        }
        let counts = commit.changes.is_empty() || made.count() > 0;
        if let Some((kind, _)) = commit.operation.filter(|_| counts) {
            self.pulse.world.note(format_args!("counted: {kind:?}"));
            let is_run = matches!(kind, OperationKind::Registration | OperationKind::Reregistration);
            self.pulse.world.count(|figures| figures.counted += u64::from(is_run));
            if is_run {
                self.pulse.world.notes().last_counted = self.pulse.world.elapsed();
            }
        }
    }

    fn watch_removal(&self, id: &RegistrationId, removed: &[Registration]) {
        let stood = removed.iter().filter(|registration| registration.registration_id == *id);
        stood.for_each(|removed| self.pulse.world.forget_registration(removed));
    }

    fn watch_registration(&self, registration: &Registration) {
        let (world, id) = (&self.pulse.world, &registration.registration_id);
        world.note(format_args!("written: {id} {}", told(&registration.status)));
        intruder::watch(world, registration);
        if let Status::Assigned(at) = &registration.status {
            // From now on it is this registration's, and cleaned up when that leaves.
            world.notes().left_behind.remove(&(at.device_id.clone(), at.hub.clone()));
            hostility::watch_arrival(world, at);
        }
        if let (Status::Assigned(_), EnrollmentRef::Group(group)) =
            (&registration.status, &registration.enrollment)
            && let Some(why_not) = world.refuses(group)
        {
            world.violated(format_args!("{id} has arrived, and its group {group} was {why_not} before"));
        }
        if let (Status::Assigned(_), EnrollmentRef::Individual) =
            (&registration.status, &registration.enrollment)
            && let Some(why_not) = world.refuses_individual(id)
        {
            world.violated(format_args!("{id} has arrived, and its enrollment was {why_not} before"));
        }
        let before = world.notes().written.insert(id.clone(), registration.clone());
        let Some(before) = before else { return };
        rivals::watch_move(world, &before, registration);
        if before.status.kind() == StatusKind::Assigning && registration.status.kind() == StatusKind::Disabled
        {
            world.notes().in_doubt.insert(id.clone());
        }
        let (was, is) = (&before.record, &registration.record);
        if is.created != was.created || is.last_updated < was.last_updated {
            world.violated(format_args!("the dates of {id} went back: {was:?}, then {is:?}"));
        }
        let (from, to) = (before.assignment(), registration.assignment());
        let has_moved = from.zip(to).is_some_and(|(from, to)| from.hub != to.hub);
        world.count(|figures| figures.moves += u64::from(has_moved));
    }
}

/// A status in a few words.
fn told(status: &Status) -> String {
    match status {
        Status::Assigning { step, from, tries, .. } => {
            let to = step.spec().map_or("a hub to be asked for".into(), |spec| spec.hub.to_string());
            let from = from.as_ref().map(|from| from.hub.as_str());
            format!("assigning to {to} from {from:?}, tried {} times", tries.count())
        }
        Status::Assigned(at) => format!("assigned to {} ({:?})", at.hub, at.substatus),
        Status::Failed { failure, .. } => format!("failed: {}", failure.message),
        Status::Disabled { .. } => "disabled".to_owned(),
    }
}

/// Runs a future of the store to its end on this thread, in no virtual time at all. What it starts beside itself runs
/// where time is real, because the store waits for a disk.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    static BESIDE: LazyLock<Runtime> =
        LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap());
    let _entered = BESIDE.enter();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    // A task's budget is filled up when it yields, and this one does not.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
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
        let world = &self.pulse.world;
        let claimed = async {
            let before = world.disk().leases().await?;
            let last = before.into_iter().find(|lease| lease.name == *name && lease.holder != *holder);
            Ok((last, world.disk().claim(name, holder, time).await?))
        };
        let look = |(last, claimed): &(Option<Lease>, Option<Lease>)| {
            if let (Some(last), Some(_)) = (last, claimed) {
                world.note(format_args!("{name} is taken over from {}", last.token));
                world.count(|figures| figures.takeovers += 1);
                world.notes().lost_leases.insert(last.token);
            }
        };
        self.reach_then(|| (), claimed, look).await.map(|(_, claimed)| claimed)
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        self.pulse.world.notes().lost_leases.insert(token);
        self.reach(self.pulse.world.disk().release(token)).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.reach(self.pulse.world.disk().leases()).await
    }
}

#[async_trait]
impl Instances for SimulatedStore {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.reach(self.pulse.world.disk().snapshot()).await
    }
}

#[async_trait]
impl Enrollments for SimulatedStore {
    async fn individual(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, StoreError> {
        if self.pulse.world.flaw == Flaw::OverlooksIndividuals {
            return Ok(None);
        }
        self.reach(self.pulse.world.disk().individual(scope, id)).await
    }

    async fn individuals(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<IndividualEnrollment>, StoreError> {
        self.reach(self.pulse.world.disk().individuals(scope, page)).await
    }

    async fn individuals_expiring(
        &self,
        scope: &IdScope,
        until: Timestamp,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreError> {
        self.reach(self.pulse.world.disk().individuals_expiring(scope, until, limit)).await
    }
}

#[async_trait]
impl Registrations for SimulatedStore {
    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError> {
        self.reach(self.pulse.world.disk().registration(scope, id)).await
    }

    async fn registrations(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.reach(self.pulse.world.disk().registrations(scope, page)).await
    }

    async fn registrations_of(
        &self,
        scope: &IdScope,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.reach(self.pulse.world.disk().registrations_of(scope, group, page)).await
    }

    async fn registrations_in(
        &self,
        scope: &IdScope,
        status: StatusKind,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError> {
        self.reach(self.pulse.world.disk().registrations_in(scope, status, page)).await
    }

    async fn other_owner(
        &self,
        place: &HubDeviceRef,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Owner>, StoreError> {
        self.reach(self.pulse.world.disk().other_owner(place, scope, id)).await
    }
}

#[async_trait]
impl Cleanups for SimulatedStore {
    async fn cleanup(&self, scope: &IdScope, place: &HubDeviceRef) -> Result<Option<Cleanup>, StoreError> {
        self.reach(self.pulse.world.disk().cleanup(scope, place)).await
    }

    async fn cleanups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<Cleanup>, StoreError> {
        self.reach(self.pulse.world.disk().cleanups(scope, page)).await
    }

    async fn cleanups_due(
        &self,
        scope: &IdScope,
        hub: &HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Page<Cleanup>, StoreError> {
        self.reach(self.pulse.world.disk().cleanups_due(scope, hub, now, at_most)).await
    }

    async fn cleanups_owed(&self, scope: &IdScope) -> Result<u64, StoreError> {
        self.reach(self.pulse.world.disk().cleanups_owed(scope)).await
    }
}

#[async_trait]
impl Commits for SimulatedStore {
    async fn commit(&self, scope: &IdScope, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        let commit = self.flawed(commit);
        if commit.fence.is_some() && has_standby(self.pulse.world.seed) {
            return self.commit_unrecallably(scope, commit).await;
        }
        self.commit_now(scope, commit).await
    }
}

#[async_trait]
impl Attempts for SimulatedStore {
    async fn keep_attempts(&self, scope: &IdScope, attempts: Vec<Attempt>) -> Result<(), StoreError> {
        self.reach(self.pulse.world.disk().keep_attempts(scope, attempts)).await
    }

    async fn attempts(&self, scope: &IdScope, id: &RegistrationId) -> Result<Page<Attempt>, StoreError> {
        self.reach(self.pulse.world.disk().attempts(scope, id)).await
    }
}

#[async_trait]
impl ChangeLog for SimulatedStore {
    async fn read_log(&self, scope: &IdScope, query: LogQuery) -> Result<LogPage, LogError> {
        let read = async { Ok(self.pulse.world.disk().read_log(scope, query).await) };
        self.reach(read).await?
    }

    async fn trim_log(&self, keep: LogRetention) -> Result<bool, StoreError> {
        self.reach(self.pulse.world.disk().trim_log(keep)).await
    }
}

#[async_trait]
impl Usage for SimulatedStore {
    async fn usage(&self, scope: &IdScope, from: Day, to: Day) -> Result<Vec<UsageRow>, StoreError> {
        self.reach(self.pulse.world.disk().usage(scope, from, to)).await
    }
}

#[async_trait]
impl Damage for SimulatedStore {
    async fn known_damage(&self) -> Result<KnownDamage, StoreError> {
        self.reach(self.pulse.world.disk().known_damage()).await
    }
}
