//! Certificates as operators upload them, and chains as devices present them.

use std::sync::Arc;

use certpath::{CertificateParts, CrlMaxAge, Question, verify};
use model::{Certificate, ChainTooLong, EnrollmentGroup, EnrollmentRef, RegistrationId, Trust};
use provisioning::{
    attest::{
        self, Claimant, Evidence, Proof,
        x509::{CaRules, parse_chain},
    },
    ports::Clock,
};
use rustls::pki_types::CertificateDer;
use testkit::{clock::SteppedClock, sample};

/// The registration ID in the leaves of the seeds.
pub const DEVICE: &str = "dev-1";

/// Reads bytes as DER and as text. A certificate that is read is equal when it is read again from its DER or its stored form.
pub fn run_certificate(input: &[u8]) {
    let parsed = [
        Certificate::from_der(input).ok(),
        str::from_utf8(input).ok().and_then(|text| Certificate::parse(text).ok()),
    ];
    for certificate in parsed.into_iter().flatten() {
        assert_eq!(Certificate::from_der(certificate.der()).as_ref(), Ok(&certificate));
        let stored = serde_json::to_string(&certificate).expect("a certificate can be stored");
        assert_eq!(serde_json::from_str::<Certificate>(&stored).expect("and read"), certificate);
        let _ = certificate.info().not_after.to_string();
    }
}

/// Attests a chain: certificates in [`framed`] form, the last one an enrollment group's, the others from a device. An admitted
/// device is one of that group, by a path from its leaf that `certpath` finds on its own, too.
pub fn run_chain(input: &[u8]) {
    let mut certificates = unframed(input);
    let Some(anchor) = certificates.pop() else { return };
    let presented: Arc<[CertificateDer<'static>]> =
        certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let Ok(chain) = parse_chain(&presented) else { return };
    assert!((1..=ChainTooLong::MAX_CERTIFICATES).contains(&presented.len()));
    assert_eq!(chain.issuers().len(), presented.len());
    let registration_id = RegistrationId::parse(DEVICE).expect("it is one");
    let evidence = Evidence { certificates: Arc::clone(&presented), ..Evidence::default() };
    let scope = sample::scope("0ne00000001");
    let now = SteppedClock::default().now();
    let known = Arc::new(Trust::default());
    let claimant = Claimant {
        scope: &scope,
        registration_id: &registration_id,
        evidence: &evidence,
        tpm: None,
        ca: CaRules { known: &known, require_verified: false, crl_max_age: CrlMaxAge::default() },
        now,
    };
    let groups: Vec<Arc<EnrollmentGroup>> = Certificate::from_der(&anchor)
        .iter()
        .map(|anchor| Arc::new(sample::signing_group("factory", anchor, None)))
        .collect();
    let trace = attest::x509_group(&groups, &chain, None, &claimant);
    match trace.outcome {
        Ok(attested) => {
            let Proof::Attested(attested) = attested else { panic!("a certificate is no TPM") };
            assert!(!groups.is_empty() && attested.enrollment() != EnrollmentRef::Individual);
            let paths = trace.considered.iter().filter_map(|considered| considered.verdict.as_ref().ok());
            let path = paths.last().expect("the path to the group is in the trace");
            assert_eq!((&path[0][..], &path[path.len() - 1][..]), (&presented[0][..], &anchor[..]));
            let anchors: Vec<_> = CertificateParts::read(&anchor).into_iter().collect();
            let question = Question { at: now.into(), purpose: None };
            assert_eq!(verify(&chain, &anchors, question).as_ref(), Ok(path));
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            assert!(trace.considered.iter().all(|considered| considered.verdict.is_err()));
        }
    }
}

/// Concatenates certificates with two bytes of length before each.
pub fn framed(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for certificate in certificates {
        let length = u16::try_from(certificate.len()).expect("certificates are short");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(certificate);
    }
    bytes
}

/// Splits concatenated certificates; a last one that is cut off counts as it is.
pub fn unframed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut certificates = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (certificate, rest) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes(*length))));
        certificates.push(certificate.to_vec());
        bytes = rest;
    }
    certificates
}
