//! Individual enrollments by X.509: the leaf is the enrolled one.

use certpath::Sha256Thumbprint;
use model::{Certificate, HubCredentials, IndividualAttestation, IndividualCertificates, Pair, Timestamp};
use provisioning::attest::{Attested, Evidence, Refusal};
use rcgen::{CustomExtension, DistinguishedName, DnType, SanType};
use testkit::{
    ca::{Authority, Form, Identity, KeyKind, Profile},
    sample,
};

use super::case::{DEVICE, NOW, by_individual, certificates, check, custom, individual};

fn enrolled(primary: Option<&Certificate>, secondary: Option<&Certificate>) -> IndividualAttestation {
    let pair = Pair::new(primary.cloned(), secondary.cloned()).unwrap();
    IndividualAttestation::X509(IndividualCertificates::Client(pair))
}

fn decide(
    attestation: IndividualAttestation,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<Attested, Refusal> {
    by_individual(individual(attestation), evidence, now)
}

/// Enrolls this certificate as the primary, and presents it alone.
fn check_own(case: &str, der: &[u8], expected: Result<&str, &str>) {
    let certificate = Certificate::from_der(der).unwrap();
    check(case, decide(enrolled(Some(&certificate), None), &certificates(&[der]), NOW), expected);
}

#[test]
fn the_leaf_must_be_an_enrolled_one() {
    let ca = Authority::root("Root");
    let (one, two, other) = (ca.device(DEVICE), ca.device(DEVICE), ca.device(DEVICE));
    let (primary, secondary) = (one.certificate(), two.certificate());
    let both = || enrolled(Some(&primary), Some(&secondary));
    let fits = Ok("individual");
    let not_one = Err("is not one of the enrollment's");
    let cases: [(_, _, Vec<&[u8]>, _); 8] = [
        ("primary", both(), vec![one.der()], fits),
        ("secondary", both(), vec![two.der()], fits),
        ("only a secondary", enrolled(None, Some(&secondary)), vec![two.der()], fits),
        ("with its chain", both(), vec![one.der(), ca.identity().der()], fits),
        ("with rubbish behind it that parses", both(), vec![one.der(), other.der(), two.der()], fits),
        ("another leaf of the same CA and name", both(), vec![other.der()], not_one),
        ("the enrolled leaf in second place", both(), vec![other.der(), one.der()], not_one),
        ("no certificate", both(), vec![], Err("wants a client certificate")),
    ];
    for (case, attestation, chain, expected) in cases {
        check(case, decide(attestation, &certificates(&chain), NOW), expected);
    }
}

#[test]
fn the_hub_gets_the_thumbprint_of_the_leaf_that_was_used() {
    let ca = Authority::root("Root");
    let (one, two) = (ca.device(DEVICE), ca.device(DEVICE));
    for used in [&one, &two] {
        let both = enrolled(Some(&one.certificate()), Some(&two.certificate()));
        let attested = decide(both, &certificates(&[used.der()]), NOW).unwrap();
        let expected = HubCredentials::Certificate(Sha256Thumbprint::of(used.der()));
        assert_eq!(*attested.credentials(), expected);
    }
}

#[test]
fn leaves_of_every_form_are_accepted() {
    let ca = Authority::root("Root");
    let form = |form| Profile { form, ..Profile::device(DEVICE) };
    let key = |key| Profile { key, ..Profile::device(DEVICE) };
    let profiles = [
        ("as it should be", Profile::device(DEVICE)),
        ("no extensions", form(Form::Bare)),
        ("no extended key usage", form(Form::DeviceWithoutUsage)),
        ("server authentication only", form(Form::ServerOnly)),
        ("a CA", form(Form::Ca)),
        ("version 1", form(Form::Version1)),
        ("one day, today", Profile::device(DEVICE).one_day_from(NOW)),
        ("the name in capitals", Profile::device("DEV-1")),
        ("P-384", key(KeyKind::P384)),
        ("P-521", key(KeyKind::P521)),
        ("Ed25519", key(KeyKind::Ed25519)),
        ("RSA", key(KeyKind::Rsa2048)),
    ];
    for (case, profile) in profiles {
        check_own(case, ca.issue(&profile).der(), Ok("individual"));
        check_own(&format!("{case}, self-signed"), Identity::self_signed(&profile).der(), Ok("individual"));
    }
}

#[test]
fn dates_are_enforced_at_both_ends() {
    let day = 86_400;
    let leaf = Identity::self_signed(&Profile::device(DEVICE).one_day_from(NOW));
    let at = |seconds| Timestamp::from_unix_seconds(NOW.unix_seconds() + seconds);
    let cases = [
        (-1, Err("is not valid before 2026-11-23T00:00:00")),
        (0, Ok("individual")),
        (day, Ok("individual")),
        (day + 1, Err("expired at 2026-11-24T00:00:00")),
    ];
    for (seconds, expected) in cases {
        let attestation = enrolled(Some(&leaf.certificate()), None);
        check(&seconds.to_string(), decide(attestation, &certificates(&[leaf.der()]), at(seconds)), expected);
    }
    let expired = Identity::self_signed(&Profile::device(DEVICE).expired());
    check_own("expired years ago", expired.der(), Err("CN=dev-1: expired at 2020-12-31"));
}

#[test]
fn the_leaf_bears_the_devices_name() {
    let ca = Authority::root("Root");
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let other = Err(r#"the leaf has no common name, and its first DNS name is"#);
    let none = Err(r#"the leaf's common name is "", not the registration ID"#);
    let cases = [
        ("no alternative name", vec![], none),
        ("an alternative DNS name", vec![dns("dev-1")], Ok("individual")),
        ("in capitals", vec![dns("DEV-1")], Ok("individual")),
        ("the first DNS name of several", vec![dns("dev-1"), dns("x")], Ok("individual")),
        (
            "behind a name of another kind",
            vec![SanType::Rfc822Name("a@b".try_into().unwrap()), dns("dev-1")],
            Ok("individual"),
        ),
        ("not the first DNS name", vec![dns("x"), dns("dev-1")], other),
        ("a name of another kind", vec![SanType::Rfc822Name("dev-1".try_into().unwrap())], none),
        ("a wildcard", vec![dns("*")], other),
        ("a longer name", vec![dns("dev-1.example")], other),
    ];
    for (case, names, expected) in cases {
        let der = |common_name: Option<&str>| {
            custom(&ca, "Root", "x", |params| {
                params.subject_alt_names = names.clone();
                params.distinguished_name = DistinguishedName::new();
                common_name.into_iter().for_each(|it| params.distinguished_name.push(DnType::CommonName, it));
            })
        };
        check_own(case, &der(None), expected);
        let refused = Err(r#"the leaf's common name is "other", not the registration ID"#);
        check_own(case, &der(Some("other")), refused);
        check_own(case, &der(Some(DEVICE)), Ok("individual"));
    }
    check_own("another common name", ca.device("dev-10").der(), Err("the leaf's common name is"));
    check_own("an empty common name", ca.device("").der(), Err("the leaf's common name is"));
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let ca = Authority::root("Root");
    let leaf = ca.issue(&Profile { form: Form::UnknownCritical, ..Profile::device(DEVICE) });
    check_own("unknown", leaf.der(), Err("has the critical extension 1.3.6.1.4.1.99999.1"));
}

/// Extensions that RFC 5280 and OpenSSL know, each critical or not, well-formed or garbled.
#[test]
fn garbled_extensions_are_refused_if_critical_or_used() {
    let ca = Authority::root("Root");
    // Policies of 2.5.29.32.0; a distribution point at http://a/; nsCertType client.
    let policies: &[u8] = &[0x30, 0x06, 0x30, 0x04, 0x06, 0x02, 0x2A, 0x03];
    let point: &[u8] = &[
        0x30, 0x0F, 0x30, 0x0D, 0xA0, 0x0B, 0xA0, 0x09, 0x86, 0x07, b'h', b't', b't', b'p', b':', b'/', b'a',
    ];
    let mappings: &[u8] = &[0x30, 0x0A, 0x30, 0x08, 0x06, 0x02, 0x2A, 0x03, 0x06, 0x02, 0x2A, 0x04];
    let cases: [(&str, &[u64], &[u8], bool); 9] = [
        ("policies", &[2, 5, 29, 32], policies, false),
        ("policyConstraints", &[2, 5, 29, 36], &[0x30, 0x03, 0x80, 0x01, 0x00], false),
        ("inhibitAnyPolicy", &[2, 5, 29, 54], &[0x02, 0x01, 0x00], false),
        ("policyMappings", &[2, 5, 29, 33], mappings, false),
        ("CRL distribution points", &[2, 5, 29, 31], point, false),
        ("nsCertType", &[2, 16, 840, 1, 113730, 1, 1], &[0x03, 0x02, 0x07, 0x80], false),
        ("subject key identifier", &[2, 5, 29, 14], &[0x04, 0x02, 0x01, 0x02], false),
        ("extended key usage", &[2, 5, 29, 37], &[0x30, 0x06, 0x06, 0x04, 0x55, 0x1D, 0x25, 0x00], true),
        ("key usage", &[2, 5, 29, 15], &[0x03, 0x02, 0x07, 0x80], true),
    ];
    for (name, oid, value, is_used) in cases {
        for critical in [false, true] {
            for garbled in [false, true] {
                let value = if garbled { vec![0x30, 0x05, 0xFF] } else { value.to_vec() };
                let der = custom(&ca, "Root", DEVICE, |params| {
                    let mut extension = CustomExtension::from_oid_content(oid, value.clone());
                    extension.set_criticality(critical);
                    params.custom_extensions.push(extension);
                });
                let is_refused = garbled && (critical || is_used);
                let expected = if is_refused { Err("cannot be read") } else { Ok("individual") };
                check_own(&format!("{name}, critical: {critical}, garbled: {garbled}"), &der, expected);
            }
        }
    }
}

#[test]
fn every_mechanism_against_a_client_certificate() {
    let leaf = Identity::self_signed(&Profile::device(DEVICE));
    for (name, attestation) in sample::individual_attestations(&leaf.certificate()) {
        let expected = match name {
            "tpm" | "tpm_with_storage_root_key" => Err("wants a TPM and the device named none"),
            "x509_ca_references" => Err("root of 2026, which no longer exists"),
            "symmetric_key" => Err("wants a SAS token and the device sent none"),
            _ => Ok("individual"),
        };
        check(name, decide(attestation, &certificates(&[leaf.der()]), NOW), expected);
    }
}
