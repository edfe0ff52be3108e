//! Fetching of revocation lists: when it is due, and the result of the last attempt.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use certpath::Crl;
use model::{
    Actor, CaCertificate, CaReference, HttpUrl, IdScope, Instance, Job, LeaseToken, RevocationList, Timestamp,
};

use crate::{Error, Provisioning};

/// The time after a successful fetch until the next one, in seconds.
const FETCH_AGAIN_SECS: i64 = 3600;

/// The time after a failed fetch until the next one, in seconds: under a hard policy no device is admitted once the stored list is
/// stale.
const TRY_AGAIN_SECS: i64 = 300;

/// The last attempt to fetch a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The address.
    pub from: HttpUrl,
    /// The time of the attempt.
    pub at: Timestamp,
    /// Why the list was not fetched or not accepted; `None` if it was.
    pub problem: Option<String>,
}

impl Fetch {
    /// Returns when the next attempt is due.
    pub fn next(&self) -> Timestamp {
        let pause = if self.problem.is_some() { TRY_AGAIN_SECS } else { FETCH_AGAIN_SECS };
        self.at.plus_seconds(pause)
    }
}

/// The last attempts, by instance, CA and address. They are only in memory: after a start all lists are fetched anyway.
#[derive(Default)]
pub(crate) struct Fetches(Mutex<HashMap<Key, Fetch>>);

type Key = (IdScope, CaReference, HttpUrl);

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Fetch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provisioning {
    /// Returns the CAs and addresses of lists that are to be fetched now. Attempts at addresses that are no longer configured are
    /// forgotten, so that such a list is fetched at once if it is configured again.
    pub async fn lists_due(&self, instance: &Instance) -> Result<Vec<(CaReference, HttpUrl)>, Error> {
        let trust = self.trust(instance).await?;
        let now = self.clock.now();
        self.fetches.lock().retain(|(scope, name, from), _| {
            let ca = trust.certificate(name);
            *scope != instance.id_scope || ca.is_some_and(|ca| ca.revocation.fetched_from.contains(from))
        });
        let due = trust.certificates().flat_map(|ca| {
            let is_due = |from: &&HttpUrl| {
                let last = self.last_fetch(instance, ca, from);
                last.is_none_or(|last| now >= last.next())
            };
            ca.revocation.fetched_from.iter().filter(is_due).map(|from| (ca.name.clone(), from.clone()))
        });
        Ok(due.collect())
    }

    /// Stores a list that was fetched under this lease, and records the result, which is also the error.
    pub async fn take_fetched_list(
        &self,
        instance: &Instance,
        (name, from): (&CaReference, HttpUrl),
        fetched: Result<Crl, String>,
        fence: LeaseToken,
    ) -> Result<RevocationList, String> {
        let stored = match fetched {
            Ok(crl) => self
                .store_revocation_list(
                    instance,
                    (&Actor::System(Job::RevocationLists), Some(fence)),
                    name,
                    crl,
                )
                .await
                .map_err(|error| error.to_string()),
            Err(problem) => Err(problem),
        };
        let fetch =
            Fetch { from: from.clone(), at: self.clock.now(), problem: stored.as_ref().err().cloned() };
        self.fetches.lock().insert((instance.id_scope.clone(), name.clone(), from), fetch);
        stored
    }

    /// Returns the last attempts to fetch the lists of this CA, in the order of its addresses; none for an address that was not
    /// tried since the start.
    pub fn last_fetches(&self, instance: &Instance, ca: &CaCertificate) -> Vec<Fetch> {
        let addresses = ca.revocation.fetched_from.iter();
        addresses.filter_map(|from| self.last_fetch(instance, ca, from)).collect()
    }

    fn last_fetch(&self, instance: &Instance, ca: &CaCertificate, from: &HttpUrl) -> Option<Fetch> {
        let key = (instance.id_scope.clone(), ca.name.clone(), from.clone());
        self.fetches.lock().get(&key).cloned()
    }
}
