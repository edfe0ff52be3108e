//! What is deleted together with an enrollment.

use model::{EnrollmentRef, IdScope, Registration, RegistrationId, StatusKind};

use crate::ports::{Change, Expect, Guard, Guarded, Registrations, StoreError};

/// The changes of one enrollment in a commit, and what they depend on. The first one is that of the enrollment itself.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrollmentChanges {
    pub(super) guards: Vec<Guard>,
    pub(super) changes: Vec<(Expect, Change)>,
}

impl EnrollmentChanges {
    pub(super) fn one(expect: Expect, change: Change) -> Self {
        EnrollmentChanges { guards: Vec::new(), changes: vec![(expect, change)] }
    }

    /// Puts the changes of several enrollments one after the other.
    pub(super) fn all<'a>(each: impl Iterator<Item = &'a EnrollmentChanges>) -> Self {
        let mut all = EnrollmentChanges { guards: Vec::new(), changes: Vec::new() };
        for EnrollmentChanges { guards, changes } in each {
            all.guards.extend_from_slice(guards);
            all.changes.extend_from_slice(changes);
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether the enrollment must not exist yet.
    pub(super) fn creates(&self) -> bool {
        matches!(self.changes.first(), Some((Expect::Absent, _)))
    }
}

/// Deletes an individual enrollment with its registration. The registration must be as it was read: a device may be on its
/// way to another state.
pub(super) async fn of_individual(
    store: &(impl Registrations + ?Sized),
    scope: &IdScope,
    id: RegistrationId,
    expect: Expect,
) -> Result<EnrollmentChanges, StoreError> {
    let registration = match store.registration(scope, &id).await {
        // It stays: which enrollment it came through is not known.
        Err(StoreError::Damaged(_)) => {
            return Ok(EnrollmentChanges::one(expect, Change::DeleteIndividual(id)));
        }
        found => found?,
    };
    let version = registration.as_ref().map(|registration| registration.record.etag.clone());
    let record = Guarded::Registration(id.clone());
    let mut changes = vec![(expect, Change::DeleteIndividual(id.clone()))];
    if registration.as_ref().is_some_and(ends_with_individual) {
        changes.push((Expect::Following, Change::DeleteRegistration(id)));
    }
    Ok(EnrollmentChanges { guards: vec![Guard::Record { record, version }], changes })
}

/// Whether a registration is deleted together with the individual enrollment of its ID. One through a group is not; one that
/// is being assigned is not either, because a hub may know of it already: its run ends it.
pub fn ends_with_individual(registration: &Registration) -> bool {
    registration.enrollment == EnrollmentRef::Individual
        && registration.status.kind() != StatusKind::Assigning
}

#[cfg(test)]
mod tests {
    use testkit::sample;

    use super::*;

    #[test]
    fn a_registration_ends_with_its_own_enrollment_unless_it_is_being_assigned() {
        for (_, status) in sample::statuses("dev") {
            let is_settled = status.kind() != StatusKind::Assigning;
            let individual = Registration { status: status.clone(), ..sample::registration("dev") };
            assert_eq!(ends_with_individual(&individual), is_settled, "{status:?}");
            let grouped = Registration { status, ..sample::registration_of("dev", "line") };
            assert!(!ends_with_individual(&grouped), "{grouped:?}");
        }
    }
}
