//! Errors of calls, and the table of their codes.

use std::{num::NonZeroU32, time::Duration};

use model::{AddressRefusal, Identity};
use provisioning::{Error, RecordKind, ports::LogError};
use wire::service::{BodyError, PageError, ParameterError};

use crate::bearer::{BearerFailure, BearerRefusal};

/// The reasons why a call fails.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// A verb refused.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The change log cannot be read from the position.
    #[error(transparent)]
    Log(LogError),
    /// The body is malformed.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A paging header is malformed.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The path, a query parameter or a header is invalid.
    #[error("{0}")]
    Argument(String),
    /// The api-version is missing or malformed; the value is its text.
    #[error("{}", version_problem(.0.as_deref()))]
    ApiVersion(Option<String>),
    /// The token is missing or invalid. The reason is for the log.
    #[error("{0}")]
    Unauthorized(String),
    /// The instance does not admit the address of the caller. The reason is for the log: the caller gets no hint, as in Azure.
    #[error(transparent)]
    Address(AddressRefusal),
    /// The bearer token is invalid.
    #[error("{0}")]
    InvalidToken(BearerRefusal),
    /// The bearer token cannot be verified now. The reason is for the log.
    #[error("{0}")]
    NoKeys(BearerFailure),
    /// The caller has no right for the route.
    #[error("{}", missing_right(.0))]
    Forbidden(Identity),
    /// No instance has the host name.
    #[error("{0}")]
    Host(String),
    /// The instance has had its operations of a minute. They are not limited by the caller.
    #[error("the instance is limited to {limit} operations a minute; try again after {} ms", .wait.as_millis())]
    Throttled {
        /// The time after which a call is within the limit.
        wait: Duration,
        /// The limit.
        limit: NonZeroU32,
    },
    /// There is no resource with this name in the resource group of the path.
    #[error("there is no provisioning service {0} in this resource group")]
    NoResource(String),
    /// The caller may not do this to any instance, or to a new one.
    #[error("{0} needs rights on all instances")]
    NotEverywhere(&'static str),
    /// No route has the path.
    #[error("there is nothing at this path")]
    NoRoute,
    /// No route has the path and the method.
    #[error("the method is not allowed here, or the ID is missing in the path")]
    Method {
        /// The methods of the path, for the header `Allow`.
        allowed: String,
    },
    /// The body took too long to arrive.
    #[error("the request body did not arrive in time")]
    SlowBody,
    /// The body is longer than this number of bytes.
    #[error("the request body is longer than {0} bytes")]
    TooLarge(usize),
    /// The body is declared as something other than JSON.
    #[error("the request body must be application/json")]
    MediaType,
}

impl Failure {
    /// Returns the challenge for callers with bearer tokens (RFC 6750 §3), if the failure has one.
    pub(crate) fn challenge(&self) -> Option<String> {
        let error = match self {
            Failure::Unauthorized(_) | Failure::Address(_) => String::new(),
            Failure::InvalidToken(refusal) => {
                format!(", error=\"invalid_token\", error_description=\"{refusal}\"")
            }
            Failure::Forbidden(Identity::Subject(_)) => ", error=\"insufficient_scope\"".to_owned(),
            _ => return None,
        };
        Some(format!("Bearer realm=\"muster\"{error}"))
    }

    /// Returns after how many seconds to try again, if that is known.
    pub(crate) fn retry_after_secs(&self) -> Option<u64> {
        match self {
            Failure::Throttled { wait, .. } => Some(wait.as_millis().div_ceil(1000) as u64),
            _ => None,
        }
    }

    /// Returns the error code, six digits, the first three of which are the HTTP status; and the message for the caller.
    pub(crate) fn code_and_message(&self) -> (u32, String) {
        let code = match self {
            Failure::Refused(error) => return code_and_message(error),
            Failure::Unauthorized(_) | Failure::Address(_) => return (401_002, "Unauthorized".into()),
            Failure::InvalidToken(_) => 401_002,
            Failure::NoKeys(_) => {
                return (503_000, "The token cannot be verified, because the keys of the identity provider cannot be fetched; try again later.".into());
            }
            Failure::ApiVersion(_) => 400_001,
            Failure::Body(BodyError::NotJson(_)) => 400_003,
            Failure::Body(_) | Failure::Page(_) | Failure::Argument(_) => 400_002,
            Failure::Forbidden(_) | Failure::NotEverywhere(_) => 403_000,
            Failure::NoResource(_) => 404_211,
            Failure::Log(_) => 410_000,
            Failure::Throttled { .. } => 429_000,
            Failure::Host(_) | Failure::NoRoute => 404_000,
            Failure::Method { .. } => 405_000,
            Failure::SlowBody => 408_000,
            Failure::TooLarge(_) => 413_000,
            Failure::MediaType => 415_000,
        };
        (code, self.to_string())
    }
}

impl From<BearerFailure> for Failure {
    fn from(failure: BearerFailure) -> Self {
        match failure {
            BearerFailure::Refused(refusal) => Failure::InvalidToken(refusal),
            BearerFailure::NoKeys(_) => Failure::NoKeys(failure),
        }
    }
}

impl From<ParameterError> for Failure {
    fn from(error: ParameterError) -> Self {
        Failure::Argument(error.to_string())
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Store(error) => Failure::Refused(error.into()),
            LogError::Trimmed | LogError::Foreign => Failure::Log(error),
        }
    }
}

/// Returns the code and the message for an error of a verb.
fn code_and_message(error: &Error) -> (u32, String) {
    let code = match error {
        Error::Unauthorized { message, .. } => return (401_002, (*message).into()),
        Error::Broken(_) => return (500_000, "Internal server error.".into()),
        Error::Unwritable(_) => {
            return (503_000, "The service cannot store anything now; try again later.".into());
        }
        Error::QuotaExceeded { .. } => 429_001,
        Error::Busy | Error::Fenced => return (429_001, "The service is busy; try again later.".into()),
        Error::Invalid(_) => 400_002,
        Error::NotFound(kind) => 404_000 + number_of(*kind),
        Error::Damaged(record) => {
            let code = 500_000 + number_of(record.kind);
            return (
                code,
                format!("{record}. Delete it, or restore it from a backup; `muster store check` finds all"),
            );
        }
        Error::Exists(RecordKind::EnrollmentGroup) => 409_202,
        Error::Exists(_) => 409_201,
        Error::Conflict(_) => 409_000,
        Error::PreconditionFailed(_) | Error::NothingToReplace(_) => 412_000,
    };
    (code, error.to_string())
}

/// Returns the last three digits of codes about a kind of record.
fn number_of(kind: RecordKind) -> u32 {
    match kind {
        RecordKind::Enrollment => 201,
        RecordKind::Registration => 202,
        RecordKind::Operation => 203,
        RecordKind::EnrollmentGroup => 204,
        RecordKind::CaCertificate => 205,
        RecordKind::RevocationList => 206,
        RecordKind::Block => 207,
        RecordKind::LinkedHub => 208,
        RecordKind::Cleanup => 210,
        RecordKind::Instance => 211,
        RecordKind::Attempt => 212,
        RecordKind::AccessPolicy => 214,
        RecordKind::Usage => 213,
    }
}

fn missing_right(identity: &Identity) -> String {
    match identity {
        Identity::Policy(policy) | Identity::ManagementPolicy(policy) => {
            format!("the policy {policy} does not grant the right that this needs")
        }
        Identity::Subject(subject) => {
            format!("the roles of {subject} do not grant the right that this needs on this instance")
        }
    }
}

fn version_problem(version: Option<&str>) -> String {
    match version {
        Some(version) => format!("api-version {version:?} is not supported"),
        None => "the query parameter api-version is missing".into(),
    }
}
