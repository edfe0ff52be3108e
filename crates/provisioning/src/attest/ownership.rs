//! Which devices an enrollment group may admit: those whose registration IDs are its own, and that belong to no other group.

use model::{
    Enrollment, EnrollmentGroup, EnrollmentGroupId, RegistrationId, RegistrationIds, RegistrationOwnership,
};

use super::{AttestationTrace, Attested, Proof, Refusal};

/// The registration ID is not one of those that a group is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the group is for the registration IDs {0}, and the device's is not one of them")]
pub struct OtherIds(RegistrationIds);

/// Refuses unless the group is for this registration ID.
pub(super) fn is_for(group: &EnrollmentGroup, id: &RegistrationId) -> Result<(), OtherIds> {
    match &group.registration_ids {
        Some(ids) if !ids.includes(id) => Err(OtherIds(ids.clone())),
        Some(_) | None => Ok(()),
    }
}

impl AttestationTrace {
    /// The same for a device that belongs to this group. Every attestation passes here, so that no mechanism can move a
    /// device in silence.
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
    /// The enrollment group that the device is registered through, and that exists still, when this is another enrollment.
    pub fn moved_from(&self) -> Option<&EnrollmentGroupId> {
        self.moved_from.as_ref()
    }

    /// An individual enrollment is the operator's word about this very ID, so it takes its device from a group under every
    /// rule: a device that came first through a group must not keep the ID from it.
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
