//! The numbers of certificates that expire soon, as of the last daily check.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use model::IdScope;
use provisioning::trust::{ExpiringCertificates, Holder};

/// The kinds of expiring certificates.
pub(super) const KINDS: [&str; 3] = ["ca", "group", "individual"];

/// The counts by instance and kind.
pub(crate) type Counts = HashMap<IdScope, [usize; KINDS.len()]>;

/// The last counts.
#[derive(Debug, Default)]
pub(crate) struct Expirations(Mutex<Counts>);

impl Expirations {
    /// Replaces all counts, so that removed instances disappear.
    pub(crate) fn set(&self, counts: Counts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Returns the counts of an instance by [`KINDS`]; `None` before the first check.
    pub(crate) fn of(&self, scope: &IdScope) -> Option<[usize; KINDS.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(scope).copied()
    }
}

/// Counts the expiring certificates of an instance by kind.
pub(crate) fn count(expiring: &ExpiringCertificates) -> [usize; KINDS.len()] {
    let mut counts = [0; KINDS.len()];
    let [ca, group, individual] = &mut counts;
    for it in &expiring.certificates {
        *match it.holder {
            Holder::Ca(_) => &mut *ca,
            Holder::Group(_) => &mut *group,
            Holder::Individual(_) => &mut *individual,
        } += 1;
    }
    counts
}
