//! Seeds that only one key of one TPM can recover (TPM 2.0 Library, part 1, annexes B.10.4 and C.6.1).

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicKeyComponents},
};
use model::TpmPublicKey;

use super::{CryptoFailure, kdf::kdfe};
use crate::ports::Entropy;

/// A secret seed, and its encrypted form for the TPM: a TPM2B_ENCRYPTED_SECRET without its size.
pub(super) struct Seed {
    pub(super) secret: [u8; 32],
    pub(super) encrypted: Vec<u8>,
}

/// Generates a seed for the holder of this key. The label names the purpose.
pub(super) fn seed_for(
    key: &TpmPublicKey,
    label: &str,
    entropy: &dyn Entropy,
) -> Result<Seed, CryptoFailure> {
    match key {
        TpmPublicKey::Rsa(modulus) => by_rsa(&modulus[..], label, entropy),
        TpmPublicKey::P256(point) => by_p256(&point[..], label, entropy),
    }
}

/// Encrypts by RSAES-OAEP; the label is encoded with its final zero. The padding's randomness is the library's own.
fn by_rsa(modulus: &[u8], label: &str, entropy: &dyn Entropy) -> Result<Seed, CryptoFailure> {
    let key = PublicKeyComponents { n: modulus, e: RSA_EXPONENT }.try_into()?;
    let key = OaepPublicEncryptingKey::new(key)?;
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    let mut encrypted = vec![0; key.ciphertext_size()];
    let label = [label.as_bytes(), &[0]].concat();
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &secret, &mut encrypted, Some(&label))?;
    Ok(Seed { secret, encrypted })
}

/// Agrees by one-pass ECDH with a key pair that is used once. The TPM gets its public half, a TPMS_ECC_POINT.
fn by_p256(point: &[u8], label: &str, entropy: &dyn Entropy) -> Result<Seed, CryptoFailure> {
    let ephemeral = ephemeral_key(entropy)?;
    let public = ephemeral.compute_public_key()?;
    let [x, y] = coordinates(public.as_ref())?;
    let [holder_x, _] = coordinates(point)?;
    let secret = agree(&ephemeral, UnparsedPublicKey::new(&ECDH_P256, point), Unspecified, |z| {
        Ok(kdfe(z, label, x, holder_x))
    })?;
    let size = P256_SIZE.to_be_bytes();
    Ok(Seed { secret, encrypted: [&size, x, &size, y].concat() })
}

/// Generates a private key. Of all numbers of this length, fewer than one in four billion are not one.
fn ephemeral_key(entropy: &dyn Entropy) -> Result<PrivateKey, CryptoFailure> {
    let mut scalar = [0; P256_SIZE as usize];
    for _ in 0..4 {
        entropy.fill(&mut scalar);
        if let Ok(key) = PrivateKey::from_private_key(&ECDH_P256, &scalar) {
            return Ok(key);
        }
    }
    Err(CryptoFailure)
}

/// Returns the coordinates in `04 ‖ x ‖ y`.
fn coordinates(point: &[u8]) -> Result<[&[u8]; 2], CryptoFailure> {
    let halves = point.split_first().and_then(|(_, halves)| halves.split_at_checked(P256_SIZE.into()));
    halves.map(|(x, y)| [x, y]).ok_or(CryptoFailure)
}

/// 65537.
const RSA_EXPONENT: &[u8] = &[1, 0, 1];
const P256_SIZE: u16 = 32;
