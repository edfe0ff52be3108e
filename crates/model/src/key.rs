//! Symmetric keys of devices, groups and policies.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::hmac_sha256::{self, MacKey, Message};

/// 16 to 64 secret bytes, written as base64. Never printed; compared in constant time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SymmetricKey {
    bytes: Box<[u8]>,
    /// The keyed state of HMAC-SHA256, computed when it is first needed and shared by clones, because a device's token is compared
    /// with the keys of every group.
    mac: Arc<OnceLock<MacKey>>,
}

/// Why a text is not a symmetric key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not base64.
    #[error("symmetric key is not valid base64")]
    NotBase64,
    /// The decoded key is too short or too long.
    #[error("symmetric key must be 16 to 64 bytes long, not {0}")]
    Length(usize),
}

impl SymmetricKey {
    /// The shortest key, in bytes (DPS concepts: symmetric key attestation).
    pub const MIN_BYTES: usize = 16;
    /// The longest key, in bytes; also the length of generated ones.
    pub const MAX_BYTES: usize = 64;

    /// Makes a key of its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            Self::MIN_BYTES..=Self::MAX_BYTES => {
                Ok(SymmetricKey { bytes: bytes.into(), mac: Arc::default() })
            }
            length => Err(KeyError::Length(length)),
        }
    }

    /// Parses base64.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::NotBase64)?;
        Self::from_bytes(&bytes)
    }

    /// Returns the secret bytes, for computing a MAC.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the secret in base64, for callers that may see it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// Derives the device key of a group key for a registration ID: HMAC-SHA256 of the ID in UTF-8 (DPS concepts: symmetric key
    /// attestation).
    pub fn derive(&self, registration_id: &str) -> SymmetricKey {
        let key = std::iter::once(self.mac_key());
        let bytes = hmac_sha256::macs(key, &Message::new(registration_id.as_bytes())).concat().into();
        SymmetricKey { bytes, mac: Arc::default() }
    }

    /// Returns the keyed state of HMAC-SHA256.
    pub(crate) fn mac_key(&self) -> &MacKey {
        self.mac.get_or_init(|| MacKey::new(&self.bytes))
    }
}

impl PartialEq for SymmetricKey {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.bytes, &other.bytes).is_ok()
    }
}

impl Eq for SymmetricKey {}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(secret)")
    }
}

impl TryFrom<String> for SymmetricKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::parse(&text)
    }
}

impl From<SymmetricKey> for String {
    fn from(key: SymmetricKey) -> String {
        key.to_base64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_the_published_device_key() {
        let group = SymmetricKey::parse(
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
        )
        .unwrap();
        let device = group.derive("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6");
        assert_eq!(device.to_base64(), "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=");
    }

    /// The keyed state of a group's key is computed once for all devices and clones.
    #[test]
    fn the_mac_of_a_key_is_made_once_and_shared() {
        let key = SymmetricKey::from_bytes(&[7; 64]).unwrap();
        let clone = key.clone();
        assert!(key.mac.get().is_none(), "a device's key needs none");
        clone.derive("dev-1");
        let made = std::ptr::from_ref(key.mac.get().unwrap());
        for number in 0..10 {
            key.clone().derive(&format!("dev-{number}"));
        }
        assert_eq!(std::ptr::from_ref(clone.mac.get().unwrap()), made);
        assert!(key.derive("dev-1").mac.get().is_none());
    }

    #[test]
    fn lengths_at_and_past_the_limits() {
        for (length, fits) in [(15, false), (16, true), (64, true), (65, false)] {
            assert_eq!(SymmetricKey::from_bytes(&vec![7; length]).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn is_never_printed() {
        let key = SymmetricKey::from_bytes(&[b'a'; 32]).unwrap();
        assert!(!format!("{key:?}").contains("YWFh"));
    }
}
