//! Errors, by who must act. Each endpoint has one table of their codes.

use std::num::NonZeroU32;

use model::Quota;

use crate::ports::{DamagedRecord, StoreError};

/// Why a call failed. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The caller is not who it claims to be, or is not allowed to do this. The message is terse; the reason is for the log.
    #[error("{message} ({reason})")]
    Unauthorized {
        /// For the caller.
        message: &'static str,
        /// For the log: the rule that refused.
        reason: String,
    },
    /// The request breaks a rule, which the message names.
    #[error("{0}")]
    Invalid(String),
    /// The addressed record does not exist.
    #[error("{0} not found")]
    NotFound(RecordKind),
    /// The record exists already, and the caller named no version to replace.
    #[error("{0} already exists")]
    Exists(RecordKind),
    /// The state of the record forbids the change. The text says why.
    #[error("{0}")]
    Conflict(String),
    /// The record is not of the version the caller named.
    #[error("the {0} was changed since: its etag is another")]
    PreconditionFailed(RecordKind),
    /// The caller named a version to replace, or any, and there is no record.
    #[error("there is no such {0} to replace: without If-Match it is created")]
    NothingToReplace(RecordKind),
    /// The instance has as many records as its quota permits. Existing ones stay as they are.
    #[error("the quota of the instance is used up: at most {limit} {}", .quota.name())]
    QuotaExceeded {
        /// The quota.
        quota: Quota,
        /// Its limit.
        limit: NonZeroU32,
    },
    /// The service is overloaded, or lost too many races; trying again helps.
    #[error("busy")]
    Busy,
    /// The storage takes no writes, as when its disk is full; trying again helps once an operator has fixed that. The text is for
    /// the log.
    #[error("nothing can be stored: {0}")]
    Unwritable(String),
    /// A record that the call needs cannot be read.
    #[error("{0}")]
    Damaged(DamagedRecord),
    /// The lease that the work was done under has another holder: that one goes on with it.
    #[error("the lease that this was done under has ended")]
    Fenced,
    /// A fault of the service. The text is for the log.
    #[error("internal error: {0}")]
    Broken(String),
}

impl Error {
    /// Whether the service is at fault, so that a call ends for all of its items, and not for one.
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self, Error::Busy | Error::Unwritable(_) | Error::Broken(_))
    }
}

/// The kinds of record that a caller can address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// An individual enrollment.
    Enrollment,
    /// An enrollment group.
    EnrollmentGroup,
    /// A registration.
    Registration,
    /// An operation.
    Operation,
    /// A pending cleanup at a hub.
    Cleanup,
    /// A CA certificate.
    CaCertificate,
    /// The revocation list of a CA.
    RevocationList,
    /// The block of a certificate.
    Block,
    /// A linked hub.
    LinkedHub,
    /// A service instance.
    Instance,
    /// An access policy of an instance.
    AccessPolicy,
    /// A registration that was refused.
    Attempt,
    /// A count of operations.
    Usage,
}

impl std::fmt::Display for RecordKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RecordKind::Enrollment => "enrollment",
            RecordKind::EnrollmentGroup => "enrollment group",
            RecordKind::Registration => "registration",
            RecordKind::Operation => "operation",
            RecordKind::Cleanup => "cleanup",
            RecordKind::CaCertificate => "CA certificate",
            RecordKind::RevocationList => "revocation list",
            RecordKind::Block => "block of the certificate",
            RecordKind::LinkedHub => "linked hub",
            RecordKind::Instance => "service instance",
            RecordKind::AccessPolicy => "access policy",
            RecordKind::Attempt => "refused attempt",
            RecordKind::Usage => "usage count",
        })
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Error::Busy,
            StoreError::Unwritable(text) => Error::Unwritable(text),
            StoreError::Damaged(record) => Error::Damaged(record),
            StoreError::HostTaken(_) => Error::Conflict(error.to_string()),
            StoreError::Fenced => Error::Fenced,
            StoreError::Broken(text) => Error::Broken(text),
        }
    }
}
