//! The TPM 2.0 of a device: its public keys, the import of keys for it, and signatures.
//!
//! Commands go to a kernel device or to the emulator swtpm directly, without a TPM software stack. The persistent
//! handles of keys are those of the SDKs, so that both use the same keys.

mod address;
mod codec;
mod connection;

use std::{fmt, io, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{EndorsementKey, RegistrationId, StorageRootKey, TpmIdentity, TpmKeyError};
use tokio::sync::Mutex;

pub use address::TpmAddress;
use connection::{ENDORSEMENT, OWNER, TpmConnection};

/// The handle that SDKs use for the imported key.
const IDENTITY_HANDLE: u32 = 0x8100_0100;

/// A TPM with a persistent endorsement key and storage root key.
pub struct Tpm {
    connection: Mutex<TpmConnection>,
    kind: TpmKeyKind,
    identity: TpmIdentity,
}

/// The algorithm of the endorsement key and the storage root key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TpmKeyKind {
    /// RSA-2048.
    #[default]
    Rsa,
    /// ECC P-256.
    Ecc,
}

/// The reasons why a TPM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The TPM cannot be reached.
    #[error("the TPM cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// The TPM did not respond in time.
    #[error("the TPM does not respond")]
    Timeout,
    /// The response is malformed.
    #[error("the TPM's response is malformed")]
    Malformed,
    /// The command failed.
    #[error("the TPM refused command 0x{command:x} with TPM_RC 0x{code:x}")]
    Refused {
        /// The command code (TPM_CC).
        command: u32,
        /// The response code (TPM_RC), which `tpm2_rc_decode` explains.
        code: u32,
    },
    /// A persistent key of the TPM has the wrong type.
    #[error("the TPM's {key} {problem}")]
    Key {
        /// The name of the key.
        key: &'static str,
        /// The problem of the key.
        problem: TpmKeyError,
    },
    /// The service sent a malformed authentication key.
    #[error("the authentication key is malformed")]
    Blob,
}

impl Tpm {
    /// Opens a TPM, and creates the two keys if it does not have them.
    pub async fn open(address: &TpmAddress, kind: TpmKeyKind) -> Result<Tpm, TpmError> {
        let mut connection = TpmConnection::open(address).await?;
        let (template, handle) = (kind.endorsement_template(), kind.endorsement_handle());
        let endorsement = read_or_create(&mut connection, ENDORSEMENT, &template, handle).await?;
        let (template, handle) = (kind.storage_template(), kind.storage_handle());
        let storage = read_or_create(&mut connection, OWNER, &template, handle).await?;
        let problem = |key| move |problem| TpmError::Key { key, problem };
        let identity = TpmIdentity {
            endorsement_key: EndorsementKey::from_bytes(endorsement).map_err(problem("endorsement key"))?,
            storage_root_key: StorageRootKey::from_bytes(storage).map_err(problem("storage root key"))?,
        };
        Ok(Tpm { connection: Mutex::new(connection), kind, identity })
    }

    /// Returns the public keys of the TPM.
    pub fn identity(&self) -> &TpmIdentity {
        &self.identity
    }

    /// Returns the registration ID that SDKs derive from a TPM: the SHA-256 of the endorsement key in base32.
    pub fn default_registration_id(&self) -> Option<RegistrationId> {
        RegistrationId::parse(base32(digest(&SHA256, self.identity.endorsement_key.as_bytes()).as_ref())).ok()
    }

    /// Imports the key in an `authenticationKey` of the service, and replaces the key imported before.
    pub async fn import(&self, authentication_key: &str) -> Result<(), TpmError> {
        self.import_blob(&STANDARD.decode(authentication_key).map_err(|_| TpmError::Blob)?).await
    }

    /// Imports a key from the bytes of an `authenticationKey`.
    pub(crate) async fn import_blob(&self, blob: &[u8]) -> Result<(), TpmError> {
        let fields = fields(blob).ok_or(TpmError::Blob)?;
        let [id_object, secret, duplicate, seed, area] = fields[..] else { return Err(TpmError::Blob) };
        let (endorsement, storage) = (self.kind.endorsement_handle(), self.kind.storage_handle());
        let mut connection = self.connection.lock().await;
        let inner_key = connection.activate((storage, endorsement), id_object, secret).await?;
        let transient = connection.import(storage, &inner_key, [area, duplicate, seed]).await?;
        let persisted = connection.persist(transient, IDENTITY_HANDLE).await;
        connection.flush(transient).await?;
        persisted
    }

    /// Computes the HMAC-SHA256 of a message by the key imported last.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        self.connection.lock().await.hmac(IDENTITY_HANDLE, message).await
    }
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Returns the TPM2B_PUBLIC of the key under a handle, and creates the key if there is none.
async fn read_or_create(
    connection: &mut TpmConnection,
    hierarchy: u32,
    template: &[u8],
    handle: u32,
) -> Result<Vec<u8>, TpmError> {
    if let Some(public) = connection.read_public(handle).await? {
        return Ok(public);
    }
    connection.create_primary(hierarchy, template, handle).await?;
    connection.read_public(handle).await?.ok_or(TpmError::Malformed)
}

/// Splits an authentication key into its first five fields, which are those that the import needs.
fn fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while fields.len() < 5 {
        let (size, rest) = blob.split_first_chunk()?;
        let (field, rest) = rest.split_at_checked(u16::from_be_bytes(*size).into())?;
        fields.push(field);
        blob = rest;
    }
    Some(fields)
}

/// Encodes bytes in base32 (RFC 4648) without padding, in lower case.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let digit = |at: usize| (at..at + 5).fold(0, |digit, at| digit << 1 | usize::from(bit(at)));
    (0..bytes.len() * 8).step_by(5).filter_map(|at| ALPHABET.get(digit(at))).map(|c| char::from(*c)).collect()
}

impl TpmKeyKind {
    fn endorsement_handle(self) -> u32 {
        match self {
            TpmKeyKind::Rsa => 0x8101_0001,
            TpmKeyKind::Ecc => 0x8101_0002,
        }
    }

    fn storage_handle(self) -> u32 {
        match self {
            TpmKeyKind::Rsa => 0x8100_0001,
            TpmKeyKind::Ecc => 0x8100_0002,
        }
    }

    /// Returns the template of endorsement keys (TCG EK Credential Profile, L-1 and L-2), whose policy requires the
    /// authorization of the endorsement hierarchy.
    fn endorsement_template(self) -> Vec<u8> {
        let policy = [
            0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24,
            0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
        ];
        self.template([0x00, 0x03, 0x00, 0xB2], &[&[0x00, 0x20], &policy[..]].concat())
    }

    /// Returns the template of storage root keys that the SDKs use.
    fn storage_template(self) -> Vec<u8> {
        self.template([0x00, 0x03, 0x04, 0x72], &[0x00, 0x00])
    }

    /// Returns a TPMT_PUBLIC whose unique field is all zeros, as in the profile: the field decides which key is
    /// created.
    fn template(self, attributes: [u8; 4], policy: &[u8]) -> Vec<u8> {
        let aes_128_cfb_no_scheme = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10];
        let (kind, parameters, unique): ([u8; 2], &[u8], Vec<u8>) = match self {
            // 2048 bits, the default exponent.
            TpmKeyKind::Rsa => ([0x00, 0x01], &[0x08, 0x00, 0, 0, 0, 0], zeros(256)),
            // P-256, no key derivation.
            TpmKeyKind::Ecc => ([0x00, 0x23], &[0x00, 0x03, 0x00, 0x10], [zeros(32), zeros(32)].concat()),
        };
        [&kind, &[0x00, 0x0B][..], &attributes, policy, &aes_128_cfb_no_scheme, parameters, &unique].concat()
    }
}

/// Returns a `TPM2B` of `length` zeros.
fn zeros(length: u16) -> Vec<u8> {
    [&length.to_be_bytes()[..], &vec![0; length.into()]].concat()
}

impl FromStr for TpmKeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<TpmKeyKind, String> {
        match text {
            "rsa" => Ok(TpmKeyKind::Rsa),
            "ecc" => Ok(TpmKeyKind::Ecc),
            _ => Err("must be rsa or ecc".to_owned()),
        }
    }
}

impl fmt::Display for TpmKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TpmKeyKind::Rsa => "rsa",
            TpmKeyKind::Ecc => "ecc",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_equals_that_of_the_sdks() {
        let id = base32(digest(&SHA256, b"abc").as_ref());
        assert_eq!(id, "xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq");
    }

    #[test]
    fn a_blob_is_split_into_five_fields() {
        let blob = [&[0, 1, 7][..], &[0, 0], &[0, 2, 8, 9], &[0, 0], &[0, 1, 6], &[0, 4]].concat();
        assert_eq!(fields(&blob).unwrap(), [&[7][..], &[], &[8, 9], &[], &[6]]);
        assert_eq!(fields(&blob[..13]), None);
    }
}
