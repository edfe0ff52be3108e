//! Symmetric keys: the device signs a token with a key that the enrollment holds, or that derives from the group's.

use model::{RegistrationId, SymmetricKeyPair};

use super::{Claimant, Refusal, SignedClaim};

/// Refuses unless one of the keys signed a claim to this registration.
pub(super) fn proves(claimant: &Claimant<'_>, keys: &SymmetricKeyPair) -> Result<(), Refusal> {
    let claim = claim_for(claimant)?;
    if keys.iter().any(|key| claim.is_signed_by(key)) { Ok(()) } else { Err(Refusal::Signature) }
}

/// The claim, if it has not expired and is for this registration.
pub(super) fn claim_for<'a>(claimant: &Claimant<'a>) -> Result<&'a SignedClaim, Refusal> {
    let claim = claimant.evidence.claim.as_ref().ok_or(Refusal::NoToken)?;
    if claim.expires < claimant.now {
        return Err(Refusal::Expired(claim.expires));
    }
    if !claim.names(claimant.scope, claimant.registration_id) {
        return Err(Refusal::OtherResource(claim.resource.clone()));
    }
    Ok(claim)
}

/// The pair of device keys derived from these group keys, if one of them signed the claim. The ID is tried as it was
/// sent, then in lower case: clients differ in which they derive from.
pub(super) fn derived_keys(
    claim: &SignedClaim,
    group: &SymmetricKeyPair,
    registration_id: &RegistrationId,
) -> Option<SymmetricKeyPair> {
    let (sent, lower) = (registration_id.as_str(), registration_id.key());
    let spellings = std::iter::once(sent).chain((sent != lower).then_some(&*lower));
    spellings.map(|id| group.derive(id)).find(|keys| keys.iter().any(|key| claim.is_signed_by(key)))
}
