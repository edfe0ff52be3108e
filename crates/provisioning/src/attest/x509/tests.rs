//! What searches cost, counted in signatures: times depend on the machine.

use model::{CertificateParts, CrlMaxAge, Timestamp, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa, Issuer, KeyPair,
    NameConstraints, date_time_ymd,
};
use testkit::ca::{Authority, KeyKind, Profile};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    CertificateRefusal,
    path::{Anchor, Circumstances, nearest},
    rules::BrokenRule,
};

/// 2026-11-23T00:00:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_392_000);

/// Whether the chain leads to one of these CAs, and how many signatures were checked for that.
fn search(chain: &[Vec<u8>], anchors: &[&Authority]) -> (bool, u32) {
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let sent: Vec<_> = chain[1..].iter().map(|der| CertificateParts::read(der).unwrap()).collect();
    let trusted: Vec<_> = anchors.iter().map(|ca| ca.identity().der().to_vec()).collect();
    let anchors = trusted.iter().map(|der| Anchor::for_all(CertificateParts::read(der).unwrap(), ()));
    let anchors: Vec<_> = anchors.collect();
    let circumstances =
        Circumstances { now: NOW, known: &Trust::default(), crl_max_age: CrlMaxAge::default() };
    let found = nearest(&[leaf], (&sent, &[]), &anchors, circumstances);
    (found.path.is_ok(), found.signatures)
}

fn of_name(name: &str, key: KeyKind) -> Authority {
    Authority::self_signed(&Profile { key, ..Profile::ca(name) })
}

/// Ten certificates of one name and one key, each of which issued all others and itself.
fn ten_of_one_name(name: &str, key: KeyKind) -> Vec<Vec<u8>> {
    let first = of_name(name, key);
    let again = |days: i64| {
        let not_before = Timestamp::from_unix_seconds(NOW.unix_seconds() - 1 - days);
        first.reissued(&Profile { not_before, key, ..Profile::ca(name) })
    };
    (0..10).map(again).collect()
}

#[test]
fn no_signature_is_checked_without_a_trusted_name() {
    let root = of_name("Root", KeyKind::P256);
    for key in [KeyKind::P521, KeyKind::P256] {
        assert_eq!(search(&ten_of_one_name("Stranger", key), &[&root]), (false, 0), "{key:?}");
    }
}

/// The name is that of a trusted one: each certificate may be the one that it issued. By keys, there is one that may have.
#[test]
fn a_stranger_under_a_trusted_name_is_told_at_the_first_key() {
    for (key, at_most) in [(KeyKind::P521, 3), (KeyKind::P256, 10)] {
        let root = of_name("Root", key);
        let (is_found, signatures) = search(&ten_of_one_name("Root", key), &[&root]);
        assert!(!is_found && signatures <= at_most, "{key:?}: {signatures}");
        // A line of nine below the name: all of it is valid, but for the trusted signature.
        let mut line = of_name("Root", key).intermediate("1");
        for at in 2..9 {
            line = line.intermediate(&at.to_string());
        }
        let chain = line.chain_of(&line.device("dev-1"));
        assert_eq!(search(&chain[..9], &[&root]), (false, 1), "{key:?}");
        // Another kind of key is not even asked.
        let other = of_name("Root", KeyKind::Ed25519);
        assert_eq!(search(&ten_of_one_name("Root", key), &[&other]), (false, 0), "{key:?}");
    }
}

#[test]
fn a_path_takes_one_signature_for_each_certificate() {
    let root = of_name("Root", KeyKind::P521);
    let factory = root.intermediate("Factory");
    let line = factory.intermediate("Line");
    let chain = line.chain_of(&line.device("dev-1"));
    assert_eq!(search(&chain, &[&root]), (true, 3));
    assert_eq!(search(&chain[..3], &[&root]), (true, 3));
    assert_eq!(search(&chain, &[&factory]), (true, 2));
    assert_eq!(search(&chain[..1], &[&line]), (true, 1));
    // Copies and renewed certificates of one key add none but their own.
    let renewed = root.reissued(&Profile::ca("Root"));
    let with_copies = [&chain[..], &chain[1..], &[renewed]].concat();
    let (is_found, signatures) = search(&with_copies, &[&root]);
    assert!(is_found && signatures <= 4, "{signatures}");
}

/// A device that holds the key of its own certificate, which is real but no CA, issues as many as it likes.
#[test]
fn a_certificate_that_may_not_issue_is_not_worth_more() {
    let root = of_name("Root", KeyKind::P256);
    let device = root.authority(&Profile { key: KeyKind::P521, ..Profile::device("dev-0") });
    let chain: Vec<_> = (0..8)
        .map(|at| device.intermediate(&at.to_string()).identity().der().to_vec())
        .chain([device.identity().der().to_vec()])
        .collect();
    // All of them are between the leaf and the device.
    let leaf = ten_of_one_name("0", KeyKind::P256).remove(0);
    let chain = [vec![leaf], chain].concat();
    let (is_found, signatures) = search(&chain, &[&root]);
    assert!(!is_found && signatures <= 6, "{signatures}");
}

/// CAs of one name and several keys, as of a CA that is made anew each year. The key identifiers tell which it is.
#[test]
fn among_many_keys_the_named_one_is_tried_first() {
    let roots: Vec<_> = (0..20).map(|_| of_name("Root", KeyKind::P521)).collect();
    let all: Vec<_> = roots.iter().collect();
    for root in &roots {
        let leaf = root.device_with_authority_key_id("dev-1").der().to_vec();
        assert_eq!(search(&[leaf], &all), (true, 1));
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    params
}

/// A CA that may issue for twenty names only.
fn constrained(names: impl Iterator<Item = String>) -> CertificateParams {
    let permitted_subtrees = names.take(20).map(GeneralSubtree::DnsName).collect();
    let mut params = named("Root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    params
}

/// What a certificate costs does not go by how many groups trust it, and what one forbids is no reason against another.
#[test]
fn many_groups_of_one_constrained_ca_cost_what_one_costs() {
    let key = KeyPair::generate().unwrap();
    let forbidding = constrained((100..).map(|at| format!("dev-{at}"))).self_signed(&key).unwrap();
    let permitting = constrained((1..).map(|at| format!("dev-{at}"))).self_signed(&key).unwrap();
    let leaf =
        named("dev-1").signed_by(&KeyPair::generate().unwrap(), &Issuer::new(named("Root"), key)).unwrap();
    let (_, leaf) = X509Certificate::from_der(leaf.der()).unwrap();
    let anchor = |der| Anchor::for_all(CertificateParts::read(der).unwrap(), ());
    let many = vec![anchor(forbidding.der()); 1000];
    let known = Trust::default();
    let circumstances = Circumstances { now: NOW, known: &known, crl_max_age: CrlMaxAge::default() };

    let refused = nearest(std::slice::from_ref(&leaf), (&[], &[]), &many, circumstances);
    assert!(refused.path.is_err());
    assert_eq!(refused.passed_over.len(), many.len());
    for (_, refusal) in refused.passed_over {
        let CertificateRefusal::Rule { rule, .. } = refusal else { panic!("{refusal}") };
        assert!(matches!(rule, BrokenRule::ForbiddenName(_)), "{rule}");
    }
    let with_one_more = [many, vec![anchor(permitting.der())]].concat();
    let admitted = nearest(&[leaf], (&[], &[]), &with_one_more, circumstances);
    assert!(admitted.path.is_ok(), "{:?}", admitted.path.err());
}
