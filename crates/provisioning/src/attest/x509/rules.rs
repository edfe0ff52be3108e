//! Every rule that a certificate must meet, in one place.
//!
//! Devices in the field carry untidy certificates, so the rules are those that security needs and no more:
//! - extended key usage is not looked at, on no certificate: many devices' leaves lack clientAuth, and the hosted
//!   service does not ask for it;
//! - a CA may lack basicConstraints and keyUsage (test CAs and X.509 v1 roots do), but what it has must allow signing;
//! - a leaf may be a CA certificate: whether it may sign others does not matter here;
//! - dates are enforced on every certificate of the path, the group's own included;
//! - an extension that is critical and not known here refuses the certificate; so do name constraints, critical or not,
//!   because to overlook them would let a CA issue for devices that it must not.

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use super::CertificateRefusal;
use crate::attest::Claimant;
use model::{RegistrationId, Timestamp};

/// A rule that a certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// Its time has not come.
    #[error("is not valid before {0}")]
    NotYetValid(Timestamp),
    /// Its time is over.
    #[error("expired at {0}")]
    Expired(Timestamp),
    /// It must be understood and is not.
    #[error("has the critical extension {0}, which is not known here")]
    CriticalExtension(String),
    /// It may issue for some names only.
    #[error("has name constraints, which are not supported here")]
    NameConstraints,
    /// Extensions are malformed.
    #[error("has an extension that cannot be read or stands twice")]
    BadExtension,
    /// basicConstraints say it is no CA.
    #[error("issued a certificate but is no CA (basicConstraints CA:FALSE)")]
    NotCa,
    /// keyUsage forbids signing.
    #[error("issued a certificate but its key usage lacks keyCertSign")]
    NoCertSign,
    /// pathLenConstraint is exceeded.
    #[error("allows {allowed} certificates between itself and the leaf, and there are {found}")]
    PathTooLong {
        /// What it allows.
        allowed: u32,
        /// What there is.
        found: u32,
    },
    /// The signature is not by the issuer, or by an algorithm that is not taken.
    #[error(
        "is not signed by its issuer's key with RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519 over SHA-256 or better"
    )]
    Signature,
}

/// The rules for a leaf: its dates, its extensions, and that it bears the device's name.
pub(super) fn leaf(leaf: &X509Certificate<'_>, claimant: &Claimant<'_>) -> Result<(), CertificateRefusal> {
    every_certificate(leaf, claimant.now)?;
    names(leaf, claimant.registration_id)
}

/// The rules for a certificate that issued another, with `below` issuers between it and the leaf.
pub(super) fn issuer(
    issuer: &X509Certificate<'_>,
    below: u32,
    now: Timestamp,
) -> Result<(), CertificateRefusal> {
    every_certificate(issuer, now)?;
    may_issue(issuer, below).map_err(|rule| broken(issuer, rule))
}

/// A broken rule with the name of the certificate that breaks it.
pub(super) fn broken(certificate: &X509Certificate<'_>, rule: BrokenRule) -> CertificateRefusal {
    CertificateRefusal::Rule { subject: certificate.subject().to_string(), rule }
}

fn every_certificate(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), CertificateRefusal> {
    in_time(certificate, now).and_then(|()| understood(certificate)).map_err(|rule| broken(certificate, rule))
}

fn in_time(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), BrokenRule> {
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if now.unix_seconds() < from {
        return Err(BrokenRule::NotYetValid(Timestamp::from_unix_seconds(from)));
    }
    if now.unix_seconds() > until {
        return Err(BrokenRule::Expired(Timestamp::from_unix_seconds(until)));
    }
    Ok(())
}

fn understood(certificate: &X509Certificate<'_>) -> Result<(), BrokenRule> {
    certificate.extensions_map().map_err(|_| BrokenRule::BadExtension)?;
    for extension in certificate.extensions() {
        let known = match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => return Err(BrokenRule::BadExtension),
            ParsedExtension::NameConstraints(_) => return Err(BrokenRule::NameConstraints),
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::CertificatePolicies(_) => true,
            _ => false,
        };
        if extension.critical && !known {
            return Err(BrokenRule::CriticalExtension(extension.oid.to_id_string()));
        }
    }
    Ok(())
}

fn may_issue(issuer: &X509Certificate<'_>, below: u32) -> Result<(), BrokenRule> {
    if let Ok(Some(constraints)) = issuer.basic_constraints() {
        if !constraints.value.ca {
            return Err(BrokenRule::NotCa);
        }
        if let Some(allowed) = constraints.value.path_len_constraint.filter(|allowed| *allowed < below) {
            return Err(BrokenRule::PathTooLong { allowed, found: below });
        }
    }
    match issuer.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Err(BrokenRule::NoCertSign),
        _ => Ok(()),
    }
}

/// The leaf's common name must be the registration ID, in any case. The first DNS name among its alternative names will
/// do, because the C# SDK takes its registration ID from there; no other one will, so that a name which many devices
/// share is nobody's.
fn names(leaf: &X509Certificate<'_>, registration_id: &RegistrationId) -> Result<(), CertificateRefusal> {
    let same = |text: &str| text.eq_ignore_ascii_case(registration_id.as_str());
    let common_name = leaf.subject().iter_common_name().last().and_then(|name| name.as_str().ok());
    if common_name.is_some_and(same) || first_dns_name(leaf).is_some_and(same) {
        return Ok(());
    }
    Err(CertificateRefusal::OtherName(common_name.unwrap_or_default().to_owned()))
}

fn first_dns_name<'a>(leaf: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = leaf.subject_alternative_name().ok().flatten()?;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
}
