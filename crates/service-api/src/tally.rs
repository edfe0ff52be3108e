//! Counts refused calls of operators since the start.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::IdScope;

/// The counts by instance. Only instances that exist have one.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Calls from addresses that the instance does not admit.
    refused_addresses: Mutex<BTreeMap<IdScope, u64>>,
}

impl Tally {
    /// Counts a call from an address that the instance does not admit.
    pub(crate) fn count_refused_address(&self, scope: &IdScope) {
        *self.refused_addresses().entry(scope.clone()).or_default() += 1;
    }

    /// Returns how many calls came from addresses that the instance does not admit.
    pub(crate) fn refused_addresses_of(&self, scope: &IdScope) -> u64 {
        self.refused_addresses().get(scope).copied().unwrap_or_default()
    }

    fn refused_addresses(&self) -> MutexGuard<'_, BTreeMap<IdScope, u64>> {
        self.refused_addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
