//! Revocation lists that are fetched: when that is due, and what came of it last.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{CaCertificate, CaReference, Crl, CrlAddress, IdScope, Instance, RevocationList, Timestamp};

use crate::{Error, Provisioning};

/// How long after it came a list is fetched again.
const FETCH_AGAIN_SECS: i64 = 3600;

/// And when it did not come: under a hard policy no device may get in once the old one is stale.
const TRY_AGAIN_SECS: i64 = 300;

/// The last attempt to fetch a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// From where.
    pub from: CrlAddress,
    /// When.
    pub at: Timestamp,
    /// Why the list did not come, or was not taken; absent when it was.
    pub problem: Option<String>,
}

impl Fetch {
    /// When the next one is due.
    pub fn next(&self) -> Timestamp {
        let pause = if self.problem.is_some() { TRY_AGAIN_SECS } else { FETCH_AGAIN_SECS };
        self.at.plus_seconds(pause)
    }
}

/// The last attempts, by instance and CA. Only in memory: after a start all lists are fetched anyway.
#[derive(Default)]
pub(crate) struct Fetches(Mutex<HashMap<(IdScope, CaReference), Fetch>>);

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, HashMap<(IdScope, CaReference), Fetch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provisioning {
    /// The lists of an instance that are to be fetched now, and from where. What is fetched no more is forgotten, so that
    /// it is fetched at once when it is again.
    pub async fn lists_due(&self, instance: &Instance) -> Result<Vec<(CaReference, CrlAddress)>, Error> {
        let authorities = self.authorities(instance).await?;
        let now = self.clock.now();
        self.fetches.lock().retain(|(scope, name), fetch| {
            let ca = authorities.certificate(name);
            *scope != instance.id_scope
                || ca.is_some_and(|ca| ca.revocation.fetched_from.as_ref() == Some(&fetch.from))
        });
        let due = authorities.certificates().filter_map(|ca| {
            let from = ca.revocation.fetched_from.clone()?;
            let last = self.last_fetch(instance, ca);
            last.is_none_or(|last| now >= last.next()).then(|| (ca.name.clone(), from))
        });
        Ok(due.collect())
    }

    /// Takes a list in that was fetched, and notes what came of it, which is also the error.
    pub async fn take_fetched_list(
        &self,
        instance: &Instance,
        (name, from): (&CaReference, CrlAddress),
        fetched: Result<Crl, String>,
    ) -> Result<RevocationList, String> {
        let taken = match fetched {
            Ok(crl) => {
                self.take_revocation_list(instance, name, crl).await.map_err(|error| error.to_string())
            }
            Err(problem) => Err(problem),
        };
        let fetch = Fetch { from, at: self.clock.now(), problem: taken.as_ref().err().cloned() };
        self.fetches.lock().insert((instance.id_scope.clone(), name.clone()), fetch);
        taken
    }

    /// The last attempt to fetch the list of this CA from where it is to be fetched, if there was one since the start.
    pub fn last_fetch(&self, instance: &Instance, ca: &CaCertificate) -> Option<Fetch> {
        let key = (instance.id_scope.clone(), ca.name.clone());
        let fetch = self.fetches.lock().get(&key).cloned();
        fetch.filter(|fetch| ca.revocation.fetched_from.as_ref() == Some(&fetch.from))
    }
}
