//! Every rule that a single certificate must meet, in one place; what binds several of a path is in [`super::names`] and
//! [`super::path`].
//!
//! They are those of RFC 5280, but for what devices in the field need; `docs/certificate-rules.md` lists each leniency with
//! its reason.

use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension, X509Extension},
    oid_registry::{
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME,
    },
};

use super::{
    CertificateRefusal,
    names::{self, DeviceName},
    signature,
};
use crate::attest::Claimant;
use model::{RegistrationId, Timestamp, name_text};

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
    /// Extensions are malformed.
    #[error("has an extension that cannot be read or stands twice")]
    BadExtension,
    /// It is not exact DER outside of what is signed, names another algorithm there, or has more in it than can be read.
    #[error("is not exact DER, or has bytes where none belong")]
    StrayBytes,
    /// Its key is of another kind or size than are taken.
    #[error("has a key that is not RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519")]
    WeakKey,
    /// A CA has no name.
    #[error("issued a certificate but has no name")]
    Nameless,
    /// basicConstraints say it is no CA.
    #[error("issued a certificate but is no CA (basicConstraints CA:FALSE)")]
    NotCa,
    /// Without basicConstraints, only a certificate that an operator has entered is taken for a CA.
    #[error("issued a certificate but does not say that it is a CA (it has no basicConstraints)")]
    NotKnownAsCa,
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
    /// Name constraints are malformed, or of a form that is not supported and that matters.
    #[error("has name constraints that cannot be read or are not supported here")]
    NameConstraints,
    /// Name constraints stand where no CA is.
    #[error("has name constraints but is no CA")]
    ConstrainedLeaf,
    /// It may not issue for a name that stands below it.
    #[error("may not issue for {0}, by its name constraints")]
    ForbiddenName(String),
    /// It is for something else.
    #[error("is not for {0}, by its key usage or extended key usage")]
    OtherPurpose(Purpose),
    /// The signature is not by the issuer.
    #[error("is not signed by its issuer's key")]
    Signature,
    /// The signature is by an algorithm that is not taken.
    #[error(
        "is signed by an algorithm that is not taken, or that is for another kind of key than its issuer's: taken are RSA \
         (2048 bits or more), ECDSA (P-256, P-384, P-521) and Ed25519 over SHA-256 or better"
    )]
    Algorithm,
}

/// What a certificate is used for. Registrations do not ask: many devices' leaves do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Client authentication in TLS.
    Client,
    /// Server authentication in TLS.
    Server,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Purpose::Client => "client authentication",
            Purpose::Server => "server authentication",
        })
    }
}

/// Who vouches for a certificate that issued another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The device alone, which sent it along.
    Sent,
    /// An operator, who entered it as a CA.
    Entered,
}

/// The rules for a device's leaf: those for any, and that it bears the device's name.
pub(super) fn device_leaf(
    certificate: &X509Certificate<'_>,
    claimant: &Claimant<'_>,
) -> Result<(), CertificateRefusal> {
    leaf(certificate, claimant.now)?;
    bears_name(certificate, claimant.registration_id)
}

/// The rules for any leaf: its dates, its extensions, its key.
pub(super) fn leaf(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), CertificateRefusal> {
    every_certificate(certificate, now)?;
    let is_constrained = !is_ca(certificate) && names::stand_in(certificate);
    if is_constrained { Err(broken(certificate, BrokenRule::ConstrainedLeaf)) } else { Ok(()) }
}

/// The rules for a certificate that issued another, with `below` issuers between it and the leaf, not counting those
/// that issued themselves.
pub(super) fn issuer(
    issuer: &X509Certificate<'_>,
    (source, below): (Source, u32),
    now: Timestamp,
) -> Result<(), CertificateRefusal> {
    every_certificate(issuer, now)?;
    may_issue(issuer, source, below).map_err(|rule| broken(issuer, rule))
}

/// The identifier of the issuer's key in hex, if the certificate names it (RFC 5280 §4.2.1.1).
pub(super) fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let key_id =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(key_id_text(key_id.0))
}

/// The identifier of its own key in hex, if the certificate has it (RFC 5280 §4.2.1.2).
pub(super) fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<String> {
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

/// A broken rule with the name of the certificate that breaks it.
pub(super) fn broken(certificate: &X509Certificate<'_>, rule: BrokenRule) -> CertificateRefusal {
    CertificateRefusal::Rule { subject: name_text(certificate.subject()), rule }
}

/// Whether the certificate's usages, where it has any, allow this purpose (RFC 5280 §4.2.1.3, §4.2.1.12). That of an
/// issuer limits those below, as TLS libraries read it.
pub(super) fn serves(
    certificate: &X509Certificate<'_>,
    purpose: Purpose,
    is_leaf: bool,
) -> Result<(), CertificateRefusal> {
    let extended = certificate.extended_key_usage().ok().flatten();
    let is_meant = extended.is_none_or(|usage| is_for(usage.value, purpose));
    let usage = certificate.key_usage().ok().flatten();
    let may_sign = !is_leaf || usage.is_none_or(|usage| usage.value.digital_signature());
    if is_meant && may_sign { Ok(()) } else { Err(broken(certificate, BrokenRule::OtherPurpose(purpose))) }
}

fn is_for(usage: &ExtendedKeyUsage<'_>, purpose: Purpose) -> bool {
    usage.any
        || match purpose {
            Purpose::Client => usage.client_auth,
            Purpose::Server => usage.server_auth,
        }
}

fn every_certificate(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), CertificateRefusal> {
    in_time(certificate, now)
        .and_then(|()| understood(certificate))
        .and_then(|()| if signature::is_strong(certificate) { Ok(()) } else { Err(BrokenRule::WeakKey) })
        .map_err(|rule| broken(certificate, rule))
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

/// Policies are known in that no policy is asked for: what constrains them constrains nothing, as in OpenSSL unless it is told
/// to check policies. Distribution points are known in that the lists of an instance are matched with them.
fn understood(certificate: &X509Certificate<'_>) -> Result<(), BrokenRule> {
    if !signature::is_read_whole(certificate) {
        return Err(BrokenRule::StrayBytes);
    }
    certificate.extensions_map().map_err(|_| BrokenRule::BadExtension)?;
    for extension in certificate.extensions() {
        if is_garbled(extension) && (extension.critical || is_used(extension)) {
            return Err(BrokenRule::BadExtension);
        }
        if extension.critical && !is_known(extension) {
            return Err(BrokenRule::CriticalExtension(extension.oid.to_id_string()));
        }
    }
    Ok(())
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

/// Whether a rule asks for what the extension says. Others may hold anything as long as they are not critical.
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

/// Of names or usages, there is at least one where the extension stands.
const EMPTY_SEQUENCE: &[u8] = &[0x30, 0x00];

/// Whether it says that it is a CA.
pub(super) fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
}

/// A certificate without basicConstraints may be any device's leaf, so its word alone does not make it a CA
/// (RFC 5280 §6.1.4 k).
fn may_issue(issuer: &X509Certificate<'_>, source: Source, below: u32) -> Result<(), BrokenRule> {
    if issuer.subject().iter_rdn().next().is_none() {
        return Err(BrokenRule::Nameless);
    }
    match issuer.basic_constraints() {
        Ok(Some(constraints)) if !constraints.value.ca => return Err(BrokenRule::NotCa),
        Ok(Some(constraints)) => {
            if let Some(allowed) = constraints.value.path_len_constraint.filter(|allowed| *allowed < below) {
                return Err(BrokenRule::PathTooLong { allowed, found: below });
            }
        }
        _ if source == Source::Sent => return Err(BrokenRule::NotKnownAsCa),
        _ => {}
    }
    match issuer.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Err(BrokenRule::NoCertSign),
        _ => Ok(()),
    }
}

/// The leaf's common name must be the registration ID, in any case. A DNS name counts only where there is no common name:
/// two names would make one certificate two devices.
pub(super) fn bears_name(
    leaf: &X509Certificate<'_>,
    registration_id: &RegistrationId,
) -> Result<(), CertificateRefusal> {
    let same = |text: &str| text.eq_ignore_ascii_case(registration_id.as_str());
    match names::device_name(leaf) {
        DeviceName::Common(name) | DeviceName::Dns(name) if same(&name) => Ok(()),
        DeviceName::Common(name) => Err(CertificateRefusal::OtherName(name)),
        DeviceName::Dns(name) => Err(CertificateRefusal::OtherDnsName(name)),
        DeviceName::None => Err(CertificateRefusal::OtherName(String::new())),
    }
}
