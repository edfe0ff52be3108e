//! Why certificates lead to no trust anchor.

use x509_parser::certificate::X509Certificate;

use crate::{BrokenRule, ListGap, Time, name_text, rules};

/// Why no path from a leaf to a trust anchor passes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A presented certificate, counted from 0, cannot be read.
    #[error("certificate {0} of those presented cannot be read")]
    Unreadable(usize),
    /// A certificate breaks a rule.
    #[error("{subject}: {rule}")]
    Rule {
        /// The subject of the certificate.
        subject: String,
        /// The rule.
        rule: BrokenRule,
    },
    /// The certificates issue each other in more ways than are tried.
    #[error("the certificates presented issue each other in too many ways")]
    TooTangled,
    /// No trusted certificate and no presented one bears the issuer's name.
    #[error(transparent)]
    MissingIssuer(MissingIssuer),
    /// The owner of the nearest anchor does not accept this leaf; the text is the owner's reason.
    #[error("{0}")]
    NotAdmitted(String),
    /// A certificate is blocked.
    #[error("{subject} is blocked: {reason}")]
    Blocked {
        /// The subject of the certificate.
        subject: String,
        /// The operator's reason.
        reason: String,
    },
    /// A CA revoked a certificate.
    #[error("{subject} was revoked by the CA {by} at {at} ({reason})")]
    Revoked {
        /// The subject of the certificate.
        subject: String,
        /// The name under which the CA certificate is stored.
        by: String,
        /// The date of the revocation.
        at: Time,
        /// The reason, as RFC 5280 spells it.
        reason: &'static str,
    },
    /// The stored lists of a CA do not cover a certificate, and it must be covered.
    #[error("no fresh revocation list of the CA {ca} covers {subject}, and its policy is hard: {gap}")]
    Uncovered {
        /// The name under which the CA certificate is stored.
        ca: String,
        /// The subject of the certificate.
        subject: String,
        /// Why the lists do not cover it.
        gap: ListGap,
    },
}

/// A certificate whose issuer was neither sent nor stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no certificate that is trusted here, and none that was sent, issued {subject}; missing is {issuer}{}",
    key_text(.key_id.as_deref())
)]
pub struct MissingIssuer {
    /// The certificate's subject.
    pub subject: String,
    /// The issuer's name.
    pub issuer: String,
    /// The identifier of the issuer's key in hex, if the certificate has it.
    pub key_id: Option<String>,
}

fn key_text(key_id: Option<&str>) -> String {
    key_id.map(|key_id| format!(" (key identifier {key_id})")).unwrap_or_default()
}

impl PathError {
    pub(crate) fn of_rule(certificate: &X509Certificate<'_>, rule: BrokenRule) -> Self {
        PathError::Rule { subject: name_text(certificate.subject()), rule }
    }

    /// Describes a certificate, in DER, at which a search ends because its issuer is missing.
    pub(crate) fn missing_issuer_of(der: &[u8]) -> Self {
        match rules::parse(der) {
            None => PathError::Unreadable(0),
            Some(certificate) => PathError::MissingIssuer(MissingIssuer {
                subject: name_text(certificate.subject()),
                issuer: name_text(certificate.issuer()),
                key_id: rules::authority_key_id(&certificate),
            }),
        }
    }

    /// Returns whether a block or a revocation list refuses, and not a rule about certificates.
    pub fn is_by_operator(&self) -> bool {
        matches!(self, PathError::Blocked { .. } | PathError::Revoked { .. } | PathError::Uncovered { .. })
    }

    /// Returns whether no trusted key was found to have signed anything on the path up from the leaf.
    pub fn is_unproven(&self) -> bool {
        match self {
            PathError::MissingIssuer(_) | PathError::TooTangled => true,
            PathError::Rule { rule, .. } => matches!(rule, BrokenRule::Signature | BrokenRule::Algorithm),
            _ => false,
        }
    }
}
