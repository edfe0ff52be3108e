//! How the hub sends to a connected device, over any transport.

use std::fmt;

use net::mqtt::OutboxError;

use crate::{storage::QueuedMessage, twins::twin::DesiredChange};

/// Sends to one connected device. No method waits: what cannot be queued now is refused.
pub trait DeviceLink: Send + Sync + 'static {
    /// Sends a cloud-to-device message.
    fn message(&self, message: QueuedMessage) -> Result<Sent, SendError>;

    /// Sends changed desired properties.
    fn desired(&self, change: &DesiredChange) -> Result<(), SendError>;

    /// Calls a method; the reply has the same request number. `payload` is JSON, or empty for a call without payload.
    fn call(&self, request: u64, name: &str, payload: Vec<u8>) -> Result<(), SendError>;

    /// Ends the device's connection. The first reason counts.
    fn disconnect(&self, reason: DisconnectReason);

    /// Returns whether the connection has ended or is ending.
    fn is_disconnected(&self) -> bool;
}

/// The state of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The device will settle it.
    Unsettled,
    /// It is settled: the device does not acknowledge it.
    Settled,
}

/// Why a message was not sent to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection has ended, or its queue is full.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The device has subscribed to other topics than this one.
    #[error("the device has not subscribed to this")]
    NotSubscribed,
}

/// Why the hub ends a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// There is a newer connection.
    Replaced,
    /// The device was deleted.
    Deleted,
    /// The device was disabled.
    Disabled,
    /// Its token has expired.
    TokenExpired,
    /// The device has other credentials now, which the client may not have.
    CredentialsChanged,
    /// The client does not read its messages.
    NotReading,
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DisconnectReason::Replaced => "the device connected anew",
            DisconnectReason::Deleted => "the device was deleted",
            DisconnectReason::Disabled => "the device was disabled",
            DisconnectReason::TokenExpired => "the token has expired",
            DisconnectReason::CredentialsChanged => "the device has other credentials",
            DisconnectReason::NotReading => "the device does not take what it is sent",
        })
    }
}
