//! The change log: who changed which record, when, and by which instruction.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Identity, RegistrationId, Timestamp};

/// Declares an enum whose variants have a number in the store and a name in JSON. Both are stable: logs outlive programs.
macro_rules! stable {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All variants.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the number in the store.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Returns the name in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Returns the variant with this number.
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.code() == code)
            }

            /// Returns the variant with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

stable! {
    /// The kinds of record whose changes are logged. Those below [`LogKind::FIRST_OF_MANY`] are the configuration: few, and
    /// kept in memory by every node.
    LogKind {
        /// A service instance.
        Instance = 0 "instance",
        /// An enrollment group.
        EnrollmentGroup = 1 "enrollmentGroup",
        /// A CA certificate.
        CaCertificate = 2 "caCertificate",
        /// A revocation list of a CA.
        RevocationList = 3 "revocationList",
        /// The block of a certificate.
        Block = 4 "blockedCertificate",
        /// An individual enrollment.
        Enrollment = 16 "enrollment",
        /// A registration.
        Registration = 17 "registration",
        /// A cleanup at a hub.
        Cleanup = 18 "cleanup",
        /// The refused attempts under a registration ID.
        Attempt = 19 "attempt",
    }
}

impl LogKind {
    /// The number of the first kind that is not configuration.
    pub const FIRST_OF_MANY: u8 = 16;

    /// Whether records of this kind are configuration.
    pub const fn is_configuration(self) -> bool {
        self.code() < Self::FIRST_OF_MANY
    }
}

stable! {
    /// The operations that change records.
    LogOperation {
        /// An enrollment or enrollment group was created or replaced.
        EnrollmentPut = 0 "enrollment.put",
        /// An enrollment or enrollment group was deleted.
        EnrollmentDelete = 1 "enrollment.delete",
        /// Several enrollments were changed by one call.
        EnrollmentBulk = 2 "enrollment.bulk",
        /// The storage root key of a TPM was learned from its device.
        EnrollmentLearn = 3 "enrollment.learn",
        /// A device registered: a run was started, or the registration ended at once.
        RegistrationRegister = 4 "registration.register",
        /// A device answered a TPM challenge, which is used up.
        RegistrationProve = 5 "registration.prove",
        /// A confirmation that takes longer was persisted as a run.
        RegistrationHold = 6 "registration.hold",
        /// A run got another device spec: from a webhook, or by failover.
        RegistrationPlace = 7 "registration.place",
        /// A failed try of a run was recorded.
        RegistrationTry = 8 "registration.try",
        /// A run ended with an assignment.
        RegistrationAssign = 9 "registration.assign",
        /// A run ended as failed or disabled.
        RegistrationFail = 10 "registration.fail",
        /// An assignment was confirmed.
        RegistrationConfirm = 11 "registration.confirm",
        /// An assignment was canceled.
        RegistrationCancel = 12 "registration.cancel",
        /// A registration was deleted.
        RegistrationDelete = 13 "registration.delete",
        /// Held cleanups were confirmed.
        CleanupConfirm = 14 "cleanup.confirm",
        /// A cleanup was deleted by an operator.
        CleanupForget = 15 "cleanup.forget",
        /// A cleanup was tried.
        CleanupTry = 16 "cleanup.try",
        /// A CA certificate was uploaded or replaced.
        CertificatePut = 17 "certificate.put",
        /// A CA certificate was deleted.
        CertificateDelete = 18 "certificate.delete",
        /// A verification code was issued.
        CertificateCode = 19 "certificate.code",
        /// A CA certificate was verified.
        CertificateVerify = 20 "certificate.verify",
        /// Revocation lists of a CA, or its settings for them, were changed.
        RevocationPut = 21 "revocation.put",
        /// Revocation lists were deleted.
        RevocationDelete = 22 "revocation.delete",
        /// A certificate was blocked.
        BlockPut = 23 "block.put",
        /// A block was removed.
        BlockDelete = 24 "block.delete",
        /// A hub was linked, or a link changed.
        LinkedHubPut = 25 "linkedHub.put",
        /// A hub was unlinked.
        LinkedHubDelete = 26 "linkedHub.delete",
        /// The allocation policy of the instance was changed.
        AllocationPolicyPut = 27 "allocationPolicy.put",
        /// An instance was created, or brought in line with the configuration.
        InstanceConfigure = 28 "instance.configure",
        /// The cleanups of an instance were held, because its database was restored or copied.
        InstanceHold = 29 "instance.hold",
        /// A damaged record was dropped.
        RecordDrop = 30 "record.drop",
        /// A record was restored from a backup.
        RecordRestore = 31 "record.restore",
        /// An operation was counted that changes no record.
        Count = 32 "count",
        /// Symmetric keys of an enrollment were replaced by new ones.
        EnrollmentKeys = 33 "enrollment.keys",
        /// An instance was created by an operator.
        InstanceCreate = 34 "instance.create",
        /// An instance was changed by an operator.
        InstanceUpdate = 35 "instance.update",
        /// The deletion of an instance was requested, or its records are deleted.
        InstanceDelete = 36 "instance.delete",
        /// An access policy was created or changed.
        PolicyPut = 37 "accessPolicy.put",
        /// Keys of an access policy were replaced by new ones.
        PolicyKeys = 38 "accessPolicy.keys",
        /// An access policy was deleted.
        PolicyDelete = 39 "accessPolicy.delete",
    }
}

stable! {
    /// The jobs that the service does without a request.
    Job {
        /// Executes assignment runs.
        Assignments = 0 "assignments",
        /// Removes devices from hubs where they do not belong.
        Cleanups = 1 "cleanups",
        /// Fetches revocation lists.
        RevocationLists = 2 "revocationLists",
        /// Brings instances in line with the configuration, at the start and on a reload.
        Configuration = 3 "configuration",
        /// `muster store`.
        Maintenance = 4 "maintenance",
        /// Counts operations.
        Metering = 5 "metering",
        /// Warns of certificates that expire.
        Expiry = 6 "expiry",
        /// Deletes old entries of the change log.
        ChangeLog = 7 "changeLog",
        /// Deletes what belonged to deleted instances.
        Deletions = 8 "deletions",
        /// Fills the search table from the change log.
        Search = 9 "search",
    }
}

/// Who made a change. Contains no secret, and is at most a few hundred bytes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An operator.
    Operator {
        /// Its identity.
        identity: Identity,
        /// The caller's address.
        address: Option<IpAddr>,
    },
    /// A device that attested.
    Device {
        /// The registration ID, in lower case where it was read from the log.
        registration_id: RegistrationId,
        /// The device's address.
        address: Option<IpAddr>,
    },
    /// The service itself.
    System(Job),
}

impl Actor {
    /// Returns the name of the policy, the subject, the device or the job.
    pub fn name(&self) -> &str {
        match self {
            Actor::Operator { identity, .. } => identity.name(),
            Actor::Device { registration_id, .. } => registration_id.as_str(),
            Actor::System(job) => job.name(),
        }
    }
}

/// Who made the changes of a commit, by which operation, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The actor.
    pub actor: Actor,
    /// The operation.
    pub operation: LogOperation,
    /// The time.
    pub at: Timestamp,
}

impl Attribution {
    /// Attributes changes to a job of the service.
    pub const fn by_job(job: Job, operation: LogOperation, at: Timestamp) -> Attribution {
        Attribution { actor: Actor::System(job), operation, at }
    }
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position in the log.
    pub position: LogPosition,
    /// The attribution. The time has a resolution of one millisecond.
    pub attribution: Attribution,
    /// The kind of the record.
    pub kind: LogKind,
    /// Its key in lower case; of an instance the linked hub that was changed, or nothing. Of a revocation list: its CA, a line feed and the ID of the list.
    pub key: String,
    /// The record's new version; `None` if it was deleted, and for instances.
    pub version: Option<String>,
}

/// The position of a change in the log of one writer.
///
/// Positions are opaque. Readers compare those of one writer, store them and pass them back. Positions of different writers have no
/// order, because their transactions may end in another order than they began. A SQLite file has one
/// writer at a time, whose number grows in the order of commits. An engine with several makes `writer` of node and lane,
/// and `number` of the lane's sequence (40 bits) and the ordinal within its batch (24 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogPosition {
    writer: u64,
    number: u64,
}

/// How far a reader has read: its last position of each writer; empty at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogCursor(Vec<LogPosition>);

/// A text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position in the change log that this service returned")]
pub struct CursorError;

impl LogPosition {
    /// Makes a position. For engines.
    pub const fn new(writer: u64, number: u64) -> Self {
        LogPosition { writer, number }
    }

    /// Returns the writer. For engines.
    pub const fn writer(self) -> u64 {
        self.writer
    }

    /// Returns the number among those of its writer. For engines.
    pub const fn number(self) -> u64 {
        self.number
    }
}

impl PartialOrd for LogPosition {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.writer == other.writer).then(|| self.number.cmp(&other.number))
    }
}

impl LogCursor {
    /// How many writers one cursor may name, which bounds what is parsed.
    const MAX_WRITERS: usize = 256;

    /// Records that everything of this position's writer was read up to it.
    pub fn advance(&mut self, to: LogPosition) {
        match self.0.iter_mut().find(|it| it.writer == to.writer) {
            Some(at) => at.number = at.number.max(to.number),
            None => self.0.push(to),
        }
    }

    /// Returns the last position of each writer.
    pub fn positions(&self) -> &[LogPosition] {
        &self.0
    }
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, LogPosition { writer, number }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "." };
            write!(f, "{separator}{writer:x}-{number:x}")?;
        }
        Ok(())
    }
}

impl From<LogCursor> for String {
    fn from(cursor: LogCursor) -> String {
        cursor.to_string()
    }
}

impl TryFrom<String> for LogCursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        text.parse()
    }
}

impl FromStr for LogCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let number = |text: &str| {
            let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u64::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(CursorError)
        };
        let mut cursor = LogCursor::default();
        for part in text.split('.').filter(|_| !text.is_empty()) {
            let (writer, of_writer) = part.split_once('-').ok_or(CursorError)?;
            let position = LogPosition { writer: number(writer)?, number: number(of_writer)? };
            let is_known = cursor.0.iter().any(|it| it.writer == position.writer);
            if is_known || cursor.0.len() == Self::MAX_WRITERS {
                return Err(CursorError);
            }
            cursor.0.push(position);
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_lead_back() {
        let operations: BTreeSet<_> = LogOperation::ALL.iter().map(|it| (it.code(), it.name())).collect();
        for operation in LogOperation::ALL {
            assert_eq!(LogOperation::from_code(operation.code()), Some(*operation));
            assert_eq!(LogOperation::from_name(operation.name()), Some(*operation));
        }
        assert_eq!(operations.len(), LogOperation::ALL.len());
        for kind in LogKind::ALL {
            assert_eq!(LogKind::from_code(kind.code()), Some(*kind));
            assert_eq!(LogKind::from_name(kind.name()), Some(*kind));
        }
        for job in Job::ALL {
            assert_eq!((Job::from_code(job.code()), Job::from_name(job.name())), (Some(*job), Some(*job)));
        }
    }

    #[test]
    fn positions_of_different_writers_have_no_order() {
        let (first, second) = (LogPosition::new(1, 5), LogPosition::new(1, 6));
        assert!(first < second);
        assert_eq!(first.partial_cmp(&LogPosition::new(2, 9)), None);
    }

    #[test]
    fn what_is_no_cursor() {
        for text in ["-", "1", "1-", "-1", "1-2.", "1-2.1-3", "1-2 ", "+1-2", "1-G", "10000000000000000-1"] {
            assert_eq!(text.parse::<LogCursor>(), Err(CursorError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(positions in prop::collection::btree_map(any::<u64>(), any::<u64>(), 0..5)) {
            let mut cursor = LogCursor::default();
            positions.iter().for_each(|(writer, number)| cursor.advance(LogPosition::new(*writer, *number)));
            prop_assert_eq!(cursor.to_string().parse::<LogCursor>(), Ok(cursor));
        }

        #[test]
        fn a_text_is_refused_or_is_how_its_cursor_is_written(text in "[0-9a-f.-]{0,24}|\\PC{0,12}") {
            if let Ok(cursor) = text.parse::<LogCursor>() {
                prop_assert_eq!(cursor.to_string().parse::<LogCursor>(), Ok(cursor));
            }
        }
    }
}
