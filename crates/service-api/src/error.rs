//! What callers are told when something is wrong: the one place that turns errors into codes.

use model::PolicyName;
use provisioning::{Error, RecordKind, ports::LogError};
use wire::service::{BodyError, PageError};

/// Anything that ends a call without what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// The verbs refused.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The change log cannot be read from the position.
    #[error(transparent)]
    Log(LogError),
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A paging header cannot be read.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Something in the address or in a header breaks a rule.
    #[error("{0}")]
    Argument(String),
    /// The api-version is missing or not known.
    #[error("{}", version_problem(.0.as_deref()))]
    ApiVersion(Option<String>),
    /// No token, or one that is refused. The reason is for the log.
    #[error("{0}")]
    Unauthorized(String),
    /// The token's policy does not allow this.
    #[error("the policy {0} does not grant the right that this needs")]
    Forbidden(PolicyName),
    /// The host header names no instance.
    #[error("{0}")]
    Host(String),
    /// Nothing is at this path.
    #[error("there is nothing at this path")]
    NoRoute,
    /// Something is at this path, but not for this method.
    #[error("the method is not allowed here, or the ID is missing in the path")]
    Method {
        /// The methods that are, for the `allow` header.
        allowed: String,
    },
    /// The body took too long to arrive.
    #[error("the request body did not arrive in time")]
    SlowBody,
    /// The body is too long.
    #[error("the request body is longer than {0} bytes")]
    TooLarge(usize),
    /// The body is declared as something other than JSON.
    #[error("the request body must be application/json")]
    MediaType,
}

impl Failure {
    /// The six-digit code, whose first three digits are the HTTP status, and a sentence for the caller.
    pub(crate) fn code_and_message(&self) -> (u32, String) {
        let code = match self {
            Failure::Refused(error) => return described(error),
            Failure::Unauthorized(_) => return (401_002, "Unauthorized".into()),
            Failure::ApiVersion(_) => 400_001,
            Failure::Body(BodyError::NotJson(_)) => 400_003,
            Failure::Body(_) | Failure::Page(_) | Failure::Argument(_) => 400_002,
            Failure::Forbidden(_) => 403_000,
            Failure::Log(_) => 410_000,
            Failure::Host(_) | Failure::NoRoute => 404_000,
            Failure::Method { .. } => 405_000,
            Failure::SlowBody => 408_000,
            Failure::TooLarge(_) => 413_000,
            Failure::MediaType => 415_000,
        };
        (code, self.to_string())
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

/// The code and the sentence for an error of the verbs; bulk results show them per item.
pub(crate) fn described(error: &Error) -> (u32, String) {
    let code = match error {
        Error::Unauthorized { message, .. } => return (401_002, (*message).into()),
        Error::Broken(_) => return (500_000, "Internal server error.".into()),
        Error::Unwritable(_) => {
            return (503_000, "The service cannot store anything now; try again later.".into());
        }
        Error::Busy | Error::Fenced => return (429_001, "The service is busy; try again later.".into()),
        Error::Invalid(_) => 400_002,
        Error::NotFound(kind) => 404_000 + number_of(*kind),
        Error::Damaged(record) => {
            let code = 500_000 + number_of(record.kind);
            return (code, format!("{record}. Delete it, or restore it: muster store check --help"));
        }
        Error::Exists(RecordKind::EnrollmentGroup) => 409_202,
        Error::Exists(_) => 409_201,
        Error::PreconditionFailed(_) | Error::NothingToReplace(_) => 412_000,
    };
    (code, error.to_string())
}

/// What codes about a kind of record end in.
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
        RecordKind::Usage => 213,
    }
}

fn version_problem(version: Option<&str>) -> String {
    match version {
        Some(version) => format!("api-version {version:?} is not supported"),
        None => "the query parameter api-version is missing".into(),
    }
}
