//! The nine performatives (§2.7).
//!
//! Locales, capabilities, resumption, and properties other than a link's are skipped.

mod read;
mod write;

use std::fmt;

use bytes::Bytes;

use super::{
    state::{AmqpError, DeliveryState},
    value::Entries,
};

/// The body of a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Performative {
    /// Opens a link (§2.7.3).
    Attach(Attach),
    /// Opens a session (§2.7.2).
    Begin(Begin),
    /// Closes the connection (§2.7.9).
    Close(Close),
    /// Closes or suspends a link (§2.7.7).
    Detach(Detach),
    /// Reports the state of deliveries (§2.7.6).
    Disposition(Disposition),
    /// Closes a session (§2.7.8).
    End(End),
    /// Grants windows and credit (§2.7.4).
    Flow(Flow),
    /// Opens the connection (§2.7.1).
    Open(Open),
    /// Carries a message or a part of one (§2.7.5).
    Transfer(Transfer),
}

/// Opens a connection (§2.7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The container ID of the sender.
    pub container_id: String,
    /// The virtual host that a client addresses.
    pub hostname: Option<String>,
    /// The largest frame that the sender accepts, in bytes.
    pub max_frame_size: u32,
    /// The highest channel that the sender accepts.
    pub channel_max: u16,
    /// The idle time-out of the sender, in milliseconds.
    pub idle_timeout_ms: Option<u32>,
}

/// Opens a session (§2.7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The peer's channel, in the answer to its begin.
    pub remote_channel: Option<u16>,
    /// The ID of the first transfer.
    pub next_outgoing_id: u32,
    /// The number of transfers that the sender of this frame can receive.
    pub incoming_window: u32,
    /// The number of transfers that the sender of this frame may send.
    pub outgoing_window: u32,
    /// The highest handle that the sender accepts.
    pub handle_max: u32,
}

/// The role of a peer on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives messages.
    Receiver,
    /// Sends messages.
    Sender,
}

/// The sender's settlement mode of a link (§2.8.2). The receiver's mode is skipped: settling at once is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleMode {
    /// The sender settles some deliveries and leaves others unsettled.
    Mixed,
    /// The sender settles every delivery when it sends it.
    Settled,
    /// The sender leaves every delivery unsettled.
    Unsettled,
}

/// The source or target of a link; absent if it does not exist, as when a link is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminus {
    /// Its name.
    pub address: Option<String>,
}

/// Opens a link (§2.7.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Attach {
    /// The name, unique among the links of one direction.
    pub name: String,
    /// The number of the link in the sender's frames.
    pub handle: u32,
    /// The role of the sender of this frame.
    pub role: Role,
    /// The settlement mode of the link's sender.
    pub settle_mode: SettleMode,
    /// The source of messages.
    pub source: Option<Terminus>,
    /// The target of messages.
    pub target: Option<Terminus>,
    /// The delivery count at the start; only a link's sender sets it.
    pub initial_delivery_count: Option<u32>,
    /// The largest message that the sender of this frame accepts, in bytes.
    pub max_message_size: Option<u64>,
    /// The properties of the link.
    pub properties: Entries,
}

/// Updates the flow state of a session, and of a link (§2.7.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The ID of the next transfer that the sender of this frame expects.
    pub next_incoming_id: Option<u32>,
    /// The number of transfers that it can receive.
    pub incoming_window: u32,
    /// The ID of its own next transfer.
    pub next_outgoing_id: u32,
    /// The number of transfers that it may send.
    pub outgoing_window: u32,
    /// The state of one link.
    pub link: Option<LinkFlow>,
    /// Whether the receiver should answer with its own flow state.
    pub echo: bool,
}

/// The flow state of one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFlow {
    /// The handle of the link.
    pub handle: u32,
    /// The delivery count.
    pub delivery_count: Option<u32>,
    /// The number of deliveries, from the delivery count on, that the link's receiver can accept.
    pub link_credit: Option<u32>,
    /// The number of messages that wait at the link's sender.
    pub available: Option<u32>,
    /// Whether the sender should use up or return its credit now.
    pub drain: bool,
}

/// Carries a message or a part of one (§2.7.5).
#[derive(Clone, PartialEq)]
pub struct Transfer {
    /// The handle of the link.
    pub handle: u32,
    /// The ID of the delivery in its session; set in the first part.
    pub delivery_id: Option<u32>,
    /// The tag of the delivery on its link; set in the first part.
    pub delivery_tag: Option<Bytes>,
    /// The message format; 0 is the standard's.
    pub message_format: Option<u32>,
    /// Whether the sender has settled the delivery.
    pub settled: Option<bool>,
    /// Whether more parts follow.
    pub more: bool,
    /// The state of the delivery at the sender.
    pub state: Option<DeliveryState>,
    /// Whether this resumes an unsettled delivery.
    pub resume: bool,
    /// Whether the sender aborted the delivery.
    pub aborted: bool,
    /// The payload of this part.
    pub payload: Bytes,
}

/// Reports the state of deliveries (§2.7.6).
#[derive(Debug, Clone, PartialEq)]
pub struct Disposition {
    /// The role of the sender of this frame.
    pub role: Role,
    /// The ID of the first delivery.
    pub first: u32,
    /// The ID of the last delivery; absent if there is only one.
    pub last: Option<u32>,
    /// Whether the sender of this frame has settled them.
    pub settled: bool,
    /// The state of the deliveries.
    pub state: Option<DeliveryState>,
}

/// Closes or suspends a link (§2.7.7).
#[derive(Debug, Clone, PartialEq)]
pub struct Detach {
    /// The handle of the link.
    pub handle: u32,
    /// Whether the link is closed rather than suspended.
    pub closed: bool,
    /// The error that is the reason, if any.
    pub error: Option<AmqpError>,
}

/// Closes a session (§2.7.8).
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The error that is the reason, if any.
    pub error: Option<AmqpError>,
}

/// Closes the connection (§2.7.9).
#[derive(Debug, Clone, PartialEq)]
pub struct Close {
    /// The error that is the reason, if any.
    pub error: Option<AmqpError>,
}

/// Shows only the length of the payload, which may contain keys.
impl fmt::Debug for Transfer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transfer")
            .field("handle", &self.handle)
            .field("delivery_id", &self.delivery_id)
            .field("settled", &self.settled)
            .field("more", &self.more)
            .field("state", &self.state)
            .field("aborted", &self.aborted)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The descriptors of the performatives.
mod descriptor {
    pub(super) const OPEN: u8 = 0x10;
    pub(super) const BEGIN: u8 = 0x11;
    pub(super) const ATTACH: u8 = 0x12;
    pub(super) const FLOW: u8 = 0x13;
    pub(super) const TRANSFER: u8 = 0x14;
    pub(super) const DISPOSITION: u8 = 0x15;
    pub(super) const DETACH: u8 = 0x16;
    pub(super) const END: u8 = 0x17;
    pub(super) const CLOSE: u8 = 0x18;
    pub(super) const SOURCE: u8 = 0x28;
    pub(super) const TARGET: u8 = 0x29;
}
