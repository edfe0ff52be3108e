//! The way from the hub to a connected device: what each transport does for it.

use std::fmt;

use net::mqtt::OutboxError;

use crate::{storage::Waiting, twin::DesiredChange};

/// The way to one connected device. Nothing here waits: what cannot be queued now is refused.
pub trait DeviceLink: Send + Sync + 'static {
    /// Sends a cloud-to-device message.
    fn message(&self, message: Waiting) -> Result<Sent, Unsent>;

    /// Sends changed desired properties.
    fn desired(&self, change: &DesiredChange) -> Result<(), Unsent>;

    /// Calls a method; the reply comes back with the request's number. `payload` is JSON, or empty for a call without.
    fn call(&self, request: u64, name: &str, payload: Vec<u8>) -> Result<(), Unsent>;

    /// Ends the device's connection. The first reason counts.
    fn part(&self, parting: Parting);

    /// Whether the connection has ended or is ending.
    fn is_parted(&self) -> bool;
}

/// What is still to happen to a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The device settles it; what it makes of it comes back with its sequence.
    Unsettled,
    /// Nothing: the device wants no acknowledgement.
    Settled,
}

/// Why a device is not sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The connection is over or cannot take more.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The device has subscribed to other topics than this one.
    #[error("the device has not subscribed to this")]
    NotSubscribed,
}

/// Why the hub ends a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// There is a newer one.
    Anew,
    /// The device was deleted.
    Deleted,
    /// The device was disabled.
    Disabled,
    /// Its token has run out.
    Expired,
    /// Whoever connected may not be who holds the device's credentials now.
    OtherCredentials,
    /// It does not read what it is sent.
    Stuck,
}

impl fmt::Display for Parting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Parting::Anew => "the device connected anew",
            Parting::Deleted => "the device was deleted",
            Parting::Disabled => "the device was disabled",
            Parting::Expired => "the token has expired",
            Parting::OtherCredentials => "the device has other credentials",
            Parting::Stuck => "the device does not take what it is sent",
        })
    }
}
