//! Every rule that a single certificate must meet. Rules about several certificates of a path are in [`crate::names`] and
//! [`crate::path`].
//!
//! They are those of RFC 5280, but for what devices in the field need; `docs/certificate-rules.md` lists each leniency with
//! its reason.

use std::fmt;

use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension, X509Extension},
    oid_registry::{
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME,
    },
    prelude::FromDer,
};

use crate::{CertificateParts, PathError, Time, names, signature};

/// The DER of a sequence of nothing. Where the extension is present, there is at least one name or usage.
const EMPTY_SEQUENCE: &[u8] = &[0x30, 0x00];

/// A rule that a certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// It is not valid yet.
    #[error("is not valid before {0}")]
    NotYetValid(Time),
    /// It has expired.
    #[error("expired at {0}")]
    Expired(Time),
    /// It has a critical extension that is not known.
    #[error("has the critical extension {0}, which is not supported")]
    CriticalExtension(String),
    /// An extension is malformed or present twice.
    #[error("has an extension that cannot be read or is present twice")]
    BadExtension,
    /// It is not exact DER outside of the signed part, names another algorithm there, or has more in it than can be read.
    #[error("is not exact DER, or has extra bytes")]
    StrayBytes,
    /// The kind or size of its key is not accepted.
    #[error("has a key that is not RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519")]
    WeakKey,
    /// A CA has an empty subject.
    #[error("issued a certificate but has no name")]
    Nameless,
    /// Its basicConstraints say that it is not a CA.
    #[error("issued a certificate but is not a CA (basicConstraints CA:FALSE)")]
    NotCa,
    /// It has no basicConstraints, and was sent: only a stored certificate is accepted as a CA without them.
    #[error("issued a certificate but does not say that it is a CA (it has no basicConstraints)")]
    NotKnownAsCa,
    /// Its keyUsage does not allow signing certificates.
    #[error("issued a certificate but its key usage lacks keyCertSign")]
    NoCertSign,
    /// Its pathLenConstraint is exceeded.
    #[error("allows {allowed} certificates between itself and the leaf, and there are {found}")]
    PathTooLong {
        /// The number that it allows.
        allowed: u32,
        /// The number in the path.
        found: u32,
    },
    /// Its name constraints are malformed, or of a form that is not supported and that a name below has.
    #[error("has name constraints that cannot be read or are not supported here")]
    NameConstraints,
    /// It has name constraints and is not a CA.
    #[error("has name constraints but is not a CA")]
    ConstrainedLeaf,
    /// It may not issue for a name of a certificate below it.
    #[error("may not issue for {0}, by its name constraints")]
    ForbiddenName(String),
    /// Its usages do not allow the purpose.
    #[error("is not for {0}, by its key usage or extended key usage")]
    OtherPurpose(Purpose),
    /// Its signature is not by the issuer's key.
    #[error("is not signed by its issuer's key")]
    Signature,
    /// The algorithm of its signature is not accepted.
    #[error(
        "is signed by an algorithm that is not accepted, or that is for another kind of key than its issuer's: accepted are RSA \
         (2048 bits or more), ECDSA (P-256, P-384, P-521) and Ed25519 over SHA-256 or better"
    )]
    Algorithm,
}

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Client authentication in TLS.
    Client,
    /// Server authentication in TLS.
    Server,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Client => "client authentication",
            Purpose::Server => "server authentication",
        })
    }
}

/// Who vouches for a certificate that issued another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Only the peer, which sent it along.
    Sent,
    /// An operator, who stored it as a CA.
    Stored,
}

/// Checks the rules for a leaf: its dates, its extensions, its key. Returns its parts.
pub(crate) fn check_leaf<'s>(
    certificate: &X509Certificate<'s>,
    now: Time,
) -> Result<CertificateParts<'s>, PathError> {
    let parts = check_any(certificate, now)?;
    let is_constrained = !is_ca(certificate) && names::has_constraints(certificate);
    if is_constrained {
        return Err(PathError::of_rule(certificate, BrokenRule::ConstrainedLeaf));
    }
    Ok(parts)
}

/// Checks the rules for a certificate that issued another, with `below` issuers between it and the leaf, not counting
/// self-issued ones. Returns its parts.
pub(crate) fn check_issuer<'s>(
    issuer: &X509Certificate<'s>,
    (source, below): (Source, u32),
    now: Time,
) -> Result<CertificateParts<'s>, PathError> {
    let parts = check_any(issuer, now)?;
    match rule_broken_by_issuer(issuer, source, below) {
        Some(rule) => Err(PathError::of_rule(issuer, rule)),
        None => Ok(parts),
    }
}

/// Parses a certificate; `None` if it cannot be read.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// Returns the identifier of the issuer's key in hex, if the certificate has it (RFC 5280 §4.2.1.1).
pub(crate) fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let key_id =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(key_id_text(key_id.0))
}

/// Returns the identifier of the certificate's own key in hex, if it has it (RFC 5280 §4.2.1.2).
pub(crate) fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let key_id =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id),
            _ => None,
        })?;
    Some(key_id_text(key_id.0))
}

fn key_id_text(key_id: &[u8]) -> String {
    let bytes: Vec<_> = key_id.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Returns whether the certificate's extended key usage, where it has one, allows a purpose (RFC 5280 §4.2.1.12). That of an
/// issuer limits the certificates below, as TLS libraries read it.
pub(crate) fn serves(certificate: &X509Certificate<'_>, purpose: Purpose) -> bool {
    let extended = certificate.extended_key_usage().ok().flatten();
    extended.is_none_or(|usage| is_for(usage.value, purpose))
}

/// Returns whether the certificate's key usage, where it has one, allows signatures (RFC 5280 §4.2.1.3), which every purpose of
/// a leaf needs.
pub(crate) fn may_sign(leaf: &X509Certificate<'_>) -> bool {
    let usage = leaf.key_usage().ok().flatten();
    usage.is_none_or(|usage| usage.value.digital_signature())
}

fn is_for(usage: &ExtendedKeyUsage<'_>, purpose: Purpose) -> bool {
    usage.any
        || match purpose {
            Purpose::Client => usage.client_auth,
            Purpose::Server => usage.server_auth,
        }
}

/// Checks the rules for every certificate. Returns its parts.
fn check_any<'s>(certificate: &X509Certificate<'s>, now: Time) -> Result<CertificateParts<'s>, PathError> {
    let broken = |rule| PathError::of_rule(certificate, rule);
    if let Some(rule) = rule_broken_at(certificate, now) {
        return Err(broken(rule));
    }
    let parts = signature::parts_read_whole(certificate).ok_or_else(|| broken(BrokenRule::StrayBytes))?;
    if let Some(rule) = rule_broken_by_extensions(certificate) {
        return Err(broken(rule));
    }
    if signature::is_strong(certificate) { Ok(parts) } else { Err(broken(BrokenRule::WeakKey)) }
}

fn rule_broken_at(certificate: &X509Certificate<'_>, now: Time) -> Option<BrokenRule> {
    let validity = certificate.validity();
    let (from, until) = (Time::from(validity.not_before), Time::from(validity.not_after));
    if now < from {
        Some(BrokenRule::NotYetValid(from))
    } else if until < now {
        Some(BrokenRule::Expired(until))
    } else {
        None
    }
}

/// Policies are known in that no policy is required: what constrains them constrains nothing, as in OpenSSL unless policy
/// checking is on. Distribution points are known in that stored lists are matched with them.
fn rule_broken_by_extensions(certificate: &X509Certificate<'_>) -> Option<BrokenRule> {
    if certificate.extensions_map().is_err() {
        return Some(BrokenRule::BadExtension);
    }
    certificate.extensions().iter().find_map(|extension| {
        if is_garbled(extension) && (extension.critical || is_used(extension)) {
            Some(BrokenRule::BadExtension)
        } else if extension.critical && !is_known(extension) {
            Some(BrokenRule::CriticalExtension(extension.oid.to_id_string()))
        } else {
            None
        }
    })
}

fn is_garbled(extension: &X509Extension<'_>) -> bool {
    match extension.parsed_extension() {
        ParsedExtension::ParseError { .. } => true,
        ParsedExtension::SubjectAlternativeName(names) => {
            extension.value == EMPTY_SEQUENCE
                || names.general_names.iter().any(|name| matches!(name, GeneralName::Invalid(..)))
        }
        ParsedExtension::ExtendedKeyUsage(_) => extension.value == EMPTY_SEQUENCE,
        _ => false,
    }
}

/// Returns whether a rule reads the extension. Others may hold anything as long as they are not critical.
fn is_used(extension: &X509Extension<'_>) -> bool {
    let used = [
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
        OID_X509_EXT_NAME_CONSTRAINTS,
    ];
    used.contains(&extension.oid)
}

fn is_known(extension: &X509Extension<'_>) -> bool {
    matches!(
        extension.parsed_extension(),
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::NameConstraints(_)
            | ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::PolicyMappings(_)
            | ParsedExtension::PolicyConstraints(_)
            | ParsedExtension::InhibitAnyPolicy(_)
            | ParsedExtension::CRLDistributionPoints(_)
            | ParsedExtension::NSCertType(_)
    )
}

/// Returns whether the basicConstraints say that it is a CA.
pub(crate) fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
}

/// A certificate without basicConstraints may be any device's leaf, so being sent does not make it a CA
/// (RFC 5280 §6.1.4 k).
fn rule_broken_by_issuer(issuer: &X509Certificate<'_>, source: Source, below: u32) -> Option<BrokenRule> {
    if issuer.subject().iter_rdn().next().is_none() {
        return Some(BrokenRule::Nameless);
    }
    match issuer.basic_constraints() {
        Ok(Some(constraints)) if !constraints.value.ca => return Some(BrokenRule::NotCa),
        Ok(Some(constraints)) => {
            if let Some(allowed) = constraints.value.path_len_constraint.filter(|allowed| *allowed < below) {
                return Some(BrokenRule::PathTooLong { allowed, found: below });
            }
        }
        _ if source == Source::Sent => return Some(BrokenRule::NotKnownAsCa),
        _ => {}
    }
    match issuer.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Some(BrokenRule::NoCertSign),
        _ => None,
    }
}
