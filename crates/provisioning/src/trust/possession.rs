//! Proof of possession: a certificate that the CA's key issued for a code which it cannot have known before.

use model::{Certificate, CommonName, Timestamp, VerificationCode, common_name, is_same_name};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::attest::x509::is_signed_by;

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PossessionRefusal {
    /// Nobody asked for a code, or it was used.
    #[error("there is no verification code to prove: generate one first")]
    NoCode,
    /// It cannot be read.
    #[error("the verification certificate cannot be read")]
    Unreadable,
    /// It names another CA.
    #[error("the verification certificate was issued by {found}, not by {expected}")]
    OtherIssuer {
        /// Its issuer.
        found: String,
        /// The CA's subject.
        expected: String,
    },
    /// It bears another name.
    #[error("the verification certificate's common name is {found:?}, not the verification code {expected}")]
    OtherName {
        /// Its common name.
        found: String,
        /// The code.
        expected: VerificationCode,
    },
    /// Its time has not come, or is over.
    #[error("the verification certificate is valid from {from} to {until}, which is not now")]
    NotInTime {
        /// Its first moment.
        from: Timestamp,
        /// Its last.
        until: Timestamp,
    },
    /// Another key signed it.
    #[error("the verification certificate is not signed by the CA's key")]
    Signature,
}

/// Whether `proof` shows that whoever has it holds the key of `ca`. Usages do not matter.
pub(super) fn proves(
    ca: &Certificate,
    code: Option<&VerificationCode>,
    proof: &Certificate,
    now: Timestamp,
) -> Result<(), PossessionRefusal> {
    let code = code.ok_or(PossessionRefusal::NoCode)?;
    let (ca_parsed, parsed) = (parsed(ca)?, parsed(proof)?);
    if !is_same_name(parsed.issuer().as_raw(), ca.subject()) {
        let (found, expected) = (proof.info().issuer_name.clone(), ca.info().subject_name.clone());
        return Err(PossessionRefusal::OtherIssuer { found, expected });
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
    if is_signed_by(&parsed, &ca_parsed) { Ok(()) } else { Err(PossessionRefusal::Signature) }
}

fn parsed(certificate: &Certificate) -> Result<X509Certificate<'_>, PossessionRefusal> {
    let parsed = X509Certificate::from_der(certificate.der());
    parsed.map(|(_, certificate)| certificate).map_err(|_| PossessionRefusal::Unreadable)
}
