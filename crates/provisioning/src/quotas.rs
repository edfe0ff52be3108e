//! Quotas of records: how many an instance may have, and how many it has.
//!
//! Groups, CA certificates and hubs are in memory, and counted there. Enrollments and registrations are counted by the store, at most
//! once a minute while new ones are created; until the next count, those that this process created are added. So a quota may be
//! exceeded by what other nodes create in a minute. Records beyond a quota stay as they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::lock::Mutex as AsyncMutex;
use model::{IdScope, Instance, Quota, Timestamp};

use crate::{
    Error, Provisioning, RecordKind,
    configuration::Configuration,
    ports::{DamagedRecord, RecordCounts},
};

/// Where counting ends: the largest instances that were tested have a tenth of it.
const MAX_COUNTED_RECORDS: u64 = 10_000_000;

/// The age in seconds from which a count is too old.
const COUNT_AGE_SECS: i64 = 60;

/// The same if the count leaves no room: an operator may have deleted records.
const FULL_COUNT_AGE_SECS: i64 = 5;

/// The numbers of records when the store counted them last, by instance, and of those created since.
#[derive(Debug, Default)]
pub(crate) struct RecordTally(Mutex<HashMap<IdScope, Counted>>);

#[derive(Debug, Clone, Default)]
struct Counted {
    /// When the last count began; `None` if it failed.
    at: Option<Timestamp>,
    /// The last count that ended, with the records that were created since; `None` before the first one.
    counts: Option<RecordCounts>,
    /// The records that were created since a count began.
    created: RecordCounts,
    /// Held by the caller that makes the first count. The others wait for it: without a count there is nothing to go on with.
    first: Arc<AsyncMutex<()>>,
}

/// What a caller does that needs counts.
#[derive(Debug)]
enum Step {
    /// Goes on with these.
    Use(RecordCounts),
    /// Counts anew.
    Count,
    /// Waits for the first count, or makes it.
    Await(Arc<AsyncMutex<()>>),
}

impl RecordTally {
    /// Adds records that were created.
    pub(crate) fn add(&self, scope: &IdScope, created: RecordCounts) {
        if let Some(counted) = self.lock().get_mut(scope) {
            counted.created = sum(counted.created, created);
            counted.counts = counted.counts.map(|counts| sum(counts, created));
        }
    }

    /// Returns what a caller does that needs counts below this age: of those beyond it one counts anew, and all others go on with the
    /// old ones.
    fn step(&self, scope: &IdScope, seconds: i64, now: Timestamp) -> Step {
        let mut all = self.lock();
        let counted = all.entry(scope.clone()).or_default();
        let Some(counts) = counted.counts else { return Step::Await(Arc::clone(&counted.first)) };
        // The clock may have been set back.
        let is_young = |at: Timestamp| (now.unix_seconds() - at.unix_seconds()).abs() < seconds;
        if counted.at.is_some_and(is_young) {
            return Step::Use(counts);
        }
        counted.at = Some(now);
        counted.created = RecordCounts::default();
        Step::Count
    }

    /// Notes that the first count begins, unless it has ended.
    fn begin_first(&self, scope: &IdScope, now: Timestamp) -> Option<RecordCounts> {
        let mut all = self.lock();
        let counted = all.entry(scope.clone()).or_default();
        if counted.counts.is_none() {
            (counted.at, counted.created) = (Some(now), RecordCounts::default());
        }
        counted.counts
    }

    /// Sets the counts; `None` if counting failed. What was created since the count began is added, since the count may lack it.
    fn set(&self, scope: &IdScope, counts: Option<RecordCounts>) {
        let mut all = self.lock();
        let counted = all.entry(scope.clone()).or_default();
        match counts {
            Some(counts) => counted.counts = Some(sum(counts, counted.created)),
            None => counted.at = None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdScope, Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum(one: RecordCounts, other: RecordCounts) -> RecordCounts {
    RecordCounts {
        individuals: one.individuals + other.individuals,
        registrations: one.registrations + other.registrations,
        cleanups: one.cleanups + other.cleanups,
    }
}

/// A quota of records with the number that it limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUse {
    /// The quota.
    pub quota: Quota,
    /// How many records there are. Of enrollments and registrations the number of at most a minute ago.
    pub used: u64,
}

impl Provisioning {
    /// Fails if the instance has no room for another record, besides `ahead` others that are about to be created.
    pub(crate) async fn reject_beyond_quota(
        &self,
        instance: &Instance,
        quota: Quota,
        ahead: usize,
    ) -> Result<(), Error> {
        let Some(limit) = instance.limit(quota) else { return Ok(()) };
        let wanted = ahead as u64 + 1;
        for age in [COUNT_AGE_SECS, FULL_COUNT_AGE_SECS] {
            if self.records(instance, quota, age).await? + wanted <= u64::from(limit.get()) {
                return Ok(());
            }
        }
        Err(Error::QuotaExceeded { quota, limit })
    }

    /// Returns how much of each quota of records is used.
    pub async fn quota_use(&self, instance: &Instance) -> Result<Vec<QuotaUse>, Error> {
        let mut all = Vec::new();
        for quota in Quota::ALL.into_iter().filter(|quota| quota.window().is_none()) {
            all.push(QuotaUse { quota, used: self.records(instance, quota, COUNT_AGE_SECS).await? });
        }
        Ok(all)
    }

    /// Returns the number of records that a quota limits; those of the store if they were not counted for this number of seconds.
    async fn records(&self, instance: &Instance, quota: Quota, age: i64) -> Result<u64, Error> {
        let scope = &instance.id_scope;
        match quota {
            Quota::Enrollments => Ok(self.counted(scope, age).await?.individuals),
            Quota::Registrations => Ok(self.counted(scope, age).await?.registrations),
            Quota::LinkedHubs => Ok(instance.linked_hubs.len() as u64),
            Quota::SymmetricKeyGroups | Quota::X509Groups | Quota::CaCertificates => {
                Ok(in_memory(&self.store.configuration(scope).await?, quota) as u64)
            }
            Quota::RegistrationsPerMinute | Quota::OperationsPerMinute | Quota::PollsPer10Seconds => Ok(0),
        }
    }

    async fn counted(&self, scope: &IdScope, age: i64) -> Result<RecordCounts, Error> {
        match self.record_tally.step(scope, age, self.clock.now()) {
            Step::Use(counts) => Ok(counts),
            Step::Count => self.recount(scope).await,
            Step::Await(first) => {
                let _first = first.lock().await;
                match self.record_tally.begin_first(scope, self.clock.now()) {
                    Some(counts) => Ok(counts),
                    None => self.recount(scope).await,
                }
            }
        }
    }

    async fn recount(&self, scope: &IdScope) -> Result<RecordCounts, Error> {
        let counts = self.store.counts(scope, MAX_COUNTED_RECORDS).await;
        self.record_tally.set(scope, counts.as_ref().ok().copied());
        Ok(counts?)
    }
}

/// Returns the number of CA certificates, or of groups with this attestation. A group that cannot be read is taken for one with
/// certificates.
fn in_memory(configuration: &Configuration, quota: Quota) -> usize {
    let groups = configuration.groups();
    let with_keys = groups.with_symmetric_keys().len();
    let is_group = |record: &&DamagedRecord| record.kind == RecordKind::EnrollmentGroup;
    match quota {
        Quota::CaCertificates => configuration.trust().certificates().len(),
        Quota::SymmetricKeyGroups => with_keys,
        _ => groups.all().len() - with_keys + configuration.unreadable().iter().filter(is_group).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(individuals: u64, registrations: u64) -> RecordCounts {
        RecordCounts { individuals, registrations, cleanups: 0 }
    }

    fn used(step: Step) -> Option<RecordCounts> {
        match step {
            Step::Use(counts) => Some(counts),
            Step::Count | Step::Await(_) => None,
        }
    }

    #[test]
    fn one_caller_counts_and_the_others_go_on_with_the_last_count() {
        let (tally, scope) = (RecordTally::default(), IdScope::parse("0ne1").unwrap());
        let at = |seconds: i64| Timestamp::from_unix_seconds(1_000_000 + seconds);
        let step = |seconds: i64| used(tally.step(&scope, 60, at(seconds)));
        tally.add(&scope, counts(9, 9));
        assert_eq!(tally.begin_first(&scope, at(0)), None);
        tally.add(&scope, counts(0, 2));
        tally.set(&scope, Some(counts(5, 5)));
        assert_eq!(tally.begin_first(&scope, at(0)), Some(counts(5, 7)), "with what was created meanwhile");
        tally.add(&scope, counts(1, 0));
        assert_eq!(step(59), Some(counts(6, 7)));
        assert_eq!(step(60), None);
        assert_eq!(step(61), Some(counts(6, 7)));
        tally.set(&scope, None);
        assert_eq!(step(62), None, "a failed count is repeated");
        tally.set(&scope, Some(counts(1, 1)));
        assert_eq!(step(-3600), None, "the clock was set back");
    }

    /// Without a count no caller goes on with an assumed one: each waits, also if the one that counts hangs up.
    #[tokio::test]
    async fn all_callers_wait_for_the_first_count() {
        let (tally, scope) = (RecordTally::default(), IdScope::parse("0ne1").unwrap());
        let at = Timestamp::from_unix_seconds(1_000_000);
        let first = match tally.step(&scope, 60, at) {
            Step::Await(first) => first,
            step => unreachable!("{step:?}"),
        };
        let counting = first.lock().await;
        assert_eq!(tally.begin_first(&scope, at), None);
        let other = match tally.step(&scope, 60, at) {
            Step::Await(other) => other,
            step => unreachable!("{step:?}"),
        };
        assert!(other.try_lock().is_none(), "it waits");
        drop(counting);
        let _counting = other.try_lock().unwrap();
        assert_eq!(tally.begin_first(&scope, at), None, "the other one counts");
    }
}
