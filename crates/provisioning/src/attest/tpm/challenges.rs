//! The keys inside of challenges. They are derived, not stored, so that neither a restart nor another request invalidates an open
//! challenge.
//!
//! A challenge belongs to a registration, and is used once: the registration's record has the one that was used last, and the
//! key of the next one differs by its number. Within a quarter of an hour every request gets the same key, newly encrypted each
//! time; it is accepted in the next quarter as well.

use aws_lc_rs::hkdf;
use model::{
    Challenge, IdScope, Instance, RegistrationId, SymmetricKey, Timestamp, TpmHandover, TpmIdentity,
};

use super::CryptoFailure;

/// How long all challenges of a registration have the same key, in seconds. A device needs seconds for the proof.
pub(crate) const PERIOD_SECS: i64 = 15 * 60;

/// The registration that a challenge belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegistrationRef<'a> {
    pub(crate) scope: &'a IdScope,
    pub(crate) registration_id: &'a RegistrationId,
}

/// The challenges of one registration.
#[derive(Debug, Clone, Copy)]
pub struct Challenges<'a> {
    instance: &'a Instance,
    registration_id: &'a RegistrationId,
    /// The challenge that was used last, as the registration has it.
    last: Option<&'a TpmHandover>,
    now: Timestamp,
}

impl<'a> Challenges<'a> {
    /// Creates the challenges of a registration whose record has this about a TPM.
    pub fn of(
        instance: &'a Instance,
        registration_id: &'a RegistrationId,
        last: Option<&'a TpmHandover>,
        now: Timestamp,
    ) -> Self {
        Challenges { instance, registration_id, last, now }
    }

    /// Returns the one that is issued now.
    pub fn next(&self) -> Challenge {
        let used = self.last.and_then(|last| last.challenge);
        let number = used.map_or(0, |used| used.number.wrapping_add(1));
        Challenge { number, period: self.now.unix_seconds().div_euclid(PERIOD_SECS) }
    }

    /// Returns those that may be open: of this period, and of the one before.
    pub(super) fn open(&self) -> [Challenge; 2] {
        let next = self.next();
        [next, Challenge { period: next.period - 1, ..next }]
    }

    /// Returns what the registration has about the device's TPM.
    pub(super) fn handed(&self) -> Option<&'a TpmHandover> {
        self.last
    }

    /// Returns the same with the challenge that was used last.
    pub(super) fn used(&self) -> Option<(&'a TpmHandover, Challenge)> {
        self.last.and_then(|last| Some((last, last.challenge?)))
    }

    /// Derives the key inside of a challenge to this TPM: HKDF-SHA256 from the instance's key. Lengths separate the parts, and the
    /// salt separates it from all other uses of that key.
    pub(crate) fn key(
        &self,
        identity: &TpmIdentity,
        challenge: Challenge,
    ) -> Result<SymmetricKey, CryptoFailure> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"muster TPM challenge")
            .extract(self.instance.operation_key.as_bytes());
        let (scope, id) = (self.instance.id_scope.key(), self.registration_id.key());
        let (number, period) = (challenge.number.to_be_bytes(), challenge.period.to_be_bytes());
        let parts: [&[u8]; 6] = [
            scope.as_bytes(),
            id.as_bytes(),
            identity.endorsement_key.as_bytes(),
            identity.storage_root_key.as_bytes(),
            &number,
            &period,
        ];
        let lengths = parts.map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        let info: Vec<&[u8]> =
            lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]).collect();
        let mut key = [0; 32];
        secret.expand(&info, hkdf::HKDF_SHA256)?.fill(&mut key)?;
        SymmetricKey::from_bytes(&key).map_err(|_| CryptoFailure)
    }
}

#[cfg(test)]
#[path = "challenges_tests.rs"]
mod tests;
