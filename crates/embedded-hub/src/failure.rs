//! Why the hub did not do what it was asked: one enum, by who must act.

use durable::WriteError;
use wire::hub::ErrorCode;

use crate::{identity::IdentityRefusal, twin::TwinRefusal};

/// Why the hub did not do what it was asked. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubFailure {
    /// The hub's storage failed or is gone. For the log; callers learn nothing from it.
    #[error("the hub failed: {0}")]
    Broken(String),
    /// Too much to do; trying again later helps.
    #[error("the hub is overloaded")]
    Busy,
    /// There is a device of this name already.
    #[error("A device with ID '{0}' is already registered.")]
    Exists(String),
    /// The request is not allowed as it is.
    #[error("{0}")]
    Invalid(String),
    /// The message is not with the device any more, or never was.
    #[error("The lock supplied is invalid: the message was settled or its lock has run out.")]
    LockLost,
    /// The device is not connected, or does not listen for methods.
    #[error("The device '{0}' is not online.")]
    Offline(String),
    /// As many messages wait for the device as may.
    #[error("Total number of messages on device '{0}' exceeded the maximum number.")]
    QueueFull(String),
    /// Another version was expected, or one had to be named.
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
    /// There is no such device.
    #[error("The device '{0}' doesn't exist.")]
    Unknown(String),
}

impl HubFailure {
    /// The hub error code for it, over REST and MQTT alike.
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

    /// What the caller is told: nothing of what is inside the hub.
    pub fn told(&self) -> String {
        match self {
            HubFailure::Broken(_) => "An internal error occurred.".to_owned(),
            other => other.to_string(),
        }
    }
}

/// The words of the real hub for a version that is not the one.
pub const OTHER_ETAG: HubFailure = HubFailure::Stale("ETag may be invalid.");
/// The words of the real hub for a deletion without `If-Match`.
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
