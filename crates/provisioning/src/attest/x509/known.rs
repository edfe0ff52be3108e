//! The trust of an instance, applied to the certificates of a device: which CA certificates are verified, and which one an
//! enrollment names.

use std::sync::Arc;

use certpath::{
    Anchor, Candidates, CertificateParts, Circumstances, CrlMaxAge, Path, PresentedChain, Sha256Thumbprint,
    issuers_of, name_text, nearest_path,
};
use model::{CaCertificate, CaReference, Pair, Timestamp, Trust};

use super::{CertificateRefusal, DeviceLeaf};
use crate::attest::{Claimant, Refusal};

/// The trust of an instance, and its rules for CAs.
#[derive(Debug, Clone, Copy)]
pub struct CaRules<'a> {
    /// The CA certificates, revocation lists and blocks.
    pub known: &'a Arc<Trust>,
    /// Whether a group's signing certificate must be a verified CA certificate, or chain to one.
    pub require_verified: bool,
    /// The age at which a revocation list without a date for the next one is stale.
    pub crl_max_age: CrlMaxAge,
}

impl<'a> CaRules<'a> {
    /// Returns the circumstances of a search for a path at this time.
    pub(super) fn circumstances(&self, now: Timestamp) -> Circumstances<'a> {
        let authorities: &'a Trust = self.known;
        Circumstances { now: now.into(), authorities, crl_max_age: self.crl_max_age }
    }
}

/// Returns why the end of a path is not trusted. It is trusted if it is verified, as a CA certificate that the enrollment names
/// must be, or leads to one that is, where the instance requires that.
pub(super) fn untrusted<'s, O: Copy>(
    path: &Path<'s, O>,
    named: Option<&CaCertificate>,
    (chain, claimant): (&PresentedChain<'s>, &Claimant<'s>),
) -> Option<CertificateRefusal> {
    let CaRules { known, require_verified, .. } = claimant.ca;
    if let Some(ca) = named {
        return (!ca.is_verified).then(|| CertificateRefusal::UnverifiedReference(ca.name.clone()));
    }
    if !require_verified || is_verified(path.anchor_parts(), known) {
        return None;
    }
    let anchor = path.anchor();
    let names: Vec<_> = chain.issuers().into_iter().chain([anchor.issuer().as_raw()]).collect();
    let above = issuers_of(&names, known.as_ref());
    let verified = above.iter().filter(|parts| is_verified(parts, known));
    let anchors: Vec<_> = verified.map(|parts| Anchor::for_all(*parts, ())).collect();
    let candidates = Candidates { stored: &above, ..chain.candidates() };
    let circumstances = claimant.ca.circumstances(claimant.now);
    let error = nearest_path(path.into(), candidates, &anchors, circumstances).path.err()?;
    Some(match error.is_by_operator() {
        true => error.into(),
        false => {
            CertificateRefusal::Unverified { subject: name_text(anchor.subject()), why: error.to_string() }
        }
    })
}

/// Returns whether a verified CA certificate is this one, in whatever form of its signature.
fn is_verified(parts: &CertificateParts<'_>, known: &Trust) -> bool {
    let verified = known.of_subject(parts.subject).iter().filter(|ca| ca.is_verified);
    verified.filter_map(|ca| ca.certificate.parts()).any(|ca| ca.tbs == parts.tbs)
}

/// Returns the leaf's thumbprint if a path leads to one of the CA certificates of these names, which must be verified.
pub(in crate::attest) fn verify_path_to<'s>(
    chain: &PresentedChain<'s>,
    names: &Pair<CaReference>,
    claimant: &Claimant<'s>,
) -> Result<Sha256Thumbprint, Refusal> {
    let leaf = DeviceLeaf::check(chain, claimant)?;
    let known = claimant.ca.known;
    let anchors: Vec<_> = names.iter().filter_map(|name| anchor(name, known)).collect();
    let circumstances = claimant.ca.circumstances(claimant.now);
    let path = nearest_path(leaf.0.into(), chain.candidates(), &anchors, circumstances).path;
    let path = path.map_err(|error| {
        let gone = names.iter().find(|name| known.certificate(name).is_none());
        gone.map_or(error.into(), |name| CertificateRefusal::GoneReference(name.clone()))
    })?;
    match untrusted(&path, Some(path.owner), (chain, claimant)) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(leaf.thumbprint()),
    }
}

/// Returns the CA certificate of this name as an anchor.
fn anchor<'a>(name: &CaReference, known: &'a Trust) -> Option<Anchor<'a, &'a CaCertificate>> {
    let ca = known.certificate(name)?.as_ref();
    ca.certificate.parts().map(|parts| Anchor::for_all(parts, ca))
}
