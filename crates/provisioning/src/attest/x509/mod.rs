//! X.509: the device's leaf is the enrolled one, or chains to a group's signing certificate.
//!
//! The TLS handshake has shown that the device holds the leaf's private key; here it is decided what that is worth.
//! All rules about a certificate are in [`rules`]. Which certificate issued which is found out in `graph`, the way from a leaf
//! to what is trusted in `path`, and whether a block or a revocation refuses it in `refusals`. What an instance knows of CAs
//! comes in through `known`.

mod entry;
mod graph;
pub(super) mod groups;
pub(super) mod known;
mod names;
mod path;
mod pss;
mod refusals;
mod revocation;
pub mod rules;
mod signature;
#[cfg(test)]
mod tests;

pub(crate) use entry::{faults_of_ca, faults_of_leaf};
pub use known::CaRules;
pub use revocation::ListGap;
pub(crate) use revocation::may_sign_lists;
pub(crate) use signature::{is_list_signed_by, is_signed_by};

use model::{
    CaReference, Certificate, CertificateParts, ChainTooLong, CrlMaxAge, Pair, RegistrationId,
    Sha256Thumbprint, Timestamp, Trust, name_text,
};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Claimant, OtherIds, Refusal};
use path::Circumstances;

/// The certificates a device sent, parsed.
#[derive(Debug)]
pub struct PresentedChain<'a> {
    leaf: X509Certificate<'a>,
    /// In the order in which they were sent, which means nothing.
    others: Vec<X509Certificate<'a>>,
    /// Stored CA certificates on the way up from them.
    completing: Vec<CertificateParts<'a>>,
}

/// Why certificates do not prove a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// A certificate cannot be read.
    #[error("certificate {0} of those presented cannot be read")]
    Unreadable(usize),
    /// The chain exceeds what the TLS handshake accepts, so the device cannot connect.
    #[error(transparent)]
    TooLong(#[from] ChainTooLong),
    /// The group is for other devices.
    #[error(transparent)]
    OtherIds(#[from] OtherIds),
    /// A rule about a single certificate.
    #[error("{subject}: {rule}")]
    Rule {
        /// Whose rule it is.
        subject: String,
        /// Which one.
        rule: rules::BrokenRule,
    },
    /// The leaf names another device.
    #[error("the leaf's common name is {0:?}, not the registration ID")]
    OtherName(String),
    /// The leaf has no common name, and its DNS name is another device's.
    #[error("the leaf has no common name, and its first DNS name is {0:?}, not the registration ID")]
    OtherDnsName(String),
    /// The certificates issue each other in so many ways that not all can be tried.
    #[error("the certificates presented issue each other in too many ways")]
    TooTangled,
    /// No trusted certificate and no presented one bears the issuer's name.
    #[error(
        "no certificate that is trusted here, and none that was sent, issued {subject}; missing is {issuer}{}{}",
        key_text(.key_id.as_deref()),
        gone_text(.gone.as_ref())
    )]
    MissingIssuer {
        /// The certificate whose issuer is missing.
        subject: String,
        /// The issuer.
        issuer: String,
        /// The identifier of the issuer's key in hex, if the certificate has it.
        key_id: Option<String>,
        /// A CA certificate that a group names and that is gone: it may be the issuer.
        gone: Option<CaReference>,
    },
    /// An operator blocked a certificate.
    #[error("{subject} is blocked: {reason}")]
    Blocked {
        /// Whose.
        subject: String,
        /// The operator's reason.
        reason: String,
    },
    /// A CA revoked a certificate.
    #[error("{subject} was revoked by the CA {by} at {at} ({reason})")]
    Revoked {
        /// Whose.
        subject: String,
        /// The name of the CA certificate with the list.
        by: CaReference,
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: &'static str,
    },
    /// The lists of a CA with a hard policy do not speak for a certificate that it issued.
    #[error("no fresh revocation list of the CA {ca} covers {subject}, and its policy is hard: {gap}")]
    Uncovered {
        /// The CA.
        ca: CaReference,
        /// The certificate.
        subject: String,
        /// What is wrong with the lists that there are.
        gap: ListGap,
    },
    /// A group's signing certificate is not vouched for.
    #[error(
        "the signing certificate {subject} is not a verified CA certificate of the service instance and does not chain to \
         one: {why}"
    )]
    Unverified {
        /// The signing certificate's subject.
        subject: String,
        /// Where the way to a verified one ends.
        why: String,
    },
    /// An enrollment names a CA whose owner has proved nothing.
    #[error("the enrollment names the CA certificate {0}, which is not verified")]
    UnverifiedReference(CaReference),
    /// An enrollment names a CA that is gone.
    #[error("the enrollment names the CA certificate {0}, which does not exist any more")]
    GoneReference(CaReference),
}

impl CertificateRefusal {
    /// Whether a block or a revocation list refuses, and not a rule about certificates.
    pub fn is_of_operator(&self) -> bool {
        matches!(
            self,
            CertificateRefusal::Blocked { .. }
                | CertificateRefusal::Revoked { .. }
                | CertificateRefusal::Uncovered { .. }
        )
    }

    /// Whether no trusted key was found to have signed anything on the way up from the leaf.
    fn is_unproven(&self) -> bool {
        let is_of_signature = |rule: &rules::BrokenRule| {
            matches!(rule, rules::BrokenRule::Signature | rules::BrokenRule::Algorithm)
        };
        match self {
            CertificateRefusal::MissingIssuer { .. } | CertificateRefusal::TooTangled => true,
            CertificateRefusal::Rule { rule, .. } => is_of_signature(rule),
            _ => false,
        }
    }
}

fn key_text(key_id: Option<&str>) -> String {
    key_id.map(|key_id| format!(" (key identifier {key_id})")).unwrap_or_default()
}

fn gone_text(gone: Option<&CaReference>) -> String {
    let text = |name| {
        format!(
            "; perhaps it is the CA certificate {name}, which does not exist any more and an enrollment group names"
        )
    };
    gone.map(text).unwrap_or_default()
}

impl<'a> PresentedChain<'a> {
    /// Parses what was sent; refuses if any of it cannot be read, or if the TLS handshake would refuse it.
    pub fn parse(certificates: &'a [CertificateDer<'static>]) -> Result<Self, CertificateRefusal> {
        // The TLS handshake refuses such a chain before it gets here: this is for explanations.
        ChainTooLong::check(certificates.iter().map(|certificate| certificate.len()))?;
        let mut parsed =
            certificates.iter().enumerate().map(|(at, der)| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                _ => Err(CertificateRefusal::Unreadable(at)),
            });
        let leaf = parsed.next().unwrap_or(Err(CertificateRefusal::Unreadable(0)))?;
        Ok(PresentedChain { leaf, others: parsed.collect::<Result<_, _>>()?, completing: Vec::new() })
    }

    /// The same with what is known of CAs in place of what the device left out.
    pub fn completed(mut self, known: &'a Trust) -> Self {
        self.completing = known::completing(&self.issuers(), known);
        self
    }

    /// The parts of what was sent along. What is not exact DER has none, and leads nowhere.
    fn sent(&self) -> Vec<CertificateParts<'a>> {
        self.others.iter().filter_map(|certificate| CertificateParts::read(certificate.as_raw())).collect()
    }

    /// What was sent along and is not exact DER.
    fn stray(&self) -> impl Iterator<Item = CertificateRefusal> {
        let is_stray =
            |certificate: &&X509Certificate<'_>| CertificateParts::read(certificate.as_raw()).is_none();
        let stray = self.others.iter().filter(is_stray);
        stray.map(|certificate| rules::broken(certificate, rules::BrokenRule::StrayBytes))
    }

    /// The DER of the issuers' names, by which groups are looked up.
    pub fn issuers(&self) -> Vec<&[u8]> {
        let sent = std::iter::once(&self.leaf).chain(&self.others).map(|it| it.issuer().as_raw());
        sent.chain(self.completing.iter().map(|parts| parts.issuer)).collect()
    }

    /// The leaf's SHA-256, by which the hub will know the device. It is of the form that the device presents, because a hub
    /// compares whole certificates, and the device presents the same form there.
    pub fn leaf_thumbprint(&self) -> Sha256Thumbprint {
        Sha256Thumbprint::of(self.leaf.as_raw())
    }
}

/// Refuses unless the leaf is one of the enrolled ones, is valid now and bears the device's name. What issued it does
/// not matter, so self-signed leaves serve as well. No signature is checked, so the leaf is compared byte for byte: by its
/// signed part alone, a device could write any signature into it and be another certificate to a block that knows only a
/// thumbprint.
pub(super) fn is_enrolled_leaf(
    chain: &PresentedChain<'_>,
    leaves: &Pair<Certificate>,
    claimant: &Claimant<'_>,
) -> Result<Sha256Thumbprint, Refusal> {
    let thumbprint = chain.leaf_thumbprint();
    if !leaves.iter().any(|leaf| *leaf.thumbprint() == thumbprint) {
        return Err(Refusal::OtherCertificate(thumbprint.to_string()));
    }
    rules::device_leaf(&chain.leaf, claimant)?;
    known::admits_leaf(&chain.leaf, claimant.ca.circumstances(claimant.now))?;
    Ok(thumbprint)
}

/// What a chain is asked, besides where it leads.
#[derive(Debug, Clone)]
pub struct Question {
    /// The instant at which it must be valid.
    pub at: Timestamp,
    /// What it must be for, if that matters.
    pub purpose: Option<rules::Purpose>,
    /// The device that its leaf must be for, if that matters.
    pub registration_id: Option<RegistrationId>,
}

/// Whether the chain leads to one of these anchors, by the rules of a registration: the DER of the path from the leaf to
/// the anchor, or why there is none.
pub fn verify<'a>(
    chain: &'a PresentedChain<'a>,
    anchors: &'a [Certificate],
    question: &Question,
) -> Result<Vec<Vec<u8>>, CertificateRefusal> {
    rules::leaf(&chain.leaf, question.at)?;
    if let Some(registration_id) = &question.registration_id {
        rules::bears_name(&chain.leaf, registration_id)?;
    }
    let anchors = anchors.iter().filter_map(Certificate::parts);
    let anchors: Vec<_> = anchors.map(|parts| path::Anchor::for_all(parts, ())).collect();
    let known = Trust::default();
    let circumstances = Circumstances { now: question.at, known: &known, crl_max_age: CrlMaxAge::default() };
    let from = std::slice::from_ref(&chain.leaf);
    let path = path::nearest(from, (&chain.sent(), &[]), &anchors, circumstances).path?;
    if let Some(purpose) = question.purpose {
        let below_anchor = path.certificates.len() - 1;
        for (at, certificate) in path.certificates.iter().take(below_anchor).enumerate() {
            rules::serves(certificate, purpose, at == 0)?;
        }
    }
    Ok(path.der())
}

/// The registration ID under which a device with this leaf registers, whatever else is to be said of the leaf.
pub fn registration_id_of(leaf: &[u8]) -> Option<RegistrationId> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    match names::device_name(&leaf) {
        names::DeviceName::Common(name) | names::DeviceName::Dns(name) => RegistrationId::parse(name).ok(),
        names::DeviceName::None => None,
    }
}

/// Why a search ends at a certificate whose issuer is not there.
fn missing(parts: &CertificateParts<'_>) -> CertificateRefusal {
    match X509Certificate::from_der(parts.der) {
        Err(_) => CertificateRefusal::Unreadable(0),
        Ok((_, certificate)) => CertificateRefusal::MissingIssuer {
            subject: name_text(certificate.subject()),
            issuer: name_text(certificate.issuer()),
            key_id: rules::authority_key_id(&certificate),
            gone: None,
        },
    }
}

fn parsed(certificate: &Certificate) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(certificate.der()).ok().map(|(_, certificate)| certificate)
}
