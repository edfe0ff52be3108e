//! Explanations of attestation in words: what the device presented, which enrollments were considered, and the rule that decided.

use std::{fmt::Display, sync::Arc};

use certpath::Sha256Thumbprint;
use model::{
    Admission, Certificate, ConsideredEnrollment, EnrollmentRef, Explanation, Fit, KeySlot, KeyUse, PeerText,
    ProvisioningStatus, RefusalReason,
};
use rustls_pki_types::CertificateDer;

use super::{AttestationTrace, Considered, Evidence, Proof, trace::MAX_REFUSING};

/// The most enrollments in an explanation. A device with a token is compared with every symmetric-key group.
const MAX_CONSIDERED: usize = MAX_REFUSING + 1;

/// Why no group was considered besides an individual enrollment that refuses.
const DECIDES_ALONE: &str =
    "an individual enrollment alone decides about its registration ID, so no enrollment group was considered";

/// Explains the outcome for a device's evidence, without any secret.
pub(crate) fn explanation(trace: &AttestationTrace, evidence: &Evidence) -> Explanation {
    let is_shown = |(at, one): &(usize, &Considered)| *at < MAX_REFUSING || one.verdict.is_ok();
    let shown = trace.considered.iter().enumerate().filter(is_shown);
    let key = key(trace);
    let considered: Vec<_> = shown.map(|(_, one)| considered(one, key)).take(MAX_CONSIDERED).collect();
    Explanation {
        presented: presented(evidence),
        omitted: trace.omitted + trace.considered.len() - considered.len(),
        considered,
        unfit: trace.unfit.iter().map(line).collect(),
        outcome: outcome(trace),
    }
}

/// Explains a refusal that was made before any enrollment was considered.
pub(crate) fn early_explanation(
    certificates: &Arc<[CertificateDer<'static>]>,
    (code, reason): (RefusalReason, &str),
) -> Explanation {
    let evidence = Evidence { certificates: Arc::clone(certificates), ..Evidence::default() };
    Explanation {
        presented: presented(&evidence),
        considered: Vec::new(),
        omitted: 0,
        unfit: Vec::new(),
        outcome: Admission::Refused { reason: line(reason), code: Some(code) },
    }
}

fn outcome(trace: &AttestationTrace) -> Admission {
    match &trace.outcome {
        Ok(Proof::Attested(attested)) => match attested.settings().provisioning_status {
            ProvisioningStatus::Enabled => Admission::Admitted(attested.enrollment()),
            ProvisioningStatus::Disabled => Admission::Disabled(attested.enrollment()),
        },
        Ok(Proof::Challenge(_)) => Admission::Challenged,
        Err(refusal) => Admission::Refused { reason: line(refusal), code: Some(refusal.reason()) },
    }
}

/// Returns the enrollment key that the device used, if it was admitted by one.
fn key(trace: &AttestationTrace) -> Option<KeySlot> {
    match &trace.outcome {
        Ok(Proof::Attested(attested)) => attested.key().map(KeyUse::slot),
        Ok(Proof::Challenge(_)) | Err(_) => None,
    }
}

fn considered(one: &Considered, key: Option<KeySlot>) -> ConsideredEnrollment {
    let enrollment: EnrollmentRef = one.enrollment.clone();
    let fit = match &one.verdict {
        Ok(path) => Fit::Fits { path: path.iter().map(|der| subject(der)).collect(), key },
        Err(refusal) if one.enrollment == EnrollmentRef::Individual => {
            Fit::Refuses { reason: format!("{}; {DECIDES_ALONE}", line(refusal)) }
        }
        Err(refusal) => Fit::Refuses { reason: line(refusal) },
    };
    ConsideredEnrollment { enrollment, fit }
}

fn subject(der: &[u8]) -> String {
    let name = |certificate: Certificate| line(&certificate.info().subject_name);
    Certificate::from_der(der).map_or_else(|_| "a certificate that cannot be read".into(), name)
}

fn presented(evidence: &Evidence) -> Vec<String> {
    let claim = evidence.claim.iter().map(|claim| {
        line(&format!(
            "a SAS token for {}, accepted until {} (clock skew included)",
            claim.resource, claim.expires
        ))
    });
    let certificates = evidence.certificates.iter().take(MAX_CONSIDERED).enumerate();
    let tpm = evidence.tpm.iter().map(|tpm| {
        let digest = Sha256Thumbprint::of(tpm.endorsement_key.as_bytes());
        format!("a TPM whose endorsement key has the SHA-256 {digest}")
    });
    let certificates = certificates.map(|(at, der)| line(&certificate(at, der)));
    claim.chain(certificates).chain(tpm).collect()
}

fn certificate(at: usize, der: &[u8]) -> String {
    let name = if at == 0 { "certificate 1, the leaf".into() } else { format!("certificate {}", at + 1) };
    match Certificate::from_der(der) {
        Err(error) => format!("{name}: {error}"),
        Ok(certificate) => {
            let info = certificate.info();
            format!(
                "{name}: {}, issued by {}, valid from {} until {}, serial {}, SHA-256 {}",
                info.subject_name,
                info.issuer_name,
                info.not_before,
                info.not_after,
                info.serial_number,
                info.sha256_thumbprint,
            )
        }
    }
}

/// Returns one line of bounded length without control characters, as a peer may have written the text.
fn line(text: &(impl Display + ?Sized)) -> String {
    PeerText::new(text, PeerText::MAX_BYTES).into_string()
}

#[cfg(test)]
mod tests {
    use testkit::{ca::Authority, sample};

    use super::*;
    use crate::attest::Refusal;

    #[test]
    fn the_first_refusals_are_shown_and_the_enrollment_that_fits_wherever_it_is() {
        for (groups, fits, shown) in [
            (0, None, 0),
            (MAX_REFUSING, None, MAX_REFUSING),
            (MAX_REFUSING + 1, None, MAX_REFUSING),
            (MAX_REFUSING + 1, Some(MAX_REFUSING), MAX_CONSIDERED),
            (30, Some(25), MAX_CONSIDERED),
            (30, Some(3), MAX_REFUSING),
        ] {
            let one = |at| Considered {
                enrollment: EnrollmentRef::Group(sample::group_id(&format!("group-{at}"))),
                verdict: if fits == Some(at) { Ok(Vec::new()) } else { Err(Refusal::NoToken) },
            };
            let refused = AttestationTrace::without_candidates(Refusal::NoEnrollment);
            let trace =
                AttestationTrace { considered: (0..groups).map(one).collect(), omitted: 5, ..refused };
            let explained = explanation(&trace, &Evidence::default());
            assert_eq!(explained.considered.len(), shown, "{groups} {fits:?}");
            assert_eq!(explained.omitted, 5 + groups - shown, "{groups} {fits:?}");
            let is_fit = |one: &&ConsideredEnrollment| matches!(one.fit, Fit::Fits { .. });
            let fitting: Vec<_> =
                explained.considered.iter().filter(is_fit).map(|it| &it.enrollment).collect();
            let expected: Vec<_> = fits.map(|at| one(at).enrollment).into_iter().collect();
            assert_eq!(fitting, expected.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_early_explanation_names_the_certificates_that_were_presented() {
        let ca = Authority::root("Factory");
        let chain = ca.chain_of(&ca.device("dev-1"));
        let certificates: Arc<[_]> = chain.into_iter().map(CertificateDer::from).collect();
        let explained = early_explanation(&certificates, (RefusalReason::Login, "no\nlonger"));
        let [leaf, root] = explained.presented.as_slice() else { panic!("{:?}", explained.presented) };
        assert!(leaf.starts_with("certificate 1, the leaf: CN=dev-1, issued by CN=Factory"), "{leaf}");
        assert!(root.starts_with("certificate 2: CN=Factory"), "{root}");
        assert!(matches!(explained.outcome, Admission::Refused { reason, .. } if !reason.contains('\n')));
    }
}
