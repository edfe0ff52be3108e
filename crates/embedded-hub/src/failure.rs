//! Why a hub refuses or fails: one enum, by who must act.

use durable::WriteError;
use wire::hub::ErrorCode;

use crate::{registry::identity::IdentityRefusal, twins::twin::TwinRefusal};

/// Why the hub refused or failed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubFailure {
    /// The hub's storage failed. The text is for the log, not for callers.
    #[error("the hub failed: {0}")]
    Broken(String),
    /// The hub is overloaded; a later retry may succeed.
    #[error("the hub is overloaded")]
    Busy,
    /// A device of this name exists.
    #[error("A device with ID '{0}' is already registered.")]
    Exists(String),
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The device does not hold the message: it was settled, or its lock has expired.
    #[error("The lock supplied is invalid: the message was settled or its lock has run out.")]
    LockLost,
    /// The device is not connected, or not subscribed to methods.
    #[error("The device '{0}' is not online.")]
    Offline(String),
    /// The device's queue of messages is full.
    #[error("Total number of messages on device '{0}' exceeded the maximum number.")]
    QueueFull(String),
    /// The expected version is not the current one, or is missing.
    #[error("PreconditionFailed, {0}")]
    Stale(&'static str),
    /// The device did not answer in time.
    #[error("Timed out waiting for the response from device '{0}'.")]
    TimedOut(String),
    /// A body or payload is too large.
    #[error("the content is larger than {0} bytes")]
    TooLarge(usize),
    /// Too many requests of one kind for one device at once.
    #[error("too many calls wait for device '{0}'")]
    TooMany(String),
    /// The device does not exist.
    #[error("The device '{0}' doesn't exist.")]
    Unknown(String),
}

impl HubFailure {
    /// Returns its error code, for REST and MQTT.
    pub fn code(&self) -> ErrorCode {
        match self {
            HubFailure::Broken(_) => ErrorCode::ServerError,
            HubFailure::Busy => ErrorCode::ServiceUnavailable,
            HubFailure::Exists(_) => ErrorCode::DeviceAlreadyExists,
            HubFailure::Invalid(_) => ErrorCode::ArgumentInvalid,
            HubFailure::LockLost => ErrorCode::DeviceMessageLockLost,
            HubFailure::Offline(_) => ErrorCode::DeviceNotOnline,
            HubFailure::QueueFull(_) => ErrorCode::DeviceMaximumQueueDepthExceeded,
            HubFailure::Stale(_) => ErrorCode::PreconditionFailed,
            HubFailure::TimedOut(_) => ErrorCode::GatewayTimeout,
            HubFailure::TooLarge(_) => ErrorCode::MessageTooLarge,
            HubFailure::TooMany(_) => ErrorCode::ThrottlingException,
            HubFailure::Unknown(_) => ErrorCode::DeviceNotFound,
        }
    }

    /// Returns the message for the caller, without internals of the hub.
    pub fn message_for_caller(&self) -> String {
        match self {
            HubFailure::Broken(_) => "An internal error occurred.".to_owned(),
            other => other.to_string(),
        }
    }
}

/// The message of the hosted hub for another version.
pub const OTHER_ETAG: HubFailure = HubFailure::Stale("ETag may be invalid.");
/// The message of the hosted hub for a deletion without `If-Match`.
pub const NO_ETAG: HubFailure = HubFailure::Stale("Etag missing.");

impl From<rusqlite::Error> for HubFailure {
    fn from(error: rusqlite::Error) -> HubFailure {
        HubFailure::Broken(error.to_string())
    }
}

impl From<WriteError<HubFailure>> for HubFailure {
    fn from(error: WriteError<HubFailure>) -> HubFailure {
        match error {
            WriteError::Full => HubFailure::Busy,
            WriteError::Lost(reason) => HubFailure::Broken(reason),
            WriteError::Refused(failure) => failure,
        }
    }
}

impl From<TwinRefusal> for HubFailure {
    fn from(refusal: TwinRefusal) -> HubFailure {
        HubFailure::Invalid(refusal.to_string())
    }
}

impl From<IdentityRefusal> for HubFailure {
    fn from(refusal: IdentityRefusal) -> HubFailure {
        HubFailure::Invalid(refusal.to_string())
    }
}
