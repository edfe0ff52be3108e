//! The credential that delivers a key to one TPM: the `authenticationKey` of the device API.
//!
//! It consists of the parameters of `TPM2_ActivateCredential` and `TPM2_Import`, and one more field. A key that only the holder of
//! the endorsement key can read, and only while it also holds the storage root key, encrypts the key that is delivered; around
//! that is a second layer that only the holder of the storage root key can remove. So both must be in one TPM, which then keeps
//! the key and only signs with it. (TPM 2.0 Library, part 1, 23 and 24; SDKs: `hsm_client_tpm.c`,
//! `security/tpm/src/tpm.ts`.)

use aws_lc_rs::{
    cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey},
    digest::{SHA256, digest},
    hmac,
    iv::FixedLength,
};
use model::{SymmetricKey, TpmIdentity};

use super::{
    CryptoFailure,
    kdf::kdfa,
    seed::{Seed, seed_for},
};
use crate::ports::Entropy;

/// Creates the credential for this TPM with a key for signing.
pub(super) fn make(
    identity: &TpmIdentity,
    key: &SymmetricKey,
    resource: &str,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, CryptoFailure> {
    let inner_key = random::<16>(entropy);
    let object = HmacKey::new(key, &random::<32>(entropy));

    let endorsed = seed_for(identity.endorsement_key.public_key(), "IDENTITY", entropy)?;
    let id_object = wrap(&endorsed, &identity.storage_root_key.name(), &sized(&inner_key))?;

    let stored = seed_for(identity.storage_root_key.public_key(), "DUPLICATE", entropy)?;
    let duplicate = wrap(&stored, &object.name, &object.encrypted(&inner_key)?)?;

    let resource = resource.as_bytes().get(..MAX_RESOURCE_BYTES).unwrap_or(resource.as_bytes());
    let fields = [
        id_object,
        endorsed.encrypted,
        duplicate,
        stored.encrypted,
        object.public_area,
        encrypt(&inner_key, resource.to_vec())?,
    ];
    Ok(fields.iter().flat_map(|field| sized(field)).collect())
}

/// The key to deliver, as an object of a TPM.
struct HmacKey {
    /// TPMT_PUBLIC.
    public_area: Vec<u8>,
    name: Vec<u8>,
    /// TPM2B_SENSITIVE.
    sensitive: Vec<u8>,
}

impl HmacKey {
    /// Creates the object; its public area holds a hash of the key, blinded by `blinding`.
    fn new(key: &SymmetricKey, blinding: &[u8]) -> Self {
        let unique = digest(&SHA256, &[blinding, key.as_bytes()].concat());
        let public_area = [HMAC_KEY_AREA, &sized(unique.as_ref())].concat();
        let name = [TPM_ALG_SHA256, digest(&SHA256, &public_area).as_ref()].concat();
        let no_auth = sized(&[]);
        let sensitive =
            sized(&[TPM_ALG_KEYEDHASH, &no_auth, &sized(blinding), &sized(key.as_bytes())].concat());
        HmacKey { public_area, name, sensitive }
    }

    /// Returns the inner layer of a duplicate: integrity, then both encrypted (part 1, 23.3.2.2).
    fn encrypted(&self, inner_key: &[u8; 16]) -> Result<Vec<u8>, CryptoFailure> {
        let integrity = digest(&SHA256, &[&self.sensitive[..], &self.name].concat());
        encrypt(inner_key, [sized(integrity.as_ref()), self.sensitive.clone()].concat())
    }
}

/// Returns the outer layer of a credential and of a duplicate: encrypted, and a MAC over that and the name of the object
/// concerned (part 1, 24.4 and 23.3.2.3).
fn wrap(seed: &Seed, name: &[u8], content: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
    let encrypted = encrypt(&kdfa(&seed.secret, "STORAGE", name), content.to_vec())?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &kdfa::<32>(&seed.secret, "INTEGRITY", &[]));
    let mac = hmac::sign(&key, &[&encrypted, name].concat());
    Ok([sized(mac.as_ref()), encrypted].concat())
}

/// Encrypts by AES-128-CFB with an initialization vector of zeros, as TPMs do: no key is used twice.
fn encrypt(key: &[u8; 16], mut content: Vec<u8>) -> Result<Vec<u8>, CryptoFailure> {
    let key = EncryptingKey::cfb128(UnboundCipherKey::new(&AES_128, key)?)?;
    key.less_safe_encrypt(&mut content, EncryptionContext::Iv128(FixedLength::from([0; 16])))?;
    Ok(content)
}

/// Encodes a `TPM2B`: the size in two bytes, then the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}

fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

const TPM_ALG_KEYEDHASH: &[u8] = &[0x00, 0x08];
const TPM_ALG_SHA256: &[u8] = &[0x00, 0x0B];

/// A keyed hash with a SHA-256 name; sign, noDA and userWithAuth; no policy; HMAC with SHA-256.
const HMAC_KEY_AREA: &[u8] =
    &[0x00, 0x08, 0x00, 0x0B, 0x00, 0x04, 0x04, 0x40, 0x00, 0x00, 0x00, 0x05, 0x00, 0x0B];

/// The longest resource, in bytes: the Java SDK decrypts it in the TPM, which accepts this much at once.
const MAX_RESOURCE_BYTES: usize = 1024;

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
