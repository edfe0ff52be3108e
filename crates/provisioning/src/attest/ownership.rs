//! Which devices an enrollment group may admit: those with its registration IDs that belong to no other group.

use model::{
    Enrollment, EnrollmentGroup, EnrollmentGroupId, RegistrationId, RegistrationIds, RegistrationOwnership,
};

use super::{AttestationTrace, Attested, Proof, Refusal};

/// A registration ID is not one of those that a group is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the group is for the registration IDs {0}, and the device's is not one of them")]
pub struct OtherIds(RegistrationIds);

/// Returns the registration IDs of a group if this is not one of them.
pub(super) fn other_ids(group: &EnrollmentGroup, id: &RegistrationId) -> Option<OtherIds> {
    group.registration_ids.as_ref().filter(|ids| !ids.includes(id)).cloned().map(OtherIds)
}

impl AttestationTrace {
    /// Applies the rule of ownership to a device that is registered through `owner`. Every attestation passes here, so that no
    /// mechanism can move a device silently.
    pub(crate) fn owned_by(
        self,
        owner: Option<&EnrollmentGroup>,
        rule: RegistrationOwnership,
    ) -> AttestationTrace {
        let outcome = match (self.outcome, owner) {
            (Ok(Proof::Attested(attested)), Some(owner)) => attested.owned_by(owner, rule).map(Proof::from),
            (outcome, _) => outcome,
        };
        AttestationTrace { outcome, ..self }
    }
}

impl Attested {
    /// Returns the enrollment group that the device is registered through, if it exists and this is another enrollment.
    pub fn moved_from(&self) -> Option<&EnrollmentGroupId> {
        self.moved_from.as_ref()
    }

    /// An individual enrollment is for exactly this ID, so it takes the device from a group under every rule: a device that
    /// registered first through a group must not keep the ID.
    fn owned_by(mut self, owner: &EnrollmentGroup, rule: RegistrationOwnership) -> Result<Self, Refusal> {
        match &self.enrollment {
            Enrollment::Group(group) if group.group_id == owner.group_id => Ok(self),
            Enrollment::Group(_) if rule == RegistrationOwnership::FirstCome => {
                Err(Refusal::RegisteredElsewhere(owner.group_id.clone()))
            }
            Enrollment::Group(_) | Enrollment::Individual(_) => {
                self.moved_from = Some(owner.group_id.clone());
                Ok(self)
            }
        }
    }
}
