//! A device's TPM 2.0: it knows who it is, opens what is made for it, and signs.
//!
//! It speaks the TPM's own commands to a kernel device or to the emulator swtpm, and so needs no TPM software stack. The
//! keys are kept under the handles that the SDKs use, so that the two find each other's.

mod address;
mod chip;
mod codec;

use std::{fmt, io, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{EndorsementKey, RegistrationId, StorageRootKey, TpmIdentity, TpmKeyError};
use tokio::sync::Mutex;

pub use address::TpmAddress;
use chip::{Chip, ENDORSEMENT, OWNER};

/// A TPM with an endorsement key and a storage root key, which it keeps.
pub struct Tpm {
    chip: Mutex<Chip>,
    kind: TpmKeyKind,
    identity: TpmIdentity,
}

/// Which of its keys a TPM goes by; the standard templates of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TpmKeyKind {
    /// RSA-2048.
    #[default]
    Rsa,
    /// ECC P-256.
    Ecc,
}

/// What can go wrong with a TPM.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It cannot be reached.
    #[error("the TPM cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// It did not answer.
    #[error("the TPM does not answer")]
    Silent,
    /// Its answer is none.
    #[error("the TPM's answer makes no sense")]
    Malformed,
    /// It does not do what it was told.
    #[error("the TPM refused command 0x{command:x} with TPM_RC 0x{code:x}")]
    Refused {
        /// TPM_CC.
        command: u32,
        /// TPM_RC: `tpm2_rc_decode` tells it in words.
        code: u32,
    },
    /// It keeps a key that cannot be used for this.
    #[error("the TPM's {key} {problem}")]
    Key {
        /// Which one.
        key: &'static str,
        /// What it would have to be.
        problem: TpmKeyError,
    },
    /// The service sent something else than a key for a TPM.
    #[error("the authentication key is none that a TPM could import")]
    Blob,
}

impl Tpm {
    /// Opens a TPM, and makes the two keys first if it does not keep them yet.
    pub async fn open(address: &TpmAddress, kind: TpmKeyKind) -> Result<Tpm, TpmError> {
        let mut chip = Chip::open(address).await?;
        let endorsement = kind.endorsement();
        let endorsement = public(&mut chip, ENDORSEMENT, &endorsement, kind.endorsement_handle()).await?;
        let storage = public(&mut chip, OWNER, &kind.storage(), kind.storage_handle()).await?;
        let problem = |key| move |problem| TpmError::Key { key, problem };
        let identity = TpmIdentity {
            endorsement_key: EndorsementKey::from_bytes(endorsement).map_err(problem("endorsement key"))?,
            storage_root_key: StorageRootKey::from_bytes(storage).map_err(problem("storage root key"))?,
        };
        Ok(Tpm { chip: Mutex::new(chip), kind, identity })
    }

    /// Its public keys.
    pub fn identity(&self) -> &TpmIdentity {
        &self.identity
    }

    /// The registration ID that SDKs give a device that has none but its TPM: the hash of the endorsement key, in base32.
    pub fn default_registration_id(&self) -> Option<RegistrationId> {
        RegistrationId::parse(base32(digest(&SHA256, self.identity.endorsement_key.as_bytes()).as_ref())).ok()
    }

    /// Takes over the key in an `authenticationKey` of the service, in place of the one before.
    pub async fn import(&self, authentication_key: &str) -> Result<(), TpmError> {
        self.import_blob(&STANDARD.decode(authentication_key).map_err(|_| TpmError::Blob)?).await
    }

    /// The same from its bytes.
    pub(crate) async fn import_blob(&self, blob: &[u8]) -> Result<(), TpmError> {
        let fields = fields(blob).ok_or(TpmError::Blob)?;
        let [id_object, secret, duplicate, seed, area] = fields[..] else { return Err(TpmError::Blob) };
        let (endorsement, storage) = (self.kind.endorsement_handle(), self.kind.storage_handle());
        let mut chip = self.chip.lock().await;
        let inner_key = chip.activate((storage, endorsement), id_object, secret).await?;
        let loaded = chip.import(storage, &inner_key, [area, duplicate, seed]).await?;
        let kept = chip.keep(loaded, IDENTITY_HANDLE).await;
        chip.flush(loaded).await?;
        kept
    }

    /// Signs with the key that was taken over last: HMAC-SHA256.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        self.chip.lock().await.hmac(IDENTITY_HANDLE, message).await
    }
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The public area of the key under a handle, which is made first if need be.
async fn public(chip: &mut Chip, hierarchy: u32, template: &[u8], handle: u32) -> Result<Vec<u8>, TpmError> {
    if let Some(kept) = chip.read_public(handle).await? {
        return Ok(kept);
    }
    chip.make_primary(hierarchy, template, handle).await?;
    chip.read_public(handle).await?.ok_or(TpmError::Malformed)
}

/// The first five fields of a blob; what follows them is for reading only.
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

/// RFC 4648 without padding, in lower case.
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

    /// The template of endorsement keys (TCG EK Credential Profile, L-1 and L-2): usable only by who knows the endorsement
    /// hierarchy's secret.
    fn endorsement(self) -> Vec<u8> {
        let policy = [
            0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24,
            0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
        ];
        self.template([0x00, 0x03, 0x00, 0xB2], &[&[0x00, 0x20], &policy[..]].concat())
    }

    /// The template of storage root keys that the SDKs use.
    fn storage(self) -> Vec<u8> {
        self.template([0x00, 0x03, 0x04, 0x72], &[0x00, 0x00])
    }

    /// A TPMT_PUBLIC whose unique part is all zeros, as the profile says: other zeros would make another key.
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

/// A `TPM2B` of zeros.
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

/// Where SDKs keep the key that a device signs with.
const IDENTITY_HANDLE: u32 = 0x8100_0100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registration_ids_are_those_of_the_sdks() {
        let id = base32(digest(&SHA256, b"abc").as_ref());
        assert_eq!(id, "xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq");
    }

    #[test]
    fn a_blob_has_five_fields_and_more() {
        let blob = [&[0, 1, 7][..], &[0, 0], &[0, 2, 8, 9], &[0, 0], &[0, 1, 6], &[0, 4]].concat();
        assert_eq!(fields(&blob).unwrap(), [&[7][..], &[], &[8, 9], &[], &[6]]);
        assert_eq!(fields(&blob[..13]), None);
    }
}
