//! Which waiting messages are with their devices now, so that none is given out twice at once.
//!
//! In memory alone: after a restart every message that was not settled waits again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use model::{DeviceId, Timestamp};

use crate::connections::locked;

/// The messages of one hub that are out, by device and sequence. Never more than wait.
#[derive(Default)]
pub struct Locks {
    devices: Mutex<HashMap<DeviceId, BTreeMap<i64, Holder>>>,
}

/// Who has a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A connection, by its number, until it ends.
    Connection(u64),
    /// Whoever asked for it over HTTPS and knows the token, until its time is up.
    Lease {
        /// What names this lease.
        token: String,
        /// When the message goes back.
        until: Timestamp,
    },
}

impl Locks {
    /// The messages of a device that are out, by sequence.
    pub fn out(&self, id: &DeviceId) -> Vec<i64> {
        self.filtered(id, |_| true)
    }

    /// Those of them that a connection has.
    pub fn of_connection(&self, id: &DeviceId, number: u64) -> Vec<i64> {
        self.filtered(id, |holder| *holder == Holder::Connection(number))
    }

    /// Those of them whose leases have run out.
    pub fn lapsed(&self, id: &DeviceId, now: Timestamp) -> Vec<i64> {
        self.filtered(id, |holder| holder.has_lapsed(now))
    }

    /// The message that was leased with this token.
    pub fn leased(&self, id: &DeviceId, wanted: &str, now: Timestamp) -> Option<i64> {
        let named = |holder: &Holder| match holder {
            Holder::Lease { token, .. } => token == wanted && !holder.has_lapsed(now),
            Holder::Connection(_) => false,
        };
        self.filtered(id, named).pop()
    }

    /// Notes that a message is out.
    pub fn give(&self, id: &DeviceId, sequence: i64, holder: Holder) {
        locked(&self.devices).entry(id.clone()).or_default().insert(sequence, holder);
    }

    /// Notes that a message waits again, or is gone.
    pub fn release(&self, id: &DeviceId, sequence: i64) {
        let mut devices = locked(&self.devices);
        if let Some(held) = devices.get_mut(id) {
            held.remove(&sequence);
            if held.is_empty() {
                devices.remove(id);
            }
        }
    }

    /// The devices that let a lease run out.
    pub fn overdue(&self, now: Timestamp) -> Vec<DeviceId> {
        let devices = locked(&self.devices);
        let overdue = devices.iter().filter(|(_, held)| held.values().any(|holder| holder.has_lapsed(now)));
        overdue.map(|(id, _)| id.clone()).collect()
    }

    fn filtered(&self, id: &DeviceId, wanted: impl Fn(&Holder) -> bool) -> Vec<i64> {
        let devices = locked(&self.devices);
        let held = devices.get(id).into_iter().flatten();
        held.filter(|(_, holder)| wanted(holder)).map(|(sequence, _)| *sequence).collect()
    }
}

impl Holder {
    fn has_lapsed(&self, now: Timestamp) -> bool {
        matches!(self, Holder::Lease { until, .. } if *until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_known_by_its_token_and_ends_with_its_time() {
        let (locks, id) = (Locks::default(), DeviceId::parse("d").unwrap());
        let at = Timestamp::from_unix_seconds;
        locks.give(&id, 1, Holder::Connection(7));
        locks.give(&id, 2, Holder::Lease { token: "t".into(), until: at(60) });
        assert_eq!((locks.out(&id), locks.of_connection(&id, 7)), (vec![1, 2], vec![1]));
        for (token, now, expected) in [("t", 59, Some(2)), ("t", 60, None), ("u", 0, None)] {
            assert_eq!(locks.leased(&id, token, at(now)), expected, "{token} at {now}");
        }
        assert_eq!((locks.overdue(at(59)), locks.overdue(at(60))), (vec![], vec![id.clone()]));
        assert_eq!(locks.lapsed(&id, at(60)), [2]);
        locks.release(&id, 1);
        locks.release(&id, 2);
        assert!(locked(&locks.devices).is_empty(), "nothing is kept of devices that have nothing out");
    }
}
