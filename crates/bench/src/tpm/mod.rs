//! Measures registrations with a TPM, against the two RSA operations that each challenge needs: its seeds are encrypted to
//! the endorsement key and to the storage root key.

mod registrations;

use std::{hint::black_box, time::Duration};

use anyhow::anyhow;
use aws_lc_rs::{
    error::Unspecified,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicKeyComponents},
};
use model::SymmetricKey;
use provisioning::{attest::tpm::credential, ports::Entropy};
use testkit::tpm::{Kind, SoftTpm};

use crate::{cpu, load::Size};
pub use registrations::Registrations;

/// The rounds per turn. A turn must be long compared with a scheduler tick, the resolution of CPU times.
const ROUNDS: u32 = 1_000;

/// The alternating turns of each, so that other load affects both.
const TURNS: u32 = 4;

/// The CPU times, with RSA-2048 keys.
pub struct Costs {
    /// Whole registrations, at the server.
    pub registrations: Registrations,
    /// One challenge.
    pub challenge: Duration,
    /// Two RSA-OAEP encryptions to the same keys.
    pub rsa: Duration,
}

/// Measures whole registrations, then the parts.
pub async fn measure(size: Size) -> anyhow::Result<Costs> {
    let registrations = registrations::measure(size).await?;
    let (challenge, rsa) = parts()?;
    Ok(Costs { registrations, challenge, rsa })
}

/// Measures a challenge, and the RSA operations in it.
fn parts() -> anyhow::Result<(Duration, Duration)> {
    let tpm = SoftTpm::new(Kind::Rsa, Kind::Rsa);
    let identity = tpm.identity();
    let areas = [identity.endorsement_key.as_bytes(), identity.storage_root_key.as_bytes()];
    let moduli = areas.map(|area| &area[area.len() - 256..]);
    let key = SymmetricKey::from_bytes(&[7; 32])?;
    let (mut challenge, mut rsa) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        challenge += turn(|| {
            let blob = credential(identity, &key, "0ne00000001/registrations/device-1", &System);
            blob.map_err(|error| anyhow!("{error:?}"))
        })?;
        rsa += turn(|| Ok([encrypted(moduli[0], b"IDENTITY\0")?, encrypted(moduli[1], b"DUPLICATE\0")?]))?;
    }
    Ok((challenge / (TURNS * ROUNDS), rsa / (TURNS * ROUNDS)))
}

/// Measures the CPU time of one turn in this process.
fn turn<T>(work: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<Duration> {
    let before = cpu::time(std::process::id())?;
    for _ in 0..ROUNDS {
        black_box(work()?);
    }
    Ok(cpu::time(std::process::id())?.saturating_sub(before))
}

/// Encrypts a seed to a key given by its modulus, as from a TPM.
fn encrypted(modulus: &[u8], label: &[u8]) -> anyhow::Result<Vec<u8>> {
    let key =
        PublicKeyComponents { n: modulus, e: &[1, 0, 1] }.try_into().map_err(|_: Unspecified| broken())?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| broken())?;
    let mut out = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut out, Some(label)).map_err(|_| broken())?;
    Ok(out)
}

/// Random numbers of the crypto library, as in the server.
struct System;

impl Entropy for System {
    fn fill(&self, buffer: &mut [u8]) {
        // After a failure the key is zero, which costs the same.
        let _ = aws_lc_rs::rand::fill(buffer);
    }
}

fn broken() -> anyhow::Error {
    anyhow!("the crypto library failed")
}
