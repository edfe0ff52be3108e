//! Storage root keys that devices named with their request for a challenge.
//!
//! A challenge is to both keys of a TPM. Most clients name both again with the proof; one that does not, and whose storage
//! root key neither its enrollment nor its registration knows yet, needs the service to know what it named. This is a
//! help for those first registrations and nothing else depends on it: after a restart, or when others name keys in
//! between, such a device asks for another challenge.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{IdScope, RegistrationId, StorageRootKey, Timestamp};

use super::{HubDeviceRef, challenges::PERIOD_SECS};

/// Registrations that keys are remembered for, of one instance.
const MAX_REGISTRATIONS: usize = 10_000;

/// Keys of one registration, at most 300 bytes each. Anyone who knows the endorsement key may name one, so the newest stay.
const MAX_KEYS: usize = 4;

/// As long as a challenge is open at most.
const KEPT_FOR_SECS: i64 = 2 * PERIOD_SECS;

/// The keys that were named lately.
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
    /// Remembers a key. Where there is no room, it is not remembered.
    pub(crate) fn remember(&self, place: HubDeviceRef<'_>, key: &StorageRootKey, now: Timestamp) {
        let now = now.unix_seconds();
        let mut named = self.lock();
        let named = named.entry(place.scope.clone()).or_default();
        if named.len() >= MAX_REGISTRATIONS && !named.contains_key(place.registration_id) {
            named.retain(|_, keys| keys.iter().any(|named| named.until >= now));
            if named.len() >= MAX_REGISTRATIONS {
                return;
            }
        }
        let keys = named.entry(place.registration_id.clone()).or_default();
        keys.retain(|named| named.until >= now && named.key != *key);
        keys.drain(..(keys.len() + 1).saturating_sub(MAX_KEYS));
        keys.push(Named { key: key.clone(), until: now.saturating_add(KEPT_FOR_SECS) });
    }

    /// The keys that were named for a registration, the last one first.
    pub(crate) fn of(&self, place: HubDeviceRef<'_>) -> Vec<StorageRootKey> {
        let named = self.lock();
        let keys = named.get(place.scope).and_then(|named| named.get(place.registration_id));
        keys.into_iter().flatten().rev().map(|named| named.key.clone()).collect()
    }

    /// Forgets the keys of a registration that knows its own.
    pub(crate) fn forget(&self, place: HubDeviceRef<'_>) {
        if let Some(named) = self.lock().get_mut(place.scope) {
            named.remove(place.registration_id);
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
    fn is_bounded_and_makes_room_when_keys_run_out() {
        let (named, scope) = (NamedKeys::default(), IdScope::parse("one").unwrap());
        let remember = |id: &str, number: u8, at: i64| {
            let registration_id = RegistrationId::parse(id).unwrap();
            let place = HubDeviceRef { scope: &scope, registration_id: &registration_id };
            named.remember(place, &key(number), Timestamp::from_unix_seconds(at));
            named.of(place)
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
