//! Proof of possession: a certificate that the CA's key issued for a verification code, which is random.

use certpath::{CommonName, common_name, is_same_name, is_signed_by};
use model::{CaCertificate, Certificate, Timestamp, VerificationCode};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// Why a certificate does not prove possession.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PossessionRefusal {
    /// No code was requested, or it was used.
    #[error("there is no verification code to prove: generate one first")]
    NoCode,
    /// It cannot be read.
    #[error("the verification certificate cannot be read")]
    Unreadable,
    /// Another CA issued it.
    #[error("the verification certificate was issued by {found}, not by {expected}")]
    OtherIssuer {
        /// Its issuer.
        found: String,
        /// The CA's subject.
        expected: String,
    },
    /// Its common name is not the code.
    #[error("the verification certificate's common name is {found:?}, not the verification code {expected}")]
    OtherName {
        /// Its common name.
        found: String,
        /// The code.
        expected: VerificationCode,
    },
    /// It is not valid yet, or has expired.
    #[error("the verification certificate is valid from {from} to {until}, which is not now")]
    NotInTime {
        /// The start of its validity.
        from: Timestamp,
        /// The end of its validity.
        until: Timestamp,
    },
    /// Another key signed it.
    #[error("the verification certificate is not signed by the CA's key")]
    Signature,
}

/// Proof that the owner of a CA certificate holds its key.
pub(super) struct Possession(());

impl Possession {
    /// Checks a certificate that the key of `ca` must have issued for the verification code. Usages do not matter.
    pub(super) fn prove(
        ca: &CaCertificate,
        proof: &Certificate,
        now: Timestamp,
    ) -> Result<Self, PossessionRefusal> {
        let code = ca.verification_code.as_ref().ok_or(PossessionRefusal::NoCode)?;
        let (ca_parsed, parsed) = (parsed(&ca.certificate)?, parsed(proof)?);
        if !is_same_name(parsed.issuer().as_raw(), ca.certificate.subject()) {
            let expected = ca.certificate.info().subject_name.clone();
            return Err(PossessionRefusal::OtherIssuer { found: proof.info().issuer_name.clone(), expected });
        }
        let found = match common_name(parsed.subject()) {
            Some(CommonName::Text(text)) => text,
            Some(CommonName::Unreadable) | None => String::new(),
        };
        if found != code.as_str() {
            return Err(PossessionRefusal::OtherName { found, expected: code.clone() });
        }
        let (from, until) = (proof.info().not_before, proof.info().not_after);
        if now < from || until < now {
            return Err(PossessionRefusal::NotInTime { from, until });
        }
        if is_signed_by(&parsed, &ca_parsed) { Ok(Possession(())) } else { Err(PossessionRefusal::Signature) }
    }

    /// Returns the CA certificate as verified; its code is used up.
    pub(super) fn verify(self, ca: CaCertificate) -> CaCertificate {
        CaCertificate { is_verified: true, verification_code: None, ..ca }
    }
}

fn parsed(certificate: &Certificate) -> Result<X509Certificate<'_>, PossessionRefusal> {
    let parsed = X509Certificate::from_der(certificate.der());
    parsed.map(|(_, certificate)| certificate).map_err(|_| PossessionRefusal::Unreadable)
}
