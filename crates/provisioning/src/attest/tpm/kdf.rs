//! How TPMs derive keys (TPM 2.0 Library, part 1, 11.4.10): one block of SHA-256, which is all that AES-128 and
//! HMAC-SHA256 need.

use aws_lc_rs::{
    digest::{self, SHA256},
    hmac,
};

/// KDFa: SP 800-108 in counter mode with HMAC-SHA256. Returns the first `N` of at most 32 bytes.
pub(super) fn kdfa<const N: usize>(key: &[u8], label: &str, context: &[u8]) -> [u8; N] {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    mac.update(&FIRST_BLOCK);
    mac.update(label.as_bytes());
    mac.update(&[0]);
    mac.update(context);
    mac.update(&bits(N));
    first(mac.sign().as_ref())
}

/// KDFe: SP 800-56A with SHA-256, from a shared secret `z` and the x-coordinates of both parties.
pub(super) fn kdfe(z: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> [u8; 32] {
    let mut hash = digest::Context::new(&SHA256);
    hash.update(&FIRST_BLOCK);
    hash.update(z);
    hash.update(label.as_bytes());
    hash.update(&[0]);
    hash.update(party_u);
    hash.update(party_v);
    first(hash.finish().as_ref())
}

const FIRST_BLOCK: [u8; 4] = 1_u32.to_be_bytes();

fn bits(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes * 8).unwrap_or_default().to_be_bytes()
}

fn first<const N: usize>(block: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(block).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The vectors agree with two SDKs and a TPM.
    #[test]
    fn derives_the_same_keys_as_tpms() {
        let seed: Vec<u8> = (0..32).collect();
        let name = [&[0, 0x0B][..], digest::digest(&SHA256, b"x").as_ref()].concat();
        assert_eq!(hex(&kdfa::<16>(&seed, "STORAGE", &name)), "77fcd9adfe7aea7ca3547a79e1b0fbf7");
        assert_eq!(
            hex(&kdfa::<32>(&seed, "INTEGRITY", &[])),
            "bacf689f634ece301e1f1b15b072d9c87db6a69585db42b1a0cb8f73ebe2692e"
        );
    }
}
