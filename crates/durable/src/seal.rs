//! Sealing: AES-256-GCM with a random nonce, bound to the place a value belongs to.
//!
//! A sealed value is `version (1 byte) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. Random 96-bit nonces allow 2^32
//! values per key (NIST SP 800-38D §8.3) with a collision chance below 2^-32.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};

/// Seals and opens values with one key. Clones share the key, which is never printed.
#[derive(Clone)]
pub struct Sealer {
    key: Arc<LessSafeKey>,
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a sealed value: too short, or of a format this program does not know.
    #[error("not a sealed value of a known version")]
    Format,
    /// Sealed with another key or for another place, or changed since.
    #[error("the sealed value was made with another key or context, or was altered")]
    Mismatch,
}

impl Sealer {
    /// Creates a sealer with this key.
    #[expect(clippy::expect_used, reason = "a 32-byte array is the length AES-256 takes")]
    pub fn from_key(key: [u8; KEY_LEN]) -> Sealer {
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("AES-256 takes 32 bytes");
        Sealer { key: Arc::new(LessSafeKey::new(key)) }
    }

    /// Seals `plain` for the place named by `context` (table and key, say), which must be given again to open
    /// it.
    #[expect(
        clippy::expect_used,
        reason = "without randomness, or for values over 64 GiB, nothing can be sealed"
    )]
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the operating system gives randomness");
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (_, body) = sealed.split_at_mut(HEADER);
        let tag =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(context), body).expect("values are short");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Returns the value that was sealed for `context`.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (Some((&VERSION, rest)), true) = (sealed.split_first(), sealed.len() >= OVERHEAD) else {
            return Err(SealError::Format);
        };
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Format)?;
        let mut plain = body.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(context), &mut plain)
            .map_err(|_| SealError::Mismatch)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer(key hidden)")
    }
}

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// First byte of every sealed value: AES-256-GCM as described above.
const VERSION: u8 = 1;

const HEADER: usize = 1 + NONCE_LEN;
const OVERHEAD: usize = HEADER + 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::from_key([7; 32])
    }

    #[test]
    fn a_sealed_value_is_opened() {
        for length in [0, 1, 15, 16, 17, 1000, 100_000] {
            let plain: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let sealed = sealer().seal(b"place", &plain);
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            assert_eq!(sealer().open(b"place", &sealed), Ok(plain));
        }
    }

    #[test]
    fn equal_values_are_sealed_differently() {
        assert_ne!(sealer().seal(b"place", b"value"), sealer().seal(b"place", b"value"));
    }

    #[test]
    fn every_altered_bit_is_detected() {
        let sealed = sealer().seal(b"place", b"value");
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 8 { SealError::Format } else { SealError::Mismatch };
            assert_eq!(sealer().open(b"place", &altered), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_detected() {
        let sealed = sealer().seal(b"place", b"value");
        for length in 0..sealed.len() {
            let expected = if length < OVERHEAD { SealError::Format } else { SealError::Mismatch };
            assert_eq!(sealer().open(b"place", &sealed[..length]), Err(expected), "length {length}");
        }
    }

    #[test]
    fn another_context_or_key_does_not_open_a_value() {
        let sealed = sealer().seal(b"place", b"value");
        assert_eq!(sealer().open(b"elsewhere", &sealed), Err(SealError::Mismatch));
        assert_eq!(Sealer::from_key([8; 32]).open(b"place", &sealed), Err(SealError::Mismatch));
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert_eq!(format!("{:?}", sealer()), "Sealer(key hidden)");
    }
}
