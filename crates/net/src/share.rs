//! Places by whom they are for, so that no single one can take them all.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many places each has. Who has none takes no memory.
#[derive(Debug)]
pub struct Shares<K: Eq + Hash> {
    taken: Mutex<HashMap<K, usize>>,
}

/// One place; given back when it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    of: K,
}

impl<K: Eq + Hash> Default for Shares<K> {
    fn default() -> Shares<K> {
        Shares { taken: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// One more place for this one, unless it has `at_most` already.
    pub fn take(self: &Arc<Self>, of: K, at_most: usize) -> Option<Share<K>> {
        let mut taken = self.lock();
        let count = taken.entry(of.clone()).or_default();
        if *count >= at_most {
            return None;
        }
        *count += 1;
        Some(Share { shares: Arc::clone(self), of })
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
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

/// Whom an address belongs to: an IPv6 address counts as its network of 64 bits, which is what one subscriber gets.
pub fn network(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(addr) => IpAddr::V4(addr),
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_a_share_of_its_own_and_gets_it_back() {
        let shares = Arc::new(Shares::default());
        let take = |addr: &str| shares.take(network(addr.parse().unwrap()), 2);
        let check = |same: [&str; 3], other: &str| {
            let first = take(same[0]).unwrap();
            let second = take(same[1]).unwrap();
            assert!(take(same[2]).is_none(), "{same:?}");
            assert!(take(other).is_some(), "{other}");
            drop(first);
            drop((take(same[2]).unwrap(), second));
        };
        check(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], "192.0.2.2");
        check(["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::"], "2001:db8:1:3::1");
        assert!(shares.lock().is_empty(), "addresses that left are forgotten");
    }
}
