//! Metering: what counts as an operation.

use serde::{Deserialize, Serialize};

use crate::Day;

/// The kinds of calls that count as one operation each when they succeed. Status lookups by devices are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OperationKind {
    /// A device was assigned for the first time.
    Registration,
    /// A device that was assigned before returned.
    Reregistration,
    /// An enrollment or enrollment group was read.
    EnrollmentRead,
    /// An enrollment or enrollment group was created, updated or deleted.
    EnrollmentChange,
    /// Several enrollments were changed by one bulk call.
    EnrollmentBulk,
    /// A page of enrollments or enrollment groups was queried.
    EnrollmentQuery,
    /// An attestation mechanism was read with its secrets.
    AttestationRead,
    /// A registration was read.
    RegistrationRead,
    /// A registration was deleted.
    RegistrationDelete,
    /// An assignment was canceled.
    RegistrationCancel,
    /// A page of registrations was queried.
    RegistrationQuery,
    /// A hub was linked or unlinked, or a link or the instance's allocation policy changed.
    LinkedHubChange,
}

impl OperationKind {
    /// Every kind, in the order of the reports.
    pub const ALL: [OperationKind; 12] = [
        Self::Registration,
        Self::Reregistration,
        Self::EnrollmentRead,
        Self::EnrollmentChange,
        Self::EnrollmentBulk,
        Self::EnrollmentQuery,
        Self::AttestationRead,
        Self::RegistrationRead,
        Self::RegistrationDelete,
        Self::RegistrationCancel,
        Self::RegistrationQuery,
        Self::LinkedHubChange,
    ];

    /// Returns the name in reports and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Reregistration => "reregistration",
            Self::EnrollmentRead => "enrollmentRead",
            Self::EnrollmentChange => "enrollmentChange",
            Self::EnrollmentBulk => "enrollmentBulk",
            Self::EnrollmentQuery => "enrollmentQuery",
            Self::AttestationRead => "attestationRead",
            Self::RegistrationRead => "registrationRead",
            Self::RegistrationDelete => "registrationDelete",
            Self::RegistrationCancel => "registrationCancel",
            Self::RegistrationQuery => "registrationQuery",
            Self::LinkedHubChange => "linkedHubChange",
        }
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How many operations of one kind an instance completed on one UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The day.
    pub day: Day,
    /// The kind of operation.
    pub kind: OperationKind,
    /// How many there were.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_json_names() {
        for kind in OperationKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
            assert_eq!(OperationKind::from_name(kind.name()), Some(kind));
        }
    }
}
