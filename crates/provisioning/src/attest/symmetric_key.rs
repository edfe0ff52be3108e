//! Symmetric keys: the device signs a token with a key of the enrollment, or one that is derived from a group's key.

use model::{Audience, CheckedClaim, ClaimRefusal, DerivedClaim, Extent, KeySlot, SymmetricKeyPair};

use super::{Claimant, Refusal};

/// Returns which of the keys signed a claim to this registration; refuses if neither did.
pub(super) fn verify(claimant: &Claimant<'_>, keys: &SymmetricKeyPair) -> Result<KeySlot, Refusal> {
    claim_for(claimant)?.device_key(Some(keys)).ok_or(Refusal::Signature)
}

/// Returns the claim if it has not expired and is for this registration.
pub(super) fn claim_for<'a>(claimant: &Claimant<'a>) -> Result<CheckedClaim<'a>, Refusal> {
    let claim = claimant.evidence.claim.as_ref().ok_or(Refusal::NoToken)?;
    let path = format!("registrations/{}", claimant.registration_id);
    let audience = Audience { names: vec![claimant.scope.as_str()], path: &path, extent: Extent::Exactly };
    claim.check(&audience, claimant.now).map_err(|refusal| match refusal {
        ClaimRefusal::Expired(at) => Refusal::Expired(at),
        ClaimRefusal::OtherResource(resource) => Refusal::OtherResource(resource),
    })
}

/// A claim to compare with the keys that are derived from groups' keys. The registration ID is tried as it was sent, then in lower
/// case: clients differ in which they derive keys from.
pub(super) struct GroupClaim<'a> {
    spellings: Vec<(&'a str, DerivedClaim<'a>)>,
}

/// The key of a group that signed a claim.
pub(super) struct Signer {
    /// The index of the group.
    pub(super) group: usize,
    /// Which of the group's keys.
    pub(super) slot: KeySlot,
    /// The device keys that are derived from the group's.
    pub(super) device_keys: SymmetricKeyPair,
}

impl<'a> GroupClaim<'a> {
    pub(super) fn new(claim: &'a CheckedClaim<'a>, sent: &'a str, lower: &'a str) -> Self {
        let spellings = std::iter::once(sent).chain((sent != lower).then_some(lower));
        GroupClaim { spellings: spellings.map(|id| (id, claim.by_derived_key(id))).collect() }
    }

    /// Returns the first of these groups' keys that signed the claim.
    pub(super) fn signer_among(&self, groups: &[&SymmetricKeyPair]) -> Option<Signer> {
        let keys: Vec<_> = groups.iter().flat_map(|pair| KeySlot::ALL.map(|slot| pair.key(slot))).collect();
        self.spellings.iter().find_map(|(id, claim)| {
            let at = claim.signer_among(&keys)?;
            let (group, slot) = (at / KeySlot::ALL.len(), *KeySlot::ALL.get(at % KeySlot::ALL.len())?);
            Some(Signer { group, slot, device_keys: groups.get(group)?.derive(id) })
        })
    }
}
