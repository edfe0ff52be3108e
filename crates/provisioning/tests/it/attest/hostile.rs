//! Hostile and malformed certificates.

use model::Certificate;
use proptest::prelude::*;
use provisioning::attest::x509::parse_chain;
use testkit::ca::{Authority, KeyKind, Profile};

use super::case::{DEVICE, NOW, by_group, certificates, check, group_of, verdict};

/// Returns a root, and a chain of leaf and intermediate.
fn chain(key: KeyKind) -> (Authority, Vec<Vec<u8>>) {
    let root = Authority::self_signed(&Profile { key, ..Profile::ca("Root") });
    let factory = root.authority(&Profile { key, ..Profile::ca("Factory") });
    let leaf = factory.device(DEVICE);
    let chain = vec![leaf.der().to_vec(), factory.identity().der().to_vec()];
    (root, chain)
}

/// A length in more bytes than necessary, at each of the three places that are not signed.
#[test]
fn lengths_have_one_spelling() {
    let (root, chain) = chain(KeyKind::P256);
    let groups = [group_of("root", &root)];
    let leaf = &chain[0];
    let algorithm =
        leaf.windows(ECDSA_WITH_SHA256.len()).rposition(|window| window == ECDSA_WITH_SHA256).unwrap();
    let signature = algorithm + ECDSA_WITH_SHA256.len();
    for at in [0, algorithm, signature] {
        let mut longer = respelled(leaf, at);
        if at > 0 {
            let outer = u16::from_be_bytes([longer[2], longer[3]]) + 1;
            longer[2..4].copy_from_slice(&outer.to_be_bytes());
        }
        let changed = certificates(&[longer, chain[1].clone()]);
        let decided = verdict(by_group(&groups, &changed, DEVICE, NOW));
        assert!(decided.is_err(), "at {at}: {decided:?}");
    }
}

const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];

/// Returns the certificate with the length of the element at `at` in one more byte.
fn respelled(der: &[u8], at: usize) -> Vec<u8> {
    let (before, tag, rest) = (&der[..at], der[at], &der[at + 2..]);
    match der[at + 1] {
        0x82 => [before, &[tag, 0x83, 0], rest].concat(),
        short @ 0..=0x7F => [before, &[tag, 0x81, short], rest].concat(),
        other => panic!("a length that begins with {other:#x}"),
    }
}

/// The signature is unchanged, but the algorithm outside of the signed part is spelled in another valid way.
#[test]
fn the_algorithm_outside_is_the_one_inside() {
    let root = Authority::self_signed(&Profile { key: KeyKind::Rsa2048, ..Profile::ca("Root") });
    let leaf = root.device(DEVICE);
    let groups = [group_of("root", &root)];
    check("unchanged", by_group(&groups, &certificates(&[leaf.der()]), DEVICE, NOW), Ok("root"));
    let changed = certificates(&[without_parameters(leaf.der())]);
    let decided = by_group(&groups, &changed, DEVICE, NOW);
    check("changed", decided, Err("CN=dev-1: is not exact DER"));
}

/// Removes the NULL after the second object identifier of sha256WithRSAEncryption.
fn without_parameters(der: &[u8]) -> Vec<u8> {
    let algorithm =
        [0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05, 0x00];
    let at = der.windows(algorithm.len()).rposition(|window| window == algorithm).unwrap();
    let short = [&[0x30, 0x0B], &algorithm[2..13]].concat();
    let mut changed = [&der[..at], &short, &der[at + algorithm.len()..]].concat();
    let length = u16::try_from(changed.len() - 4).unwrap();
    assert_eq!(changed[..2], [0x30, 0x82], "a length in two bytes");
    changed[2..4].copy_from_slice(&length.to_be_bytes());
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The reader of stored certificates agrees on which bytes are certificates.
    #[test]
    fn a_chain_is_read_if_each_certificate_is(
        bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..3),
        places in prop::collection::vec(any::<bool>(), 0..4),
    ) {
        thread_local! {
            static REAL: Vec<u8> = Authority::root("Real").identity().der().to_vec();
        }
        let real = REAL.with(Clone::clone);
        let mut bytes = bytes.into_iter();
        let chain: Vec<_> = places.iter().filter_map(|is_real| if *is_real { Some(real.clone()) } else { bytes.next() }).collect();
        let evidence = certificates(&chain);
        prop_assert!(by_group(&[], &evidence, DEVICE, NOW).is_err());
        let is_readable = !chain.is_empty() && chain.iter().all(|der| Certificate::from_der(der).is_ok());
        prop_assert_eq!(parse_chain(&evidence.certificates).is_ok(), is_readable);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Several bytes of a valid chain are overwritten, inserted or left out. It is accepted only if nothing changed by that.
    #[test]
    fn mangled_chains_are_refused(edits in prop::collection::vec((0usize..2, any::<prop::sample::Index>(), any::<u8>(), 0usize..3), 1..8)) {
        thread_local! {
            static CHAIN: (Authority, Vec<Vec<u8>>) = chain(KeyKind::P256);
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
            let decided = verdict(by_group(&[group_of("root", root)], &certificates(&mangled), DEVICE, NOW));
            prop_assert_eq!(decided.is_ok(), mangled == *chain, "{:?}", decided);
            Ok(())
        })?;
    }
}
