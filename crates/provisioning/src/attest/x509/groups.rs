//! The enrollment group nearest a leaf.

use std::sync::Arc;

use model::{
    AttestedBy, Certificate, EnrollmentGroup, GroupAttestation, GroupCertificates, HubCredentials,
    ProvisioningStatus,
};

use super::{
    PresentedChain, parsed,
    path::{self, Anchor, Found},
    rules,
};
use crate::attest::{Attested, Claimant, Considered, Judgement, Refusal};

/// Decides by the group whose signing certificate is nearest the leaf, which must be the claimant's.
pub(in crate::attest) fn judge(
    groups: &[Arc<EnrollmentGroup>],
    chain: &PresentedChain<'_>,
    claimant: &Claimant<'_>,
) -> Judgement {
    if let Err(refusal) = rules::device_leaf(&chain.leaf, claimant) {
        return Judgement::without_candidates(refusal.into());
    }
    let anchors = anchors(groups);
    let found = path::nearest(chain, &anchors, claimant.now);
    let considered = groups.iter().map(|group| Considered::group(group, verdict(group, &found))).collect();
    let by_group = |group| {
        let credentials = HubCredentials::Certificate(chain.leaf_thumbprint());
        Attested::by_group(group, credentials, AttestedBy::X509)
    };
    Judgement {
        considered,
        outcome: found.path.map(|path| by_group(path.owner).into()).map_err(Refusal::from),
        unfit: found
            .passed_over
            .into_iter()
            .filter(|(group, _)| group.is_none())
            .map(|(_, why)| why)
            .collect(),
    }
}

/// What the search says of one group.
fn verdict(
    group: &Arc<EnrollmentGroup>,
    found: &Found<'_, &Arc<EnrollmentGroup>>,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let is_it = |other: &Arc<EnrollmentGroup>| Arc::ptr_eq(group, other);
    let broken = found.passed_over.iter().find(|(owner, _)| owner.is_some_and(is_it));
    match (&found.path, broken) {
        (Ok(path), _) if is_it(path.owner) => Ok(path.der()),
        (_, Some((_, refusal))) => Err(refusal.clone().into()),
        (Ok(_), None) => Err(Refusal::Farther),
        (Err(_), None) => Err(Refusal::NotReached),
    }
}

/// The groups' signing certificates, as ends of paths. A disabled group's block: no other group with the same
/// certificate lets its devices in.
fn anchors(groups: &[Arc<EnrollmentGroup>]) -> Vec<Anchor<'_, &Arc<EnrollmentGroup>>> {
    groups.iter().flat_map(of_group).collect()
}

fn of_group(group: &Arc<EnrollmentGroup>) -> impl Iterator<Item = Anchor<'_, &Arc<EnrollmentGroup>>> {
    let blocks = group.settings.provisioning_status == ProvisioningStatus::Disabled;
    let anchor = move |certificate| Anchor { certificate, owner: group, blocks };
    signing_certificates(group).filter_map(parsed).map(anchor)
}

fn signing_certificates(group: &EnrollmentGroup) -> impl Iterator<Item = &Certificate> {
    let certificates = match &group.attestation {
        GroupAttestation::X509(GroupCertificates::Signing(certificates)) => Some(certificates),
        _ => None,
    };
    certificates.into_iter().flat_map(|pair| pair.iter())
}
