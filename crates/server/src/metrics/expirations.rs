//! How many certificates expire soon, as of the last daily look.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use model::IdScope;
use provisioning::trust::{Expiring, Holder};

/// Who holds certificates that expire.
pub(super) const KINDS: [&str; 3] = ["ca", "group", "individual"];

/// By instance and kind.
pub(crate) type Counts = HashMap<IdScope, [usize; KINDS.len()]>;

/// The last counts.
#[derive(Debug, Default)]
pub(crate) struct Expirations(Mutex<Counts>);

impl Expirations {
    /// Shows these from now on, in place of all before: an instance that is gone is gone here too.
    pub(crate) fn set(&self, counts: Counts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Of an instance, by [`KINDS`]; nothing before the first look.
    pub(crate) fn of(&self, scope: &IdScope) -> Option<[usize; KINDS.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(scope).copied()
    }
}

/// Counts what was found of an instance.
pub(crate) fn count(expiring: &Expiring) -> [usize; KINDS.len()] {
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
