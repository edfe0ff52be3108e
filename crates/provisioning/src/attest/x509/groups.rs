//! The enrollment group that admits a leaf: the nearest one.

use std::{collections::HashMap, sync::Arc};

use certpath::{Anchor, Found, PresentedChain, nearest_path};
use model::{
    CaCertificate, Certificate, EnrollmentGroup, EnrollmentRef, GroupAttestation, GroupCertificates,
    HubCredentials, Pair, ProvisioningStatus, Trust,
};

use super::{CertificateRefusal, DeviceLeaf, known};
use crate::attest::{
    AttestationTrace, Attested, Claimant, Considered, Means, Refusal, ownership, trace::MAX_REFUSING,
};

/// Finds the group that admits the device: the one that it is registered through, if that one admits it, else the one whose
/// signing certificate is nearest the leaf.
pub(in crate::attest) fn evaluate<'s>(
    groups: &'s [Arc<EnrollmentGroup>],
    chain: &PresentedChain<'s>,
    likely: Option<&EnrollmentRef>,
    claimant: &Claimant<'s>,
) -> AttestationTrace {
    let leaf = match DeviceLeaf::check(chain, claimant) {
        Ok(leaf) => leaf,
        Err(refusal) => return AttestationTrace::without_candidates(refusal.into()),
    };
    let anchors = anchors(groups, claimant);
    let nearest = search((leaf, chain), &anchors, claimant);
    // A block or revocation on any path decides, also where the device's own group is reached on another.
    let own = own_anchors(&anchors, likely).filter(|_| may_stay(&nearest));
    let stays = own.map(|own| search((leaf, chain), &own, claimant));
    let stays = stays.filter(|found| found.path.as_ref().is_ok_and(|path| is_of(likely, &path.owner)));
    let others = if stays.is_some() { Refusal::KeptByOwnGroup } else { Refusal::NotNearest };
    let found = stays.unwrap_or(nearest);
    let (considered, omitted) = considered(groups, &found, &others);
    let unusable = found.passed_over.into_iter().filter(|(owner, _)| owner.is_none()).map(|(_, why)| why);
    AttestationTrace {
        considered,
        omitted,
        unfit: unusable.chain(chain.malformed().map(CertificateRefusal::from)).collect(),
        outcome: match found.path {
            Ok(path) => {
                let credentials = HubCredentials::Certificate(leaf.thumbprint());
                Ok(Attested::by_group(path.owner.group, credentials, Means::X509).into())
            }
            Err(refusal) => Err(refusal.into()),
        },
    }
}

/// Returns whether a search among fewer anchors may find a path: nothing refuses, and a trusted key was reached.
fn may_stay(found: &FoundGroup<'_>) -> bool {
    found.path.as_ref().err().is_none_or(|refusal| !refusal.is_by_operator() && !refusal.is_unproven())
}

fn search<'s>(
    (leaf, chain): (DeviceLeaf<'_, 's>, &PresentedChain<'s>),
    anchors: &[Anchor<'s, Owner<'s>>],
    claimant: &Claimant<'s>,
) -> FoundGroup<'s> {
    let circumstances = claimant.ca.circumstances(claimant.now);
    nearest_path(leaf.0.into(), chain.candidates(), anchors, circumstances)
        .rejecting(|path| known::untrusted(path, path.owner.named, (chain, claimant)))
}

/// The result of a search among the anchors of groups.
type FoundGroup<'s> = Found<'s, Owner<'s>, CertificateRefusal>;

/// The owner of an anchor.
#[derive(Debug, Clone, Copy)]
struct Owner<'a> {
    group: &'a Arc<EnrollmentGroup>,
    /// The CA certificate that the group names; `None` for its own signing certificate.
    named: Option<&'a CaCertificate>,
}

/// Returns the anchors of the group that the device is registered through, and those that exclude it; `None` if it is registered
/// through none of these groups, that one is disabled, or there are no others.
fn own_anchors<'a>(
    anchors: &[Anchor<'a, Owner<'a>>],
    likely: Option<&EnrollmentRef>,
) -> Option<Vec<Anchor<'a, Owner<'a>>>> {
    let is_own = |anchor: &Anchor<'_, Owner<'_>>| is_of(likely, &anchor.owner);
    let is_enabled = anchors.iter().any(|anchor| is_own(anchor) && !anchor.takes_precedence);
    let excludes = |anchor: &Anchor<'_, Owner<'_>>| anchor.takes_precedence || anchor.rejects.is_some();
    let own: Vec<_> = anchors.iter().filter(|anchor| is_own(anchor) || excludes(anchor)).cloned().collect();
    (is_enabled && own.len() < anchors.len()).then_some(own)
}

fn is_of(enrollment: Option<&EnrollmentRef>, owner: &Owner<'_>) -> bool {
    matches!(enrollment, Some(EnrollmentRef::Group(id)) if *id == owner.group.group_id)
}

/// Returns the verdict on each group, with `other` for the groups that the search did not reach, and the number of groups that are
/// left out: those beyond the first [`MAX_REFUSING`] that refuse the device, because a refusal must cost little.
fn considered(
    groups: &[Arc<EnrollmentGroup>],
    found: &FoundGroup<'_>,
    other: &Refusal,
) -> (Vec<Considered>, usize) {
    let mut broken = HashMap::new();
    for (owner, refusal) in &found.passed_over {
        if let Some(owner) = owner {
            broken.entry(Arc::as_ptr(owner.group)).or_insert(refusal);
        }
    }
    let path = found.path.as_ref().ok();
    let (mut considered, mut omitted) = (Vec::new(), 0);
    for group in groups {
        let admitting = path.filter(|path| Arc::ptr_eq(group, path.owner.group));
        if considered.len() >= MAX_REFUSING && admitting.is_none() {
            omitted += 1;
            continue;
        }
        let verdict = match (admitting, broken.get(&Arc::as_ptr(group))) {
            (Some(path), _) => Ok(path.der()),
            (None, Some(refusal)) => Err(Refusal::from((*refusal).clone())),
            (None, None) if path.is_some() => Err(other.clone()),
            (None, None) => Err(Refusal::NoPathToGroup),
        };
        considered.push(Considered::group(group, verdict));
    }
    (considered, omitted)
}

/// Returns the groups' signing certificates and the CA certificates that they name as anchors. Those of a disabled group take
/// precedence: no other group with the same certificate admits its devices.
fn anchors<'a>(groups: &'a [Arc<EnrollmentGroup>], claimant: &Claimant<'a>) -> Vec<Anchor<'a, Owner<'a>>> {
    let mut anchors = Vec::with_capacity(groups.len());
    for group in groups {
        let rejects = ownership::other_ids(group, claimant.registration_id).map(|other| other.to_string());
        let is_disabled = group.settings.provisioning_status == ProvisioningStatus::Disabled;
        let takes_precedence = rejects.is_none() && is_disabled;
        anchors.extend(certificates(group, claimant.ca.known).filter_map(|(certificate, named)| {
            let parts = certificate.parts()?;
            Some(Anchor { parts, owner: Owner { group, named }, rejects: rejects.clone(), takes_precedence })
        }));
    }
    anchors
}

/// Returns the certificates that a group trusts, with the CA certificates that it names.
fn certificates<'a>(
    group: &'a EnrollmentGroup,
    known: &'a Trust,
) -> impl Iterator<Item = (&'a Certificate, Option<&'a CaCertificate>)> {
    let (signing, names) = match &group.attestation {
        GroupAttestation::X509(GroupCertificates::Signing(pair)) => (Some(pair), None),
        GroupAttestation::X509(GroupCertificates::CaReferences(names)) => (None, Some(names)),
        GroupAttestation::SymmetricKey(_) => (None, None),
    };
    let named = names.into_iter().flat_map(Pair::iter).filter_map(|name| known.certificate(name));
    let named = named.map(|ca| (&ca.certificate, Some(ca.as_ref())));
    signing.into_iter().flat_map(Pair::iter).map(|certificate| (certificate, None)).chain(named)
}
