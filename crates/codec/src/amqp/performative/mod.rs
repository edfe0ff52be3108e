//! The nine performatives (§2.7).
//!
//! Locales, capabilities, resumption, and properties other than a link's are skipped: nobody here reads them.

mod read;
mod write;

use std::fmt;

use bytes::Bytes;

use super::state::{AmqpError, DeliveryState};
use super::value::Entries;

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub enum Performative {
    /// A link begins.
    Attach(Attach),
    /// A session begins.
    Begin(Begin),
    /// The connection ends.
    Close(Close),
    /// A link ends.
    Detach(Detach),
    /// Deliveries change their state.
    Disposition(Disposition),
    /// A session ends.
    End(End),
    /// More may be sent.
    Flow(Flow),
    /// The connection begins.
    Open(Open),
    /// A message, or a part of one.
    Transfer(Transfer),
}

/// The connection begins (§2.7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// What the sender calls itself.
    pub container_id: String,
    /// Whom a client means to speak to.
    pub hostname: Option<String>,
    /// The longest frame that the sender takes.
    pub max_frame_size: u32,
    /// The highest channel that the sender takes.
    pub channel_max: u16,
    /// After so much silence the sender gives up, in milliseconds.
    pub idle_timeout_ms: Option<u32>,
}

/// A session begins (§2.7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The channel of the begin that this one answers.
    pub remote_channel: Option<u16>,
    /// The number of the first transfer.
    pub next_outgoing_id: u32,
    /// How many transfers the sender takes.
    pub incoming_window: u32,
    /// How many transfers the sender may send.
    pub outgoing_window: u32,
    /// The highest handle that the sender takes.
    pub handle_max: u32,
}

/// On which side of a link its sender stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It receives messages.
    Receiver,
    /// It sends messages.
    Sender,
}

/// When a link's deliveries are settled (§2.8.2). The receiver's mode is not kept: settling at once is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleMode {
    /// As the sender likes.
    Mixed,
    /// By the sender when it sends.
    Settled,
    /// By the receiver.
    Unsettled,
}

/// Where a link's messages come from or go to; absent when there is no such place, as when a link is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminus {
    /// Its name.
    pub address: Option<String>,
}

/// A link begins (§2.7.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Attach {
    /// Unique among the links of its direction.
    pub name: String,
    /// Stands for the link in the sender's frames.
    pub handle: u32,
    /// What the sender of this frame is.
    pub role: Role,
    /// When the link's sender settles.
    pub settle_mode: SettleMode,
    /// Where messages come from.
    pub source: Option<Terminus>,
    /// Where messages go to.
    pub target: Option<Terminus>,
    /// The number of the first delivery; said by the link's sender.
    pub initial_delivery_count: Option<u32>,
    /// The longest message that the sender of this frame takes.
    pub max_message_size: Option<u64>,
    /// More about the link.
    pub properties: Entries,
}

/// More may be sent (§2.7.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The number of the next transfer that the sender expects.
    pub next_incoming_id: Option<u32>,
    /// How many it takes.
    pub incoming_window: u32,
    /// The number of its own next transfer.
    pub next_outgoing_id: u32,
    /// How many it may send.
    pub outgoing_window: u32,
    /// What concerns one link.
    pub link: Option<LinkFlow>,
    /// Whether the receiver shall tell how it stands.
    pub echo: bool,
}

/// The part of a flow that concerns one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFlow {
    /// The link.
    pub handle: u32,
    /// The number of the next delivery.
    pub delivery_count: Option<u32>,
    /// How many deliveries the link's receiver takes from there.
    pub link_credit: Option<u32>,
    /// How many messages wait at the link's sender.
    pub available: Option<u32>,
    /// Whether credit that cannot be used now is to be given back.
    pub drain: bool,
}

/// A message, or a part of one (§2.7.5).
#[derive(Clone, PartialEq)]
pub struct Transfer {
    /// The link.
    pub handle: u32,
    /// The number of the delivery in its session; in its first part.
    pub delivery_id: Option<u32>,
    /// The name of the delivery on its link; in its first part.
    pub delivery_tag: Option<Bytes>,
    /// Which kind of message this is; 0 is the usual one.
    pub message_format: Option<u32>,
    /// Whether the sender has forgotten it.
    pub settled: Option<bool>,
    /// Whether more parts follow.
    pub more: bool,
    /// How it stands.
    pub state: Option<DeliveryState>,
    /// Whether this resumes a delivery of an earlier link.
    pub resume: bool,
    /// Whether the sender thinks better of it.
    pub aborted: bool,
    /// The part.
    pub payload: Bytes,
}

/// Deliveries change their state (§2.7.6).
#[derive(Debug, Clone, PartialEq)]
pub struct Disposition {
    /// What the sender of this frame is to them.
    pub role: Role,
    /// The first of them.
    pub first: u32,
    /// The last of them; the first when absent.
    pub last: Option<u32>,
    /// Whether the sender of this frame has forgotten them.
    pub settled: bool,
    /// Their state.
    pub state: Option<DeliveryState>,
}

/// A link ends (§2.7.7).
#[derive(Debug, Clone, PartialEq)]
pub struct Detach {
    /// The link.
    pub handle: u32,
    /// Whether it is forgotten, too.
    pub closed: bool,
    /// Why.
    pub error: Option<AmqpError>,
}

/// A session ends (§2.7.8).
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Why.
    pub error: Option<AmqpError>,
}

/// The connection ends (§2.7.9).
#[derive(Debug, Clone, PartialEq)]
pub struct Close {
    /// Why.
    pub error: Option<AmqpError>,
}

/// Shows the payload's length only: it may carry keys.
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

/// The descriptors.
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
