//! The public keys of TPMs: TPM2B_PUBLIC (TPM 2.0 Library, part 2, 12.2.5).
//!
//! A credential for a TPM is encrypted to two of its keys: the endorsement key, which its manufacturer created, and the storage root
//! key, which changes when its owner clears the TPM. Both must be restricted decryption keys that cannot leave the TPM: a credential
//! for any other kind of key could be decrypted outside of it. Accepted are the kinds that devices have: RSA-2048 and ECC P-256,
//! with SHA-256 names and AES-128-CFB for child keys.

mod area;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use area::public_key;

/// The public part of a TPM's storage root or endorsement key, with its encoding.
#[derive(Clone)]
struct Public {
    bytes: Vec<u8>,
    key: TpmPublicKey,
}

/// The key in a public area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmPublicKey {
    /// RSA-2048 with the exponent 65537; the modulus, big-endian.
    Rsa(Box<[u8; 256]>),
    /// A point of P-256: `04 ‖ x ‖ y`.
    P256(Box<[u8; 65]>),
}

/// Why bytes are not a public key that a credential may be encrypted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TpmKeyError {
    /// The text is not base64.
    #[error("must be base64")]
    NotBase64,
    /// The size field is wrong, or the area has another length.
    #[error("must be one TPM2B_PUBLIC, whole and with nothing after it")]
    NotPublic,
    /// The key is neither RSA nor ECC.
    #[error("must be an RSA or ECC key, not one of TPM_ALG 0x{0:04x}")]
    Kind(u16),
    /// The name algorithm is not SHA-256.
    #[error("must have TPM_ALG_SHA256 (0x000b) as its name algorithm, not 0x{0:04x}")]
    NameAlgorithm(u16),
    /// The key may sign, may decrypt anything, or may leave its TPM.
    #[error(
        "must be a restricted decryption key that was made in its TPM and cannot leave it (attributes 0x{0:08x})"
    )]
    Attributes(u32),
    /// The key protects its children by another cipher.
    #[error("must protect its children by AES-128 in CFB mode")]
    Cipher,
    /// The key has a scheme, which a restricted decryption key must not have.
    #[error("must have no scheme of its own")]
    Scheme,
    /// The RSA key has another length.
    #[error("must have 2048 bits if it is an RSA key, not {0}")]
    RsaBits(u16),
    /// The RSA key has another exponent, or a modulus that is not valid.
    #[error("must have an odd modulus of 2048 bits and the exponent 65537 if it is an RSA key")]
    RsaKey,
    /// The ECC key is on another curve.
    #[error("must be on the curve P-256 (0x0003) if it is an ECC key, not on TPM_ECC_CURVE 0x{0:04x}")]
    Curve(u16),
    /// The point is not on the curve.
    #[error("must be a point of P-256 if it is an ECC key")]
    Point,
}

impl Public {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, TpmKeyError> {
        Ok(Public { key: public_key(&bytes)?, bytes })
    }

    fn parse(text: &str) -> Result<Self, TpmKeyError> {
        Self::from_bytes(STANDARD.decode(text.trim()).map_err(|_| TpmKeyError::NotBase64)?)
    }

    /// Computes `nameAlg ‖ H(TPMT_PUBLIC)` (TPM 2.0 Library, part 1, 16).
    fn name(&self) -> [u8; 34] {
        let area = self.bytes.get(2..).unwrap_or_default();
        let mut name = [0; 34];
        let (algorithm, hash) = name.split_at_mut(2);
        algorithm.copy_from_slice(&area::SHA256.to_be_bytes());
        hash.copy_from_slice(digest(&SHA256, area).as_ref());
        name
    }
}

/// Declares a type for one kind of key, so that the two kinds cannot be confused.
macro_rules! tpm_key {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Public);

        impl $name {
            /// Parses the bytes of a TPM2B_PUBLIC.
            pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, TpmKeyError> {
                Public::from_bytes(bytes).map($name)
            }

            /// Parses the base64 of a TPM2B_PUBLIC.
            pub fn parse(text: &str) -> Result<Self, TpmKeyError> {
                Public::parse(text).map($name)
            }

            /// Returns the bytes of the TPM2B_PUBLIC, including its size.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0.bytes
            }

            /// Returns the base64 of these bytes.
            pub fn to_base64(&self) -> String {
                STANDARD.encode(&self.0.bytes)
            }

            /// Returns the key.
            pub fn public_key(&self) -> &TpmPublicKey {
                &self.0.key
            }

            /// Returns the name of the key: the name algorithm and the hash of the public area.
            pub fn name(&self) -> [u8; 34] {
                self.0.name()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.bytes == other.0.bytes
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.bytes.len())
            }
        }

        impl TryFrom<String> for $name {
            type Error = TpmKeyError;
            fn try_from(text: String) -> Result<Self, TpmKeyError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> String {
                key.to_base64()
            }
        }
    };
}

tpm_key! {
    /// The endorsement key, which identifies a TPM.
    EndorsementKey
}

tpm_key! {
    /// The storage root key, which protects the keys of the owner. It changes when the TPM is cleared.
    StorageRootKey
}

/// A TPM and its owner, by two keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmIdentity {
    /// The endorsement key.
    pub endorsement_key: EndorsementKey,
    /// The storage root key.
    pub storage_root_key: StorageRootKey,
}

#[cfg(test)]
mod tests;
