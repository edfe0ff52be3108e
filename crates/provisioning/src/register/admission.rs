//! Verifies at the end of a run that its enrollment still lets the device in.
//!
//! An enrollment may be deleted, disabled or get other keys while runs through it are under way. A run that read the
//! enrollment before such a change must not end in an assignment after it. So the check yields a [`Guard`], the version of the
//! enrollment that was read, and the store verifies it in the transaction that ends the run.

use model::{
    AttestationDigest, DecisionResult, Enrollment, EnrollmentRef, Etag, Failure, FailureReason, IdScope,
    ProvisioningStatus, Registration, Status,
};

use super::{AssignmentRun, execute::RunEnd};
use crate::{
    Error, Provisioning,
    ports::{Guard, Guarded},
};

/// The version of the enrollment that lets a device in, or the end of its run if that is no longer so.
pub(super) type Admission = Result<Guard, Box<RunEnd>>;

impl Provisioning {
    /// Verifies that the enrollment of a run still lets its device in.
    pub(super) async fn admission(&self, run: &AssignmentRun) -> Result<Admission, Error> {
        Ok(admission_of(run, self.enrollment_of(&run.scope, &run.registration).await?.as_ref()))
    }

    /// Returns the enrollment that let a registration's device in, if it still exists.
    pub(crate) async fn enrollment_of(
        &self,
        scope: &IdScope,
        registration: &Registration,
    ) -> Result<Option<Enrollment>, Error> {
        Ok(match &registration.enrollment {
            EnrollmentRef::Individual => {
                let found = self.store.individual(scope, &registration.registration_id).await?;
                found.map(|found| Enrollment::Individual(Box::new(found)))
            }
            EnrollmentRef::Group(group) => {
                self.store.configuration(scope).await?.group(group)?.cloned().map(Enrollment::Group)
            }
        })
    }
}

fn admission_of(run: &AssignmentRun, enrollment: Option<&Enrollment>) -> Admission {
    let registration = &run.registration;
    // What the hub may have applied is cleaned up.
    let fails = |reason, message: &str| {
        Err(Box::new(RunEnd::failing(registration, Failure { reason, message: message.into() })))
    };
    let Some(enrollment) = enrollment else {
        let reason = match &registration.enrollment {
            EnrollmentRef::Individual => FailureReason::EnrollmentDeleted,
            EnrollmentRef::Group(_) => FailureReason::GroupDeleted,
        };
        return fails(reason, "The enrollment was deleted before the device was assigned.");
    };
    if enrollment.settings().provisioning_status == ProvisioningStatus::Disabled {
        return Err(Box::new(disabled(registration)));
    }
    let is_other = |admitted_by: &AttestationDigest| *admitted_by != AttestationDigest::of(enrollment);
    if run.admitted_by.as_ref().is_some_and(is_other) {
        return fails(
            FailureReason::AttestationChanged,
            "The enrollment's attestation was changed before the device was assigned; it must register again.",
        );
    }
    Ok(version_of(enrollment))
}

/// Returns the guard that an enrollment still has this version.
pub(super) fn version_of(enrollment: &Enrollment) -> Guard {
    let (record, version) = match enrollment {
        Enrollment::Individual(found) => {
            (Guarded::Individual(found.registration_id.clone()), &found.record.etag)
        }
        Enrollment::Group(group) => (Guarded::Group(group.group_id.clone()), &group.record.etag),
    };
    Guard::Record { record, version: Some(Etag::clone(version)) }
}

fn disabled(registration: &Registration) -> RunEnd {
    let failure = Failure {
        reason: FailureReason::EnrollmentDisabled,
        message: "The enrollment was disabled before the device was assigned.".into(),
    };
    let ending = RunEnd::failing(registration, failure.clone());
    let current = match ending.status {
        Status::Failed { current, .. } => current,
        Status::Assigning { .. } | Status::Assigned(_) | Status::Disabled { .. } => None,
    };
    RunEnd { status: Status::Disabled { current }, result: DecisionResult::Failed(failure), ..ending }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc};

    use model::{EnrollmentGroup, IndividualAttestation, IndividualEnrollment};
    use testkit::{ca::Authority, sample};

    use super::*;

    fn individual(attestation: IndividualAttestation) -> Enrollment {
        Enrollment::Individual(Box::new(IndividualEnrollment { attestation, ..sample::individual("dev") }))
    }

    #[test]
    fn attestations_that_admit_other_devices_have_other_digests() {
        let certificate = Authority::root("Root").certificate();
        let individuals = sample::individual_attestations(&certificate).into_iter();
        let mut all: Vec<Enrollment> = individuals.map(|(_, attestation)| individual(attestation)).collect();
        let groups = sample::group_attestations(&certificate).into_iter();
        all.extend(groups.map(|(_, attestation)| {
            Enrollment::Group(Arc::new(EnrollmentGroup { attestation, ..sample::group("line") }))
        }));
        let digest = |enrollment| serde_json::to_string(&AttestationDigest::of(enrollment)).unwrap();
        let digests: HashSet<String> = all.iter().map(digest).collect();
        // Neither the storage root key of a TPM nor the kind of an enrollment that names CAs makes a difference.
        assert_eq!((all.len(), digests.len()), (10, 8));
    }

    #[test]
    fn settings_do_not_change_the_digest() {
        let one = sample::individual("dev");
        let mut other = one.clone();
        other.settings.initial_twin = None;
        other.record = sample::record("another");
        let digest = |enrollment| AttestationDigest::of(&Enrollment::Individual(Box::new(enrollment)));
        assert_eq!(digest(one.clone()), digest(other));
        let rotated = individual(IndividualAttestation::SymmetricKey(sample::keys(11)));
        assert_ne!(digest(one), AttestationDigest::of(&rotated));
    }
}
