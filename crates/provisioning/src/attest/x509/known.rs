//! What an instance knows of CAs, held against the certificates of a device: CA certificates that complete what it
//! sent, certificates that are blocked or revoked, and CAs whose owners proved to hold the key.

use std::{collections::HashSet, sync::Arc};

use model::{
    CaCertificate, CaReference, CertificateParts, CrlMaxAge, NameKey, Pair, RevocationPolicy,
    Sha256Thumbprint, Timestamp, Trust, name_text,
};
use x509_parser::certificate::X509Certificate;

use super::{
    CertificateRefusal, PresentedChain, parsed,
    path::{self, Anchor, Circumstances, Path},
    revocation::not_revoked,
    rules,
};
use crate::attest::{Claimant, Refusal, x509::signature};

/// What an instance knows of CAs, and what it asks of them.
#[derive(Debug, Clone, Copy)]
pub struct CaRules<'a> {
    /// What it knows.
    pub known: &'a Arc<Trust>,
    /// Whether a group's signing certificate must be a verified CA certificate, or chain to one.
    pub require_verified: bool,
    /// When a revocation list that does not say when the next one is due is stale.
    pub crl_max_age: CrlMaxAge,
}

impl<'a> CaRules<'a> {
    /// What a search for a path goes by at this time.
    pub(super) fn circumstances(&self, now: Timestamp) -> Circumstances<'a> {
        Circumstances { now, known: self.known, crl_max_age: self.crl_max_age }
    }
}

/// The stored CA certificates of these names, of their issuers, and so on up. All of them: were there a limit, a device
/// could reach it by names that it sends, and hide what refuses it.
pub(super) fn completing<'a>(names: &[&[u8]], known: &'a Trust) -> Vec<CertificateParts<'a>> {
    let mut certificates = Vec::new();
    let mut wanted: Vec<&[u8]> = names.to_vec();
    let mut seen = HashSet::new();
    while let Some(name) = wanted.pop() {
        if seen.insert(NameKey::of(name)) {
            let named = known.of_subject(name).iter().filter_map(|ca| ca.certificate.parts());
            let first = certificates.len();
            certificates.extend(named);
            wanted.extend(certificates.iter().skip(first).map(|parts: &CertificateParts<'a>| parts.issuer));
        }
    }
    certificates
}

/// Refuses a certificate that an operator blocked.
pub(super) fn unblocked(certificate: &X509Certificate<'_>, known: &Trust) -> Result<(), CertificateRefusal> {
    // A certificate that cannot be cut into parts breaks a rule that every certificate must meet.
    let block = CertificateParts::read(certificate.as_raw()).and_then(|parts| known.block_of(&parts));
    match block {
        None => Ok(()),
        Some(block) => Err(CertificateRefusal::Blocked {
            subject: name_text(certificate.subject()),
            reason: block.reason.to_string(),
        }),
    }
}

/// Refuses an issuer that is blocked, or that revoked the certificate below it.
pub(super) fn admits(
    issuer: &X509Certificate<'_>,
    below: &X509Certificate<'_>,
    circumstances: Circumstances<'_>,
) -> Result<(), CertificateRefusal> {
    unblocked(issuer, circumstances.known)?;
    not_revoked(issuer, below, circumstances)
}

/// Holds an enrolled leaf against the CAs that issued it, if the instance knows any.
pub(super) fn admits_leaf(
    leaf: &X509Certificate<'_>,
    circumstances: Circumstances<'_>,
) -> Result<(), CertificateRefusal> {
    unblocked(leaf, circumstances.known)?;
    let issuers = circumstances.known.of_subject(leaf.issuer().as_raw()).iter();
    for issuer in issuers.filter_map(|ca| parsed(&ca.certificate)) {
        if signature::is_signed_by(leaf, &issuer) {
            not_revoked(&issuer, leaf, circumstances)?;
        }
    }
    Ok(())
}

/// Refuses a path whose end is not trusted. It is trusted when it is verified, as a CA certificate that the enrollment names
/// must be, or leads to one that is, where the instance asks for that.
pub(super) fn trusted<'s, O: Copy>(
    path: &Path<'s, O>,
    named: Option<&CaCertificate>,
    (chain, claimant): (&PresentedChain<'s>, &Claimant<'s>),
) -> Result<(), CertificateRefusal> {
    let CaRules { known, require_verified, .. } = claimant.ca;
    named.map_or(Ok(()), verified)?;
    let Some(end) = path.certificates.last() else { return Ok(()) };
    if named.is_some() || !require_verified || is_verified(end, known) {
        return Ok(());
    }
    let names: Vec<_> = chain.issuers().into_iter().chain([end.issuer().as_raw()]).collect();
    let above = completing(&names, known);
    let verified = above.iter().filter(|parts| is_verified_form(parts, known));
    let anchors: Vec<_> = verified.map(|parts| Anchor::for_all(*parts, ())).collect();
    let circumstances = claimant.ca.circumstances(claimant.now);
    let found = path::nearest(&path.certificates, (&chain.sent(), &above), &anchors, circumstances);
    found.path.map(drop).map_err(|refusal| match refusal.is_of_operator() {
        true => refusal,
        false => {
            CertificateRefusal::Unverified { subject: name_text(end.subject()), why: refusal.to_string() }
        }
    })
}

fn is_verified(certificate: &X509Certificate<'_>, known: &Trust) -> bool {
    CertificateParts::read(certificate.as_raw()).is_some_and(|parts| is_verified_form(&parts, known))
}

/// Whether a verified CA certificate is this one, in whatever form of its signature.
fn is_verified_form(parts: &CertificateParts<'_>, known: &Trust) -> bool {
    let verified = known.of_subject(parts.subject).iter().filter(|ca| ca.is_verified);
    verified.filter_map(|ca| ca.certificate.parts()).any(|ca| ca.tbs == parts.tbs)
}

/// Whether anything is known that could refuse a certificate.
pub(super) fn has_refusals(known: &Trust) -> bool {
    let is_strict = |ca: &CaCertificate| ca.revocation.policy == RevocationPolicy::Hard;
    known.blocks().len() > 0 || known.lists().next().is_some() || known.certificates().any(|ca| is_strict(ca))
}

/// The leaf's thumbprint, if it leads to one of the CA certificates of these names, which must be verified.
pub(in crate::attest) fn led_to_one_of<'s>(
    chain: &PresentedChain<'s>,
    names: &Pair<CaReference>,
    claimant: &Claimant<'s>,
) -> Result<Sha256Thumbprint, Refusal> {
    rules::device_leaf(&chain.leaf, claimant)?;
    let known = claimant.ca.known;
    unblocked(&chain.leaf, known)?;
    let anchors: Vec<_> = names.iter().filter_map(|name| named(name, known)).collect();
    let circumstances = claimant.ca.circumstances(claimant.now);
    let from = std::slice::from_ref(&chain.leaf);
    match path::nearest(from, (&chain.sent(), &chain.completing), &anchors, circumstances).path {
        Ok(path) => trusted(&path, Some(path.owner), (chain, claimant))?,
        Err(refusal) => {
            let gone = names.iter().find(|name| known.certificate(name).is_none());
            let refusal = gone.map_or(refusal, |name| CertificateRefusal::GoneReference(name.clone()));
            return Err(refusal.into());
        }
    }
    Ok(chain.leaf_thumbprint())
}

/// The CA certificate of this name as an end of paths.
fn named<'a>(name: &CaReference, known: &'a Trust) -> Option<Anchor<'a, &'a CaCertificate>> {
    let ca = known.certificate(name)?.as_ref();
    ca.certificate.parts().map(|parts| Anchor::for_all(parts, ca))
}

fn verified(ca: &CaCertificate) -> Result<(), CertificateRefusal> {
    if ca.is_verified { Ok(()) } else { Err(CertificateRefusal::UnverifiedReference(ca.name.clone())) }
}
