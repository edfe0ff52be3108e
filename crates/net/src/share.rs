//! Places by address, so that no single one can take them all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections each address has. An IPv6 address counts as its network of 64 bits, which is what one
/// subscriber gets.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of an address; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    network: IpAddr,
}

impl Shares {
    /// A share for one more connection from `addr`, unless it has `at_most` already.
    pub(crate) fn take(self: &Arc<Shares>, addr: IpAddr, at_most: usize) -> Option<Share> {
        let network = network(addr);
        let mut open = self.open();
        let count = open.entry(network).or_default();
        if *count >= at_most {
            return None;
        }
        *count += 1;
        Some(Share { shares: Arc::clone(self), network })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.shares.open().entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn network(addr: IpAddr) -> IpAddr {
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
        let take = |addr: &str| shares.take(addr.parse().unwrap(), 2);
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
        assert!(shares.open().is_empty(), "addresses that left are forgotten");
    }
}
