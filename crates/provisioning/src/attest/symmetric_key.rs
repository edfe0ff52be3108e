//! Symmetric keys: the device signs a token with a key that the enrollment holds, or that derives from the group's.

use model::{Audience, CheckedClaim, ClaimRefusal, Extent, RegistrationId, SymmetricKeyPair};

use super::{Claimant, Refusal};

/// Refuses unless one of the keys signed a claim to this registration.
pub(super) fn proves(claimant: &Claimant<'_>, keys: &SymmetricKeyPair) -> Result<(), Refusal> {
    let claim = claim_for(claimant)?;
    if claim.is_signed_by_device(Some(keys)) { Ok(()) } else { Err(Refusal::Signature) }
}

/// The claim, if it has not expired and is for this registration.
pub(super) fn claim_for<'a>(claimant: &Claimant<'a>) -> Result<CheckedClaim<'a>, Refusal> {
    let claim = claimant.evidence.claim.as_ref().ok_or(Refusal::NoToken)?;
    let path = format!("registrations/{}", claimant.registration_id);
    let audience = Audience { names: vec![claimant.scope.as_str()], path: &path, extent: Extent::Exactly };
    claim.check(&audience, claimant.now).map_err(|refusal| match refusal {
        ClaimRefusal::Expired(at) => Refusal::Expired(at),
        ClaimRefusal::OtherResource(resource) => Refusal::OtherResource(resource),
    })
}

/// The pair of device keys derived from these group keys, if one of them signed the claim. The ID is tried as it was
/// sent, then in lower case: clients differ in which they derive from.
pub(super) fn derived_keys(
    claim: CheckedClaim<'_>,
    group: &SymmetricKeyPair,
    registration_id: &RegistrationId,
) -> Option<SymmetricKeyPair> {
    let (sent, lower) = (registration_id.as_str(), registration_id.key());
    let spellings = std::iter::once(sent).chain((sent != lower).then_some(&*lower));
    let is_signed = |id: &&str| group.iter().any(|key| claim.is_signed_by_derived(key, id));
    spellings.into_iter().find(is_signed).map(|id| group.derive(id))
}
