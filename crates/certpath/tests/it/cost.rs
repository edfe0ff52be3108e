//! The cost of searches, counted in signatures: times depend on the machine.

use certpath::{BrokenRule, PathError};
use rcgen::{
    GeneralSubtree, NameConstraints, PKCS_ECDSA_P256_SHA256 as P256, PKCS_ECDSA_P521_SHA512 as P521,
    PKCS_ED25519, SerialNumber, SignatureAlgorithm,
};

use crate::ca::{self, Ca, authority, named, presented};

/// Returns whether the chain leads to one of these CAs, and how many signatures were checked for that.
fn search(chain: &[Vec<u8>], anchors: &[&Ca]) -> (bool, u32) {
    let chain = presented(chain).unwrap();
    let anchors: Vec<_> = anchors.iter().map(|ca| ca.chain[0].as_slice()).collect();
    let found = ca::search(&chain, &anchors).unwrap();
    (found.path.is_ok(), found.signatures)
}

/// Returns ten certificates of one name and one key, each of which issued all others and itself.
fn ten_with_one_name(name: &str, algorithm: &'static SignatureAlgorithm) -> Vec<Vec<u8>> {
    let first = Ca::root(name, algorithm);
    (0..10).map(|serial| first.reissued(serial + 1)).collect()
}

#[test]
fn no_signature_is_checked_without_a_trusted_name() {
    let root = Ca::root("Root", &P256);
    for algorithm in [&P521, &P256] {
        assert_eq!(search(&ten_with_one_name("Stranger", algorithm), &[&root]), (false, 0), "{algorithm:?}");
    }
}

/// The name is that of a trusted one: each certificate may be the one that it issued. By keys, only one may be.
#[test]
fn a_stranger_under_a_trusted_name_fails_at_the_first_key() {
    for (algorithm, at_most) in [(&P521, 3), (&P256, 10)] {
        let root = Ca::root("Root", algorithm);
        let (is_found, signatures) = search(&ten_with_one_name("Root", algorithm), &[&root]);
        assert!(!is_found && signatures <= at_most, "{algorithm:?}: {signatures}");
        // Nine CAs in a row below the name: all of it is valid, but for the trusted signature.
        let mut line = Ca::root("Root", algorithm).intermediate("1");
        for at in 2..9 {
            line = line.intermediate(&at.to_string());
        }
        assert_eq!(search(&line.leaf_chain("dev-1")[..9], &[&root]), (false, 1), "{algorithm:?}");
        // A key of another kind is not used at all.
        let other = Ca::root("Root", &PKCS_ED25519);
        assert_eq!(search(&ten_with_one_name("Root", algorithm), &[&other]), (false, 0), "{algorithm:?}");
    }
}

#[test]
fn a_path_takes_one_signature_for_each_certificate() {
    let root = Ca::root("Root", &P521);
    let factory = root.intermediate("Factory");
    let line = factory.intermediate("Line");
    let chain = line.leaf_chain("dev-1");
    assert_eq!(search(&chain, &[&root]), (true, 3));
    assert_eq!(search(&chain[..3], &[&root]), (true, 3));
    assert_eq!(search(&chain, &[&factory]), (true, 2));
    assert_eq!(search(&chain[..1], &[&line]), (true, 1));
    // Copies and renewed certificates of one key add none but their own.
    let with_copies = [&chain[..], &chain[1..], &[root.reissued(7)]].concat();
    let (is_found, signatures) = search(&with_copies, &[&root]);
    assert!(is_found && signatures <= 4, "{signatures}");
}

/// A device that holds the key of its own certificate, which is genuine but not of a CA, issues any number of certificates.
#[test]
fn a_certificate_that_may_not_issue_gains_no_signatures() {
    let root = Ca::root("Root", &P256);
    let device = root.below(named("dev-0"), &P521);
    let issued = (0..8).map(|at| device.intermediate(&at.to_string()).chain[0].clone());
    let chain: Vec<_> = issued.chain([device.chain[0].clone()]).collect();
    // All of them are between the leaf and the device.
    let leaf = ten_with_one_name("0", &P256).remove(0);
    let (is_found, signatures) = search(&[vec![leaf], chain].concat(), &[&root]);
    assert!(!is_found && signatures <= 6, "{signatures}");
}

/// CAs of one name and several keys, as of a CA that is created anew each year. The key identifiers say which one it is.
#[test]
fn among_many_keys_the_named_one_is_tried_first() {
    let roots: Vec<_> = (0..20).map(|_| Ca::root("Root", &P521)).collect();
    let all: Vec<_> = roots.iter().collect();
    for root in &roots {
        let mut params = named("dev-1");
        params.use_authority_key_identifier_extension = true;
        assert_eq!(search(&[root.issue(params)], &all), (true, 1));
    }
}

/// The cost of a certificate does not depend on the number of its owners, and an error of one anchor is none of another.
#[test]
fn many_owners_of_one_constrained_ca_cost_as_much_as_one() {
    let constrained = |names: std::ops::RangeFrom<u32>| {
        let mut params = authority("Root");
        let permitted_subtrees =
            names.take(20).map(|at| GeneralSubtree::DnsName(format!("dev-{at}"))).collect();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        params
    };
    let root = Ca::root("Root", &P256);
    let (forbidding, permitting) =
        (root.certify_itself(constrained(100..)), root.certify_itself(constrained(1..)));
    let chain = [root.issue(named("dev-1"))];
    let chain = presented(&chain).unwrap();
    let many = vec![forbidding.as_slice(); 1000];
    let refused = ca::search(&chain, &many).unwrap();
    assert!(refused.path.is_err());
    assert_eq!(refused.passed_over.len(), many.len());
    for (_, error) in refused.passed_over {
        let PathError::Rule { rule, .. } = error else { panic!("{error}") };
        assert!(matches!(rule, BrokenRule::ForbiddenName(_)), "{rule}");
    }
    let admitted = ca::search(&chain, &[many, vec![permitting.as_slice()]].concat()).unwrap();
    assert!(admitted.path.is_ok(), "{:?}", admitted.path.err());
}

/// Each of the certificates of the factory's name and key issued the leaf, and the root issued each of them.
#[test]
fn thirty_two_paths_are_followed_at_one_level_and_no_more() {
    let root = Ca::root("Root", &P256);
    let factory = root.intermediate("Factory");
    let leaf = factory.leaf_chain("dev-1").remove(0);
    let renewed = |serial: u64| {
        let mut params = authority("Factory");
        params.serial_number = Some(SerialNumber::from(serial));
        root.certify(&factory, params)
    };
    let sent: Vec<_> = [leaf].into_iter().chain((1..=33).map(renewed)).collect();
    for (paths, expected) in [(1, None), (31, None), (32, None), (33, Some(PathError::TooTangled))] {
        let chain = presented(&sent[..=paths]).unwrap();
        let found = ca::search(&chain, &[&root.chain[0]]).unwrap();
        assert_eq!(found.path.err(), expected, "{paths}");
    }
}
