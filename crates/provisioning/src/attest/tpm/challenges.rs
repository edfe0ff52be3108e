//! The challenges that are open: in memory, because each is worth a quarter of an hour at most. After a restart a proof
//! finds none and is refused; the device asks anew.
//!
//! There are at most two of one registration: one that waits for its proof, and the one that was proved last, which goes
//! on to prove who polls. Who asks again with the same keys gets the same challenge, encrypted anew, so that nobody who
//! knows a device's public keys can take its challenge away from under it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{IdScope, OperationId, RegistrationId, SymmetricKey, SymmetricKeyPair, Timestamp, TpmIdentity};

use crate::{Error, ports::Entropy};

/// How long a challenge is open after it was issued or its key last proved something, in seconds. A device takes seconds
/// for the proof, and polls more often than this.
pub(crate) const OPEN_FOR_SECS: i64 = 15 * 60;

/// Registrations that challenges are remembered for, of one service instance: about 1 KiB each. Whoever knows the public
/// keys of so many TPMs can fill them, and then devices are asked to come back.
pub(crate) const MAX_OPEN: usize = 20_000;

/// A challenge that was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The TPM that can open it.
    pub identity: TpmIdentity,
    /// What is inside: the key that the device signs with.
    pub key: SymmetricKey,
    /// What the device's hub will know it by, unless it has such keys already.
    pub hub_keys: SymmetricKeyPair,
    /// When it is over.
    pub expires: Timestamp,
    /// The operation that it was used for; it registers nothing else.
    pub used_for: Option<OperationId>,
}

impl Issued {
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        now <= self.expires
    }
}

/// The registration that a challenge belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) scope: &'a IdScope,
    pub(crate) registration_id: &'a RegistrationId,
}

/// All challenges that are open.
#[derive(Default)]
pub(crate) struct Challenges {
    open: Mutex<HashMap<IdScope, HashMap<RegistrationId, Slots>>>,
}

#[derive(Default)]
struct Slots {
    waiting: Option<Issued>,
    used: Option<Issued>,
}

impl Challenges {
    /// The challenges that a device may have a proof for.
    pub(crate) fn of(&self, place: Place<'_>) -> Vec<Issued> {
        let open = self.lock();
        let slots = open.get(place.scope).and_then(|open| open.get(place.registration_id));
        slots.into_iter().flat_map(|slots| slots.waiting.iter().chain(&slots.used)).cloned().collect()
    }

    /// Issues a challenge to this TPM, or once more the one that waits. `hub_keys` are those that the device has already.
    pub(crate) fn issue(
        &self,
        place: Place<'_>,
        identity: TpmIdentity,
        hub_keys: Option<SymmetricKeyPair>,
        (entropy, now): (&dyn Entropy, Timestamp),
    ) -> Result<SymmetricKey, Error> {
        let mut open = self.lock();
        let open = open.entry(place.scope.clone()).or_default();
        if open.len() >= MAX_OPEN && !open.contains_key(place.registration_id) {
            open.retain(|_, slots| slots.iter().any(|issued| issued.is_open(now)));
            if open.len() >= MAX_OPEN {
                return Err(Error::Busy);
            }
        }
        let slots = open.entry(place.registration_id.clone()).or_default();
        let expires = open_until(now);
        if let Some(same) = slots.waiting.as_mut().filter(|it| it.identity == identity && it.is_open(now)) {
            same.expires = expires;
            return Ok(same.key.clone());
        }
        let key = fresh_key(entropy)?;
        let hub_keys = hub_keys.map_or_else(|| fresh_pair(entropy), Ok)?;
        slots.waiting = Some(Issued { identity, key: key.clone(), hub_keys, expires, used_for: None });
        Ok(key)
    }

    /// The device proved once more that it holds this key, so the challenge stays open; with an operation, it is used up
    /// by that.
    pub(crate) fn proved(
        &self,
        place: Place<'_>,
        key: &SymmetricKey,
        used_for: Option<&OperationId>,
        now: Timestamp,
    ) {
        let mut open = self.lock();
        let slots = open.get_mut(place.scope).and_then(|open| open.get_mut(place.registration_id));
        let Some(slots) = slots else { return };
        if used_for.is_some() && slots.waiting.as_ref().is_some_and(|waiting| waiting.key == *key) {
            slots.used = slots.waiting.take();
        }
        for issued in slots.iter_mut().filter(|issued| issued.key == *key) {
            issued.expires = open_until(now);
            issued.used_for = used_for.cloned().or(issued.used_for.take());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdScope, HashMap<RegistrationId, Slots>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn iter(&self) -> impl Iterator<Item = &Issued> {
        self.waiting.iter().chain(&self.used)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Issued> {
        self.waiting.iter_mut().chain(&mut self.used)
    }
}

fn open_until(now: Timestamp) -> Timestamp {
    Timestamp::from_unix_seconds(now.unix_seconds().saturating_add(OPEN_FOR_SECS))
}

fn fresh_pair(entropy: &dyn Entropy) -> Result<SymmetricKeyPair, Error> {
    Ok(SymmetricKeyPair { primary: fresh_key(entropy)?, secondary: fresh_key(entropy)? })
}

/// As long as SHA-256's output; a TPM takes none longer than 64 bytes.
fn fresh_key(entropy: &dyn Entropy) -> Result<SymmetricKey, Error> {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    SymmetricKey::from_bytes(&bytes).map_err(|error| Error::Broken(error.to_string()))
}

#[cfg(test)]
#[path = "challenges_tests.rs"]
mod tests;
