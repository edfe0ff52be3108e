//! Symmetric keys: the device signs a token with a key that the enrollment holds, or that derives from the group's.

use model::{Audience, CheckedClaim, ClaimRefusal, DerivedClaim, Extent, SymmetricKeyPair};

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

/// A claim held against the keys that derive from groups' keys. The registration ID is tried as it was sent, then in lower
/// case: clients differ in which they derive from.
pub(super) struct GroupClaim<'a> {
    spellings: Vec<(&'a str, DerivedClaim<'a>)>,
}

impl<'a> GroupClaim<'a> {
    pub(super) fn new(claim: &'a CheckedClaim<'a>, sent: &'a str, lower: &'a str) -> Self {
        let spellings = std::iter::once(sent).chain((sent != lower).then_some(lower));
        GroupClaim { spellings: spellings.map(|id| (id, claim.by_derived_key(id))).collect() }
    }

    /// Returns the place of the first of these groups' keys that signed the claim, and the device keys that derive from them.
    pub(super) fn signer_among(&self, groups: &[&SymmetricKeyPair]) -> Option<(usize, SymmetricKeyPair)> {
        let keys: Vec<_> = groups.iter().flat_map(|pair| pair.iter()).collect();
        self.spellings.iter().find_map(|(id, claim)| {
            let at = claim.signer_among(&keys)? / KEYS_OF_A_GROUP;
            Some((at, groups.get(at)?.derive(id)))
        })
    }
}

/// The primary and the secondary.
const KEYS_OF_A_GROUP: usize = 2;
