//! What a TPM's challenge costs, against the two RSA operations that no such challenge can do without: its seeds are
//! encrypted to the endorsement key and to the storage root key.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use aws_lc_rs::{
    encoding::AsDer,
    error::Unspecified,
    rsa::{
        KeySize, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicKeyComponents,
    },
};
use model::{EndorsementKey, StorageRootKey, SymmetricKey, TpmIdentity};
use provisioning::{attest::tpm::credential, ports::Entropy};

/// Rounds; both are done in each, so that whatever else the machine does slows both.
const ROUNDS: u32 = 2_000;

/// Time of one.
pub struct Costs {
    /// The whole challenge, to RSA-2048 keys.
    pub challenge: Duration,
    /// Two bare RSA-OAEP encryptions to the same keys.
    pub rsa: Duration,
}

/// Measures both, on one core.
pub fn measure() -> anyhow::Result<Costs> {
    let moduli = [modulus()?, modulus()?];
    let identity = TpmIdentity {
        endorsement_key: EndorsementKey::from_bytes(public_area(&moduli[0]))?,
        storage_root_key: StorageRootKey::from_bytes(public_area(&moduli[1]))?,
    };
    let key = SymmetricKey::from_bytes(&[7; 32])?;
    let (mut challenge, mut rsa) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let blob = credential(&identity, &key, "0ne00000001/registrations/device-1", &System);
        challenge += began.elapsed();
        black_box(blob.map_err(|error| anyhow!("{error:?}"))?);
        let began = Instant::now();
        for (modulus, label) in moduli.iter().zip([b"IDENTITY\0".as_slice(), b"DUPLICATE\0"]) {
            black_box(encrypted(modulus, label)?);
        }
        rsa += began.elapsed();
    }
    Ok(Costs { challenge: challenge / ROUNDS, rsa: rsa / ROUNDS })
}

/// A seed's worth, to a key that comes as its modulus, as from a TPM.
fn encrypted(modulus: &[u8], label: &[u8]) -> anyhow::Result<Vec<u8>> {
    let key =
        PublicKeyComponents { n: modulus, e: &[1, 0, 1] }.try_into().map_err(|_: Unspecified| broken())?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| broken())?;
    let mut out = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut out, Some(label)).map_err(|_| broken())?;
    Ok(out)
}

/// Of a new key.
fn modulus() -> anyhow::Result<Vec<u8>> {
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| broken())?;
    let der = private.public_key().as_der().map_err(|_| broken())?;
    // The modulus is followed by the exponent 65537 in five bytes.
    let end = der.as_ref().len() - 5;
    Ok(der.as_ref()[end - 256..end].to_vec())
}

/// TPM2B_PUBLIC of a restricted key for decryption: its size, attributes and AES-128-CFB, no scheme, 2048 bits, the usual
/// exponent, the modulus.
fn public_area(modulus: &[u8]) -> Vec<u8> {
    let size = [1, 0x1A];
    let head = [0, 1, 0, 0x0B, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10];
    let parameters = [8, 0, 0, 0, 0, 0, 1, 0];
    [&size[..], &head, &parameters, modulus].concat()
}

/// The operating system's, through the crypto library, as in the server.
struct System;

impl Entropy for System {
    fn fill(&self, buffer: &mut [u8]) {
        // A key of zeros costs as much.
        let _ = aws_lc_rs::rand::fill(buffer);
    }
}

fn broken() -> anyhow::Error {
    anyhow!("the crypto library failed")
}
