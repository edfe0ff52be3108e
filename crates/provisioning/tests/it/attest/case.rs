//! Shared by the tables: evidence, enrollments, and verdicts.

use std::sync::Arc;

use certpath::{CrlMaxAge, is_same_name};
use model::{
    Certificate, EnrollmentGroup, EnrollmentRef, EnrollmentSettings, GroupAttestation, GroupCertificates,
    IdScope, IndividualAttestation, IndividualEnrollment, Pair, ProvisioningStatus, RegistrationId,
    Timestamp, Trust,
};
use provisioning::attest::{
    self, Attested, Claimant, Evidence, Proof, Refusal,
    x509::{CaRules, parse_chain},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, date_time_ymd};
use testkit::{ca::Authority, sample};

/// 2026-11-23T00:00:00Z.
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_392_000);
pub const SCOPE: &str = "0ne00000001";
pub const DEVICE: &str = "dev-1";

/// Returns the evidence of a device with these client certificates.
pub fn certificates<D: AsRef<[u8]>>(chain: &[D]) -> Evidence {
    let certificates: Vec<_> = chain.iter().map(|der| der.as_ref().to_vec().into()).collect();
    Evidence { certificates: certificates.into(), ..Evidence::default() }
}

/// Runs `decide` for the device `id` at `now`, without any trust.
pub fn without_trust<T>(
    id: &str,
    now: Timestamp,
    evidence: &Evidence,
    decide: impl FnOnce(&Claimant<'_>) -> T,
) -> T {
    with_trust(&Trust::default(), (id, now), evidence, decide)
}

/// Runs `decide` for the device `id` at `now`, with this trust.
pub fn with_trust<T>(
    known: &Trust,
    (id, now): (&str, Timestamp),
    evidence: &Evidence,
    decide: impl FnOnce(&Claimant<'_>) -> T,
) -> T {
    let (scope, registration_id) = (IdScope::parse(SCOPE).unwrap(), RegistrationId::parse(id).unwrap());
    let known = &Arc::new(known.clone());
    let ca = CaRules { known, require_verified: false, crl_max_age: CrlMaxAge::default() };
    decide(&Claimant { scope: &scope, registration_id: &registration_id, evidence, tpm: None, ca, now })
}

/// Returns the outcome for a device with this individual enrollment, which must not be a challenge.
pub fn by_individual(
    enrollment: IndividualEnrollment,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<Attested, Refusal> {
    attested(without_trust(DEVICE, now, evidence, |claimant| attest::individual(enrollment, claimant)))
}

/// Returns the same outcome, which must not be a challenge.
pub fn attested(outcome: Result<Proof, Refusal>) -> Result<Attested, Refusal> {
    match outcome? {
        Proof::Attested(attested) => Ok(*attested),
        Proof::Challenge(tpm) => panic!("a challenge to {tpm:?}"),
    }
}

/// Returns an individual enrollment of the device.
pub fn individual(attestation: IndividualAttestation) -> IndividualEnrollment {
    let settings = EnrollmentSettings::default();
    IndividualEnrollment { attestation, settings, ..sample::individual(DEVICE) }
}

/// Returns an enabled group with these signing certificates.
pub fn group(id: &str, primary: Option<&Certificate>, secondary: Option<&Certificate>) -> EnrollmentGroup {
    let pair = Pair::new(primary.cloned(), secondary.cloned()).unwrap();
    let attestation = GroupAttestation::X509(GroupCertificates::Signing(pair));
    EnrollmentGroup { attestation, settings: EnrollmentSettings::default(), ..sample::group(id) }
}

/// Returns an enabled group with the certificate of this CA.
pub fn group_of(id: &str, authority: &Authority) -> EnrollmentGroup {
    group(id, Some(&authority.certificate()), None)
}

pub fn disabled(mut group: EnrollmentGroup) -> EnrollmentGroup {
    group.settings.provisioning_status = ProvisioningStatus::Disabled;
    group
}

/// Returns the outcome for a device with an X.509 group. As in the service, only groups are considered whose certificates have the
/// name of some presented certificate's issuer.
pub fn by_group(
    groups: &[EnrollmentGroup],
    evidence: &Evidence,
    id: &str,
    now: Timestamp,
) -> Result<Attested, Refusal> {
    let chain = parse_chain(&evidence.certificates)?;
    let issuers = chain.issuers();
    let concerned = groups.iter().filter(|group| match &group.attestation {
        GroupAttestation::X509(GroupCertificates::Signing(pair)) => pair
            .iter()
            .any(|certificate| issuers.iter().any(|issuer| is_same_name(issuer, certificate.subject()))),
        _ => false,
    });
    let concerned: Vec<_> = concerned.cloned().map(Arc::new).collect();
    attested(without_trust(id, now, evidence, |claimant| {
        attest::x509_group(&concerned, &chain, None, claimant).outcome
    }))
}

/// Returns the name of the enrollment, or the text of the refusal.
pub fn verdict(decided: Result<Attested, Refusal>) -> Result<String, String> {
    match decided {
        Ok(attested) => Ok(match attested.enrollment() {
            EnrollmentRef::Individual => "individual".into(),
            EnrollmentRef::Group(id) => id.to_string(),
        }),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// Fails unless the verdict is this name, or a refusal that contains this text.
pub fn check(case: &str, decided: Result<Attested, Refusal>, expected: Result<&str, &str>) {
    match (verdict(decided), expected) {
        (Ok(name), Ok(expected)) => assert_eq!(name, expected, "{case}"),
        (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{case}: {reason}"),
        (decided, _) => panic!("{case}: {decided:?} instead of {expected:?}"),
    }
}

/// Returns a certificate for a new key that `authority`, with its name, issues for `common_name`; valid from 2020 to 2100, and
/// modified by `shape`.
pub fn custom(
    authority: &Authority,
    authority_name: &str,
    common_name: &str,
    shape: impl FnOnce(&mut CertificateParams),
) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    for_key(&key, (authority, authority_name), common_name, shape)
}

/// Returns the same for this key.
pub fn for_key(
    key: &KeyPair,
    (authority, authority_name): (&Authority, &str),
    common_name: &str,
    shape: impl FnOnce(&mut CertificateParams),
) -> Vec<u8> {
    let mut params = named(common_name);
    shape(&mut params);
    let issuer = Issuer::new(named(authority_name), key_of(authority));
    params.signed_by(key, &issuer).unwrap().der().to_vec()
}

/// Returns the private key of a CA.
pub fn key_of(authority: &Authority) -> KeyPair {
    KeyPair::try_from(authority.identity().key_der()).unwrap()
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}
