//! Whether the enrollment that let a device in still does when its run ends.
//!
//! Deleting or disabling an enrollment, or rotating its keys, has its answer before the runs through it have ended. A run
//! that looked at the enrollment and then wrote its end would overlook what was answered in between. So the look yields a
//! [`Guard`], which the store checks in the transaction that ends the run: a deletion that was answered is never followed
//! by an assignment through what it deleted.

use model::{
    AttestationDigest, DecisionOutcome, Enrollment, EnrollmentRef, Etag, Failure, FailureReason, IdScope,
    ProvisioningStatus, Registration, Status,
};

use super::{AssignmentRun, execute::Ending};
use crate::{
    Error, Provisioning,
    ports::{Guard, Guarded},
};

/// What the end of a run relies on, or the ending of a device that is not admitted any more.
pub(super) type Admission = Result<Guard, Box<Ending>>;

impl Provisioning {
    /// Looks whether the run's device would still be let in by what let it in.
    pub(super) async fn admission(&self, run: &AssignmentRun) -> Result<Admission, Error> {
        Ok(judge(run, self.enrollment_of(&run.scope, &run.registration).await?.as_ref()))
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

/// A device does not live at a hub that an operator no longer lets it go to; what the hub was told is cleaned up.
fn judge(run: &AssignmentRun, enrollment: Option<&Enrollment>) -> Admission {
    let registration = &run.registration;
    let fails = |reason, message: &str| {
        Err(Box::new(Ending::failing(registration, Failure { reason, message: message.into() })))
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
    let (record, version) = match enrollment {
        Enrollment::Individual(found) => {
            (Guarded::Individual(found.registration_id.clone()), &found.record.etag)
        }
        Enrollment::Group(group) => (Guarded::Group(group.group_id.clone()), &group.record.etag),
    };
    Ok(Guard::Record { record, version: Some(Etag::clone(version)) })
}

fn disabled(registration: &Registration) -> Ending {
    let failure = Failure {
        reason: FailureReason::EnrollmentDisabled,
        message: "The enrollment was disabled before the device was assigned.".into(),
    };
    let ending = Ending::failing(registration, failure.clone());
    let current = match ending.status {
        Status::Failed { current, .. } => current,
        Status::Assigning { .. } | Status::Assigned(_) | Status::Disabled { .. } => None,
    };
    Ending { status: Status::Disabled { current }, outcome: DecisionOutcome::Failed(failure), ..ending }
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
    fn what_admits_other_devices_has_another_digest() {
        let certificate = Authority::root("Root").certificate();
        let individuals = sample::individual_attestations(&certificate).into_iter();
        let mut all: Vec<Enrollment> = individuals.map(|(_, attestation)| individual(attestation)).collect();
        let groups = sample::group_attestations(&certificate).into_iter();
        all.extend(groups.map(|(_, attestation)| {
            Enrollment::Group(Arc::new(EnrollmentGroup { attestation, ..sample::group("line") }))
        }));
        let digest = |enrollment| serde_json::to_string(&AttestationDigest::of(enrollment)).unwrap();
        let digests: HashSet<String> = all.iter().map(digest).collect();
        // The storage root key of a TPM does not count, and CA references are the same for one device and for many.
        assert_eq!((all.len(), digests.len()), (10, 8));
    }

    #[test]
    fn what_does_not_concern_the_proof_does_not_count() {
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
