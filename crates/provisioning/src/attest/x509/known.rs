//! What an instance knows of CAs, held against the certificates of a device: CA certificates that complete what it
//! sent, certificates that are blocked or revoked, and CAs whose owners proved to hold the key.

use model::{
    Authorities, CaCertificate, CaReference, CertificateParts, CrlMaxAge, Pair, RevocationPolicy,
    Sha256Thumbprint, Timestamp,
};
use x509_parser::certificate::X509Certificate;

use super::{
    CertificateRefusal, PresentedChain, is_same, parsed,
    path::{self, Anchor, Circumstances, Path},
    revocation::not_revoked,
    rules,
};
use crate::attest::{Claimant, Refusal, x509::signature};

/// The most stored CA certificates that complete one chain; they are found by name, and few bear the same.
const MAX_COMPLETING: usize = 32;

/// What an instance knows of CAs, and what it asks of them.
#[derive(Debug, Clone, Copy)]
pub struct CaRules<'a> {
    /// What it knows.
    pub known: &'a Authorities,
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

/// The stored CA certificates of these names, of their issuers, and so on up.
pub(super) fn completing<'a>(names: &[&[u8]], known: &'a Authorities) -> Vec<X509Certificate<'a>> {
    let mut certificates = Vec::new();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut wanted: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    while let Some(name) = wanted.pop() {
        if seen.contains(&name) {
            continue;
        }
        for certificate in known.of_subject(&name).iter().filter_map(|ca| parsed(&ca.certificate)) {
            if certificates.len() == MAX_COMPLETING {
                return certificates;
            }
            wanted.push(certificate.issuer().as_raw().to_vec());
            certificates.push(certificate);
        }
        seen.push(name);
    }
    certificates
}

/// Refuses a certificate that an operator blocked.
pub(super) fn unblocked(
    certificate: &X509Certificate<'_>,
    known: &Authorities,
) -> Result<(), CertificateRefusal> {
    // A certificate that cannot be cut into parts breaks a rule that every certificate must meet.
    let block = CertificateParts::read(certificate.as_raw()).and_then(|parts| known.block_of(&parts));
    match block {
        None => Ok(()),
        Some(block) => Err(CertificateRefusal::Blocked {
            subject: certificate.subject().to_string(),
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

/// Refuses a path whose end is not trusted, or is blocked or revoked by what is above it. The end is trusted when it is
/// verified, as a CA certificate that the enrollment names must be, or leads to one that is, where the instance asks for
/// that.
pub(super) fn trusted<O: Copy>(
    path: &Path<'_, O>,
    named: Option<&CaCertificate>,
    (chain, claimant): (&PresentedChain<'_>, &Claimant<'_>),
) -> Result<(), CertificateRefusal> {
    let CaRules { known, require_verified, .. } = claimant.ca;
    named.map_or(Ok(()), verified)?;
    let Some(end) = path.certificates.last() else { return Ok(()) };
    let is_vouched_for = named.is_some() || !require_verified || is_verified(end, known);
    if is_vouched_for && !has_refusals(known) {
        return Ok(());
    }
    let names: Vec<_> = chain.issuers().into_iter().chain([end.issuer().as_raw()]).collect();
    let above = completing(&names, known);
    let circumstances = claimant.ca.circumstances(claimant.now);
    // Without an anchor the search ends where nothing more is known, or where all that there is refuses.
    match path::onward::<_, ()>(path, (chain, &above), &[], circumstances) {
        Err(refusal) if refusal.is_of_operator() => return Err(refusal),
        _ if is_vouched_for => return Ok(()),
        _ => {}
    }
    let verified = above.iter().filter(|certificate| is_verified(certificate, known));
    let anchors: Vec<_> = verified.map(|certificate| Anchor::for_all(certificate.clone(), ())).collect();
    let reached = path::onward(path, (chain, &above), &anchors, circumstances);
    reached.map(drop).map_err(|refusal| CertificateRefusal::Unverified {
        subject: end.subject().to_string(),
        why: refusal.to_string(),
    })
}

fn is_verified(certificate: &X509Certificate<'_>, known: &Authorities) -> bool {
    let stored = known.of_subject(certificate.subject().as_raw()).iter();
    let is_it = |ca: &X509Certificate<'_>| is_same(ca, certificate);
    stored.filter(|ca| ca.is_verified).filter_map(|ca| parsed(&ca.certificate)).any(|ca| is_it(&ca))
}

/// Whether anything is known that could refuse a certificate.
fn has_refusals(known: &Authorities) -> bool {
    let is_strict = |ca: &CaCertificate| ca.revocation.policy == RevocationPolicy::Hard;
    known.blocks().len() > 0 || known.lists().next().is_some() || known.certificates().any(|ca| is_strict(ca))
}

/// The leaf's thumbprint, if it leads to one of the CA certificates of these names, which must be verified.
pub(in crate::attest) fn led_to_one_of(
    chain: &PresentedChain<'_>,
    names: &Pair<CaReference>,
    claimant: &Claimant<'_>,
) -> Result<Sha256Thumbprint, Refusal> {
    rules::device_leaf(&chain.leaf, claimant)?;
    let known = claimant.ca.known;
    unblocked(&chain.leaf, known)?;
    let anchors: Vec<_> = names.iter().filter_map(|name| named(name, known)).collect();
    let circumstances = claimant.ca.circumstances(claimant.now);
    match path::nearest(chain, &anchors, circumstances).path {
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
fn named<'a>(name: &CaReference, known: &'a Authorities) -> Option<Anchor<'a, &'a CaCertificate>> {
    let ca = known.certificate(name)?.as_ref();
    parsed(&ca.certificate).map(|certificate| Anchor::for_all(certificate, ca))
}

fn verified(ca: &CaCertificate) -> Result<(), CertificateRefusal> {
    if ca.is_verified { Ok(()) } else { Err(CertificateRefusal::UnverifiedReference(ca.name.clone())) }
}
