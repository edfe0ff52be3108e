//! Storage root keys that devices sent with their request for a challenge.
//!
//! A challenge is for both keys of a TPM. Most clients send both again with the proof. For one that does not, and whose storage
//! root key neither its enrollment nor its registration has yet, the service remembers the key. Only such first registrations
//! depend on it: after a restart, or after others sent keys in between, the device asks for another challenge.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{IdScope, RegistrationId, StorageRootKey, Timestamp};

use super::{RegistrationRef, challenges::PERIOD_SECS};

/// The most registrations of one instance for which keys are remembered.
const MAX_REGISTRATIONS: usize = 10_000;

/// The most keys of one registration, at most 300 bytes each. Anyone who knows the endorsement key may send one, so the newest
/// stay.
const MAX_KEYS: usize = 4;

/// The longest time, in seconds, for which a challenge is open.
const KEPT_FOR_SECS: i64 = 2 * PERIOD_SECS;

/// The keys that were sent recently.
#[derive(Debug, Default)]
pub(crate) struct NamedKeys {
    named: Mutex<HashMap<IdScope, HashMap<RegistrationId, Vec<Named>>>>,
}

#[derive(Debug)]
struct Named {
    key: StorageRootKey,
    until: i64,
}

impl NamedKeys {
    /// Remembers a key, unless the instance has too many registrations with keys.
    pub(crate) fn remember(&self, registration: RegistrationRef<'_>, key: &StorageRootKey, now: Timestamp) {
        let now = now.unix_seconds();
        let mut named = self.lock();
        let named = named.entry(registration.scope.clone()).or_default();
        if named.len() >= MAX_REGISTRATIONS && !named.contains_key(registration.registration_id) {
            named.retain(|_, keys| keys.iter().any(|named| named.until >= now));
            if named.len() >= MAX_REGISTRATIONS {
                return;
            }
        }
        let keys = named.entry(registration.registration_id.clone()).or_default();
        keys.retain(|named| named.until >= now && named.key != *key);
        keys.drain(..(keys.len() + 1).saturating_sub(MAX_KEYS));
        keys.push(Named { key: key.clone(), until: now.saturating_add(KEPT_FOR_SECS) });
    }

    /// Returns the keys that were sent for a registration, the last one first.
    pub(crate) fn of(&self, registration: RegistrationRef<'_>) -> Vec<StorageRootKey> {
        let named = self.lock();
        let keys = named.get(registration.scope).and_then(|named| named.get(registration.registration_id));
        keys.into_iter().flatten().rev().map(|named| named.key.clone()).collect()
    }

    /// Forgets the keys of a registration that has its own.
    pub(crate) fn forget(&self, registration: RegistrationRef<'_>) {
        if let Some(named) = self.lock().get_mut(registration.scope) {
            named.remove(registration.registration_id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdScope, HashMap<RegistrationId, Vec<Named>>>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> StorageRootKey {
        let head =
            [0, 1, 0, 0x0B, 0, 3, 0, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0];
        StorageRootKey::from_bytes([&[0x01, 0x1A], &head[..], &[0xC1; 255], &[number * 2 + 1]].concat())
            .unwrap()
    }

    #[test]
    fn is_bounded_and_drops_expired_keys() {
        let (named, scope) = (NamedKeys::default(), IdScope::parse("one").unwrap());
        let remember = |id: &str, number: u8, at: i64| {
            let registration_id = RegistrationId::parse(id).unwrap();
            let registration = RegistrationRef { scope: &scope, registration_id: &registration_id };
            named.remember(registration, &key(number), Timestamp::from_unix_seconds(at));
            named.of(registration)
        };
        for number in 0..MAX_KEYS as u8 + 2 {
            remember("dev-0", number, 0);
        }
        assert_eq!(remember("dev-0", 4, 1), [key(4), key(5), key(3), key(2)], "the newest stay, each once");
        for number in 1..MAX_REGISTRATIONS {
            remember(&format!("dev-{number}"), 1, 0);
        }
        assert!(remember("one-more", 1, 2).is_empty());
        assert_eq!(remember("one-more", 1, KEPT_FOR_SECS + 2), [key(1)]);
        assert_eq!(named.lock()[&scope].len(), 1);
    }
}
