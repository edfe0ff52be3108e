//! The enrollment group nearest a leaf.

use std::{collections::HashMap, sync::Arc};

use model::{
    AttestedBy, CaCertificate, Certificate, EnrollmentGroup, EnrollmentRef, GroupAttestation,
    GroupCertificates, HubCredentials, Pair, ProvisioningStatus, Trust,
};

use super::{
    PresentedChain, known,
    path::{self, Anchor, Found},
    rules,
};
use crate::attest::{
    AttestationTrace, Attested, Claimant, Considered, Refusal, ownership, trace::MAX_REFUSING,
};

/// Decides by the group that the device is registered through, if that one admits it, else by the one whose signing
/// certificate is nearest the leaf, which must be the claimant's.
pub(in crate::attest) fn judge<'s>(
    groups: &'s [Arc<EnrollmentGroup>],
    chain: &PresentedChain<'s>,
    likely: Option<&EnrollmentRef>,
    claimant: &Claimant<'s>,
) -> AttestationTrace {
    let known = claimant.ca.known;
    let leaf = rules::device_leaf(&chain.leaf, claimant).and_then(|()| known::unblocked(&chain.leaf, known));
    if let Err(refusal) = leaf {
        return AttestationTrace::without_candidates(refusal.into());
    }
    let anchors = anchors(groups, claimant);
    let nearest = search(chain, &anchors, claimant);
    // A block or revocation that is met on any way decides, also where the device's own group is reached on another.
    let own = own_anchors(&anchors, likely).filter(|_| may_stay(&nearest));
    let stays = own.map(|own| search(chain, &own, claimant));
    let stays = stays.filter(|found| found.path.as_ref().is_ok_and(|path| is_of(likely, &path.owner)));
    let others = if stays.is_some() { Refusal::Stays } else { Refusal::Farther };
    let found = stays.unwrap_or(nearest);
    let (considered, omitted) = considered(groups, &found, &others);
    let by_group = |group| {
        let credentials = HubCredentials::Certificate(chain.leaf_thumbprint());
        Attested::by_group(group, credentials, AttestedBy::X509)
    };
    AttestationTrace {
        considered,
        omitted,
        outcome: match found.path {
            Ok(path) => Ok(by_group(path.owner.group).into()),
            Err(refusal) => Err(refusal.into()),
        },
        unfit: found
            .passed_over
            .into_iter()
            .filter(|(owner, _)| owner.is_none())
            .map(|(_, why)| why)
            .chain(chain.stray())
            .collect(),
    }
}

/// Whether a search among fewer anchors may find a path: nothing refuses, and something trusted was reached.
fn may_stay(found: &Found<'_, Owner<'_>>) -> bool {
    found.path.as_ref().err().is_none_or(|refusal| !refusal.is_of_operator() && !refusal.is_unproven())
}

fn search<'s>(
    chain: &PresentedChain<'s>,
    anchors: &[Anchor<'s, Owner<'s>>],
    claimant: &Claimant<'s>,
) -> Found<'s, Owner<'s>> {
    let circumstances = claimant.ca.circumstances(claimant.now);
    let from = std::slice::from_ref(&chain.leaf);
    path::nearest(from, (&chain.sent(), &chain.completing), anchors, circumstances)
        .demanding(|path| known::trusted(path, path.owner.named, (chain, claimant)))
}

/// Whose an end of paths is.
#[derive(Debug, Clone, Copy)]
struct Owner<'a> {
    group: &'a Arc<EnrollmentGroup>,
    /// The CA certificate that the group names; `None` for a signing certificate of its own.
    named: Option<&'a CaCertificate>,
}

/// The anchors of the group that the device is registered through, and those that keep it out; `None` when it is registered
/// through none of these groups, that one is disabled, or there are no others.
fn own_anchors<'a>(
    anchors: &[Anchor<'a, Owner<'a>>],
    likely: Option<&EnrollmentRef>,
) -> Option<Vec<Anchor<'a, Owner<'a>>>> {
    let is_own = |anchor: &Anchor<'_, Owner<'_>>| is_of(likely, &anchor.owner);
    let is_enabled = anchors.iter().any(|anchor| is_own(anchor) && !anchor.blocks);
    let keeps_out = |anchor: &Anchor<'_, Owner<'_>>| anchor.blocks || anchor.admits.is_err();
    let own: Vec<_> = anchors.iter().filter(|anchor| is_own(anchor) || keeps_out(anchor)).cloned().collect();
    (is_enabled && own.len() < anchors.len()).then_some(own)
}

fn is_of(enrollment: Option<&EnrollmentRef>, owner: &Owner<'_>) -> bool {
    matches!(enrollment, Some(EnrollmentRef::Group(id)) if *id == owner.group.group_id)
}

/// What the search says of the groups, `other` being why a group that was not needed is not the one; of very many that
/// refuse the device, only that there were more: a refusal must cost little.
fn considered(
    groups: &[Arc<EnrollmentGroup>],
    found: &Found<'_, Owner<'_>>,
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
            (None, None) => Err(Refusal::NotReached),
        };
        considered.push(Considered::group(group, verdict));
    }
    (considered, omitted)
}

/// The groups' signing certificates and the CA certificates that they name, as ends of paths. A disabled group's block:
/// no other group with the same certificate lets its devices in.
fn anchors<'a>(groups: &'a [Arc<EnrollmentGroup>], claimant: &Claimant<'a>) -> Vec<Anchor<'a, Owner<'a>>> {
    let mut anchors = Vec::with_capacity(groups.len());
    for group in groups {
        let admits = ownership::is_for(group, claimant.registration_id);
        let blocks = admits.is_ok() && group.settings.provisioning_status == ProvisioningStatus::Disabled;
        anchors.extend(certificates(group, claimant.ca.known).filter_map(|(certificate, named)| {
            let parts = certificate.parts()?;
            Some(Anchor { parts, owner: Owner { group, named }, admits: admits.clone(), blocks })
        }));
    }
    anchors
}

/// The certificates that a group trusts, with the CA certificates that it names.
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
