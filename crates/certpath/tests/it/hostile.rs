//! Malformed chains, and chains that were changed after they were signed.

use certpath::{CertificateParts, Crl, NameKey, PathError, is_same_name};
use proptest::prelude::*;
use rcgen::{PKCS_ECDSA_P256_SHA256 as P256, PKCS_ED25519};

use crate::ca::{Ca, presented, search};

/// Returns a chain of leaf and intermediate, and the root.
fn chain(algorithm: &'static rcgen::SignatureAlgorithm) -> (Ca, Vec<Vec<u8>>) {
    let root = Ca::root("Root", algorithm);
    let mut chain = root.intermediate("Factory").leaf_chain("dev-1");
    chain.truncate(2);
    (root, chain)
}

fn is_valid(root: &Ca, chain: &[Vec<u8>]) -> bool {
    let Ok(chain) = presented(chain) else { return false };
    search(&chain, &[&root.chain[0]]).is_ok_and(|found| found.path.is_ok())
}

/// Every byte of leaf and intermediate is signed, or describes the signature.
#[test]
fn no_byte_of_a_chain_can_be_changed() {
    for algorithm in [&P256, &PKCS_ED25519] {
        let (root, chain) = chain(algorithm);
        assert!(is_valid(&root, &chain));
        for (which, certificate) in chain.iter().enumerate() {
            for at in 0..certificate.len() {
                for flip in [0x01, 0x20, 0x80, 0xFF] {
                    let mut changed = chain.clone();
                    changed[which][at] ^= flip;
                    assert!(!is_valid(&root, &changed), "{algorithm:?}: {which}, {at}, {flip:#x}");
                }
            }
        }
    }
}

#[test]
fn a_truncated_certificate_is_named_by_its_position() {
    let (_, chain) = chain(&P256);
    for (which, certificate) in chain.iter().enumerate() {
        let truncated = (0..certificate.len()).map(|length| certificate[..length].to_vec());
        for der in truncated.chain([[&certificate[..], &[0]].concat()]) {
            let mut changed = chain.clone();
            changed[which] = der;
            assert_eq!(presented(&changed).err(), Some(PathError::Unreadable(which)));
        }
    }
    assert_eq!(presented(&[]).err(), Some(PathError::Unreadable(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Several bytes of a valid chain are overwritten, inserted or left out. It is accepted only if nothing changed by that.
    #[test]
    fn mangled_chains_are_rejected(
        edits in prop::collection::vec((0usize..2, any::<prop::sample::Index>(), any::<u8>(), 0usize..3), 1..8),
    ) {
        thread_local! {
            static CHAIN: (Ca, Vec<Vec<u8>>) = chain(&P256);
        }
        CHAIN.with(|(root, chain)| {
            let mut mangled = chain.clone();
            for (which, at, byte, edit) in edits {
                let certificate = &mut mangled[which];
                let at = at.index(certificate.len());
                match edit {
                    0 => certificate[at] = byte,
                    1 => certificate.insert(at, byte),
                    _ => drop(certificate.remove(at)),
                }
            }
            prop_assert_eq!(is_valid(root, &mangled), mangled == *chain);
            Ok(())
        })?;
    }

    /// Parts are within the certificate, in order, and found again by their ranges.
    #[test]
    fn parts_are_found_again(prefix in prop::collection::vec(any::<u8>(), 0..40), at: prop::sample::Index) {
        thread_local! {
            static DER: Vec<u8> = chain(&P256).1.remove(0);
        }
        let der = DER.with(Clone::clone);
        let mut changed = der.clone();
        let at = at.index(der.len());
        changed.splice(at..(at + prefix.len()).min(der.len()), prefix);
        for der in [der, changed] {
            let ranges = certpath::PartRanges::of(&der);
            prop_assert_eq!(ranges.as_ref().and_then(|ranges| ranges.parts(&der)), CertificateParts::read(&der));
        }
    }

    /// Names are compared by an equivalence relation, also bytes that are not names.
    #[test]
    fn equality_of_names_is_an_equivalence(
        one in prop::collection::vec(any::<u8>(), 0..30), other in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        prop_assert!(is_same_name(&one, &one));
        prop_assert_eq!(is_same_name(&one, &other), is_same_name(&other, &one));
        prop_assert_eq!(is_same_name(&one, &other), NameKey::of(&one) == NameKey::of(&other));
    }

    #[test]
    fn bytes_that_are_read_as_a_list_read_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(crl) = Crl::from_bytes(&bytes) {
            prop_assert_eq!(Crl::from_der(crl.der().to_vec()).ok(), Some(crl));
        }
    }
}
