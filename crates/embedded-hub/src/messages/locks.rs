//! The queued messages that devices hold, so that none is delivered twice at once.
//!
//! Only in memory: after a restart every message that was not settled is queued again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use model::{DeviceId, Timestamp};

use crate::connections::locked;

/// The held messages of one hub, by device and sequence. Never more than are queued.
#[derive(Default)]
pub struct Locks {
    devices: Mutex<HashMap<DeviceId, BTreeMap<i64, Holder>>>,
}

/// The holder of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A connection, by its number, until it ends.
    Connection(u64),
    /// A device that received it over HTTPS and has the token, until the lease expires.
    Lease {
        /// Names this lease.
        token: String,
        /// When the lease expires.
        until: Timestamp,
    },
}

impl Locks {
    /// Returns the held messages of a device, by sequence.
    pub fn held(&self, id: &DeviceId) -> Vec<i64> {
        self.filtered(id, |_| true)
    }

    /// Returns the messages that a connection holds, by sequence.
    pub fn of_connection(&self, id: &DeviceId, number: u64) -> Vec<i64> {
        self.filtered(id, |holder| *holder == Holder::Connection(number))
    }

    /// Returns the messages whose leases have expired, by sequence.
    pub fn expired_leases(&self, id: &DeviceId, now: Timestamp) -> Vec<i64> {
        self.filtered(id, |holder| holder.is_expired(now))
    }

    /// Returns the message that was leased with this token.
    pub fn leased(&self, id: &DeviceId, wanted: &str, now: Timestamp) -> Option<i64> {
        let named = |holder: &Holder| match holder {
            Holder::Lease { token, .. } => token == wanted && !holder.is_expired(now),
            Holder::Connection(_) => false,
        };
        self.filtered(id, named).pop()
    }

    /// Records the holder of a message.
    pub fn hold(&self, id: &DeviceId, sequence: i64, holder: Holder) {
        locked(&self.devices).entry(id.clone()).or_default().insert(sequence, holder);
    }

    /// Removes the holder of a message, which is queued again or removed.
    pub fn release(&self, id: &DeviceId, sequence: i64) {
        let mut devices = locked(&self.devices);
        if let Some(held) = devices.get_mut(id) {
            held.remove(&sequence);
            if held.is_empty() {
                devices.remove(id);
            }
        }
    }

    /// Returns the devices with an expired lease.
    pub fn overdue(&self, now: Timestamp) -> Vec<DeviceId> {
        let devices = locked(&self.devices);
        let overdue = devices.iter().filter(|(_, held)| held.values().any(|holder| holder.is_expired(now)));
        overdue.map(|(id, _)| id.clone()).collect()
    }

    fn filtered(&self, id: &DeviceId, wanted: impl Fn(&Holder) -> bool) -> Vec<i64> {
        let devices = locked(&self.devices);
        let held = devices.get(id).into_iter().flatten();
        held.filter(|(_, holder)| wanted(holder)).map(|(sequence, _)| *sequence).collect()
    }
}

impl Holder {
    fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self, Holder::Lease { until, .. } if *until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_found_by_its_token_until_it_expires() {
        let (locks, id) = (Locks::default(), DeviceId::parse("d").unwrap());
        let at = Timestamp::from_unix_seconds;
        locks.hold(&id, 1, Holder::Connection(7));
        locks.hold(&id, 2, Holder::Lease { token: "t".into(), until: at(60) });
        assert_eq!((locks.held(&id), locks.of_connection(&id, 7)), (vec![1, 2], vec![1]));
        for (token, now, expected) in [("t", 59, Some(2)), ("t", 60, None), ("u", 0, None)] {
            assert_eq!(locks.leased(&id, token, at(now)), expected, "{token} at {now}");
        }
        assert_eq!((locks.overdue(at(59)), locks.overdue(at(60))), (vec![], vec![id.clone()]));
        assert_eq!(locks.expired_leases(&id, at(60)), [2]);
        locks.release(&id, 1);
        locks.release(&id, 2);
        assert!(locked(&locks.devices).is_empty(), "devices without held messages take no memory");
    }
}
