//! Blobs, opened by a TPM in software.

use testkit::{
    sample,
    tpm::{Kind, Opened, SoftTpm},
};

use super::*;

/// An entropy source that counts up. `testkit`'s entropy is for this crate as others see it, not for its own unit tests.
struct Counter(std::sync::atomic::AtomicU8);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
    }
}

fn blob(identity: &TpmIdentity, key: &SymmetricKey, resource: &str) -> Vec<u8> {
    make(identity, key, resource, &Counter(0.into())).unwrap()
}

#[test]
fn opens_in_the_tpm_that_it_was_made_for() {
    for endorsement in [Kind::Rsa, Kind::P256] {
        for storage in [Kind::Rsa, Kind::P256] {
            let tpm = SoftTpm::new(endorsement, storage);
            for length in [16, 32, 64] {
                let key = SymmetricKey::from_bytes(&vec![7; length]).unwrap();
                let opened = tpm.open(&blob(tpm.identity(), &key, "0ne/registrations/r"));
                assert_eq!(opened, Opened { key, resource: "0ne/registrations/r".into() });
            }
        }
    }
}

#[test]
#[should_panic(expected = "the integrity holds")]
fn does_not_open_when_the_storage_root_key_is_another() {
    let tpm = SoftTpm::new(Kind::P256, Kind::P256);
    let blob = blob(tpm.identity(), &sample::key(7), "0ne/registrations/r");
    tpm.cleared().open(&blob);
}

/// Lengths of the hosted service's blobs; Java takes 1 to 1024 bytes in the last field.
#[test]
fn has_the_layout_that_sdks_parse() {
    let identity = sample::tpm_identity(1, 2);
    let key = SymmetricKey::from_bytes(&[7; 32]).unwrap();
    let short = blob(&identity, &key, &"x".repeat(24));
    assert_eq!(short.len(), 790);
    assert_eq!((&short[..4], &short[54..56]), (&[0x00, 0x34, 0x00, 0x20][..], &[0x01, 0x00][..]));
    assert_eq!(blob(&identity, &key, &"x".repeat(3000)).len(), 764 + 2 + 1024);
}
