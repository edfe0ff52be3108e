//! Blocked certificates, in every form that their owners can derive.

use std::{fs, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use certpath::CertificateParts;
use durable::Sealer;
use model::{Certificate, IdScope, IndividualAttestation, IndividualCertificates, Pair};
use provisioning::ports::Instances;
use rcgen::{BasicConstraints, IsCa};
use store::EmbeddedStore;
use testkit::{
    ca::{Authority, KeyKind, Profile},
    sample,
};

use super::{
    case::{DEVICE, check, for_key, group_of, key_of},
    trust::Known,
};

/// Returns the certificate, and those that can be derived from it without its issuer's key. One of them is valid if the issuer
/// signs by ECDSA; those for other curves are not.
fn forms(der: &[u8]) -> Vec<Vec<u8>> {
    let twins = CertificateParts::read(der).unwrap().twins();
    [der.to_vec()].into_iter().chain(twins).collect()
}

#[test]
fn a_blocked_certificate_is_blocked_in_every_form() {
    for key in [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Ed25519, KeyKind::Rsa2048] {
        let root = Authority::self_signed(&Profile { key, ..Profile::ca("Root") });
        let factory = root.authority(&Profile { key, ..Profile::ca("Factory") });
        let chain = factory.chain_of(&factory.device(DEVICE));
        let groups = [group_of("root", &root)];
        for at in [0, 1] {
            let sent = |form: &[u8]| {
                let mut sent = chain[..2].to_vec();
                sent[at] = form.to_vec();
                sent
            };
            let is_valid = |form: &Vec<u8>| Known::default().attest(&groups, &sent(form)).is_ok();
            let valid: Vec<_> = forms(&chain[at]).into_iter().filter(is_valid).collect();
            let is_ecdsa = matches!(key, KeyKind::P256 | KeyKind::P384 | KeyKind::P521);
            assert_eq!(valid.len(), if is_ecdsa { 2 } else { 1 }, "{key:?}");
            for blocked in &valid {
                let blocked = Certificate::from_der(blocked).unwrap();
                for block in [sample::block(&blocked), sample::certificate_block(&blocked)] {
                    let known = Known::default().block(block);
                    for form in &valid {
                        check(&format!("{key:?}"), known.attest(&groups, &sent(form)), Err("is blocked"));
                    }
                }
            }
        }
    }
}

/// An enrolled leaf is compared byte for byte, so no other form of it is admitted, blocked or not.
#[test]
fn an_enrolled_leaf_is_that_form_of_it_only() {
    let leaf = Authority::root("Root").device(DEVICE);
    let forms = forms(leaf.der());
    for enrolled in &forms {
        let pair = Pair::new(Some(Certificate::from_der(enrolled).unwrap()), None).unwrap();
        let attestation = IndividualAttestation::X509(IndividualCertificates::Client(pair));
        for sent in &forms {
            let chain = std::slice::from_ref(sent);
            let expected =
                if sent == enrolled { Ok("individual") } else { Err("is not one of the enrollment's") };
            check("no block", Known::default().attest_individual(attestation.clone(), chain), expected);
            let known = Known::default().blocking(&leaf.certificate());
            let expected = if sent == enrolled { "is blocked" } else { "is not one of the enrollment's" };
            check("blocked", known.attest_individual(attestation.clone(), chain), Err(expected));
        }
    }
}

/// The verification of a CA certificate applies to every form of it.
#[test]
fn a_verified_ca_is_verified_in_every_form() {
    let root = Authority::root("Root");
    let groups = forms(root.identity().der());
    let known = || Known::default().ca("root", &root, true).requiring_verified();
    for form in groups {
        let form = Certificate::from_der(&form).unwrap();
        let groups = [super::case::group("root", Some(&form), None)];
        check("root", known().attest(&groups, &[root.device(DEVICE).der()]), Ok("root"));
    }
}

/// A CA whose key has two certificates, one of which is blocked.
#[test]
fn a_block_is_of_a_certificate_or_of_its_key() {
    let (one, two) = (Authority::root("One"), Authority::root("Two"));
    let by_one = one.intermediate("Factory");
    let by_two = for_key(&key_of(&by_one), (&two, "Two"), "Factory", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let leaf = by_one.device(DEVICE).der().to_vec();
    let groups = [group_of("one", &one), group_of("two", &two)];
    let through_one = [leaf.clone(), by_one.identity().der().to_vec()];
    let through_two = [leaf, by_two];
    let cases = [
        ("nothing", None, Ok("one"), Ok("two")),
        (
            "the certificate",
            Some(sample::certificate_block(&by_one.certificate())),
            Err("is blocked"),
            Ok("two"),
        ),
        ("its key", Some(sample::key_block(&by_one.certificate())), Err("is blocked"), Err("is blocked")),
    ];
    for (case, block, of_one, of_two) in cases {
        let known = || block.clone().into_iter().fold(Known::default(), Known::block);
        check(case, known().attest(&groups, &through_one), of_one);
        check(case, known().attest(&groups, &through_two), of_two);
    }
}

/// Blocks that the previous version stored, one given as a certificate and one as a thumbprint.
#[tokio::test]
async fn blocks_of_the_previous_version_match_every_form() {
    let fixture = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../store/tests/fixtures/v1"));
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("muster.db");
    fs::copy(fixture.join("data/muster.db"), &database).unwrap();
    let key = fs::read_to_string(fixture.join("data/master.key")).unwrap();
    let key: [u8; 32] = STANDARD.decode(key.trim()).unwrap().try_into().unwrap();
    let store = EmbeddedStore::open(&database, Sealer::from_key(key)).unwrap();
    let scope = IdScope::parse("0ne00000001").unwrap();
    let trust = Arc::clone(store.configuration(&scope).await.unwrap().trust());
    for (name, is_blocked) in
        [("leaf-1", false), ("leaf-blocked", true), ("leaf-blocked-by-thumbprint", true)]
    {
        let pem = fs::read_to_string(fixture.join(name).with_extension("pem")).unwrap();
        let forms = forms(Certificate::parse(&pem).unwrap().der());
        assert!(forms.len() > 1, "signed by ECDSA");
        for form in forms {
            let parts = CertificateParts::read(&form).unwrap();
            assert_eq!(trust.block_of(&parts).is_some(), is_blocked, "{name}");
        }
    }
}
