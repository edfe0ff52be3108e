//! Slots that are counted by whom they are for, so that none of them can take all.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts the slots that each key has. A key without one takes no memory.
#[derive(Debug)]
pub(crate) struct Shares<K: Eq + Hash> {
    taken: Mutex<HashMap<K, usize>>,
}

/// One slot, given back on drop.
#[derive(Debug)]
pub(crate) struct Share<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    key: K,
}

impl<K: Eq + Hash> Default for Shares<K> {
    fn default() -> Shares<K> {
        Shares { taken: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// Takes one more slot for this key, unless it has `at_most` already.
    pub(crate) fn take(self: &Arc<Self>, key: K, at_most: usize) -> Option<Share<K>> {
        let mut taken = self.lock();
        let count = taken.entry(key.clone()).or_default();
        if *count >= at_most {
            return None;
        }
        *count += 1;
        Some(Share { shares: Arc::clone(self), key })
    }
}

impl<K: Eq + Hash> Shares<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_share_of_its_own_and_gets_it_back() {
        let shares = Arc::new(Shares::default());
        let first = shares.take("one", 2).unwrap();
        let second = shares.take("one", 2).unwrap();
        assert!(shares.take("one", 2).is_none());
        assert!(shares.take("two", 2).is_some());
        drop(first);
        drop((shares.take("one", 2).unwrap(), second));
        assert!(shares.lock().is_empty(), "keys without slots are forgotten");
    }
}
