//! Counts refused calls of operators since the start.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::IdScope;

/// The counts by instance. Only instances that exist have them.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<IdScope, Counts>>);

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Calls from addresses that the instance does not admit.
    refused_addresses: u64,
    /// Calls beyond the operations per minute.
    throttled: u64,
}

impl Tally {
    /// Counts a call from an address that the instance does not admit.
    pub(crate) fn count_refused_address(&self, scope: &IdScope) {
        self.lock().entry(scope.clone()).or_default().refused_addresses += 1;
    }

    /// Counts a call beyond the operations per minute.
    pub(crate) fn count_throttled(&self, scope: &IdScope) {
        self.lock().entry(scope.clone()).or_default().throttled += 1;
    }

    /// Returns how many calls came from addresses that the instance does not admit.
    pub(crate) fn refused_addresses_of(&self, scope: &IdScope) -> u64 {
        self.lock().get(scope).map_or(0, |counts| counts.refused_addresses)
    }

    /// Returns how many calls were beyond the operations per minute.
    pub(crate) fn throttled_of(&self, scope: &IdScope) -> u64 {
        self.lock().get(scope).map_or(0, |counts| counts.throttled)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IdScope, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
