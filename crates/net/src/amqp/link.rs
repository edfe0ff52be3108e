//! One link.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::endpoint::LinkId;

/// A link, as both ends know it by the handle that the client chose.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) handle: u32,
    pub(super) flow: LinkState,
}

/// What a link is doing.
pub(super) enum LinkState {
    /// We have detached it, and wait for the client to do the same. What still comes is dropped.
    Detached,
    Receiving(Receiving),
    Sending(Sending),
}

/// A link over which the client sends.
pub(super) struct Receiving {
    /// Deliveries that have begun.
    pub(super) delivery_count: u32,
    /// Deliveries that the client may still begin.
    pub(super) credit: u32,
    /// Deliveries whose verdict comes later.
    pub(super) unsettled: u32,
    /// The message that is coming in.
    pub(super) partial: Option<Partial>,
}

/// A message of which the last transfer has not come.
pub(super) struct Partial {
    pub(super) delivery_id: u32,
    pub(super) format: u32,
    pub(super) settled: bool,
    pub(super) payload: BytesMut,
    pub(super) since: Instant,
}

/// A link over which the client receives.
pub(super) struct Sending {
    /// Deliveries that have begun.
    pub(super) delivery_count: u32,
    /// Deliveries that the client still takes.
    pub(super) credit: u32,
    /// Whether we settle when we send.
    pub(super) settled: bool,
    /// The longest message that the client takes.
    pub(super) max_message: Option<u64>,
    /// The message that is going out.
    pub(super) rest: Option<Rest>,
}

/// What is left to send of a message.
pub(super) struct Rest {
    pub(super) delivery_id: u32,
    pub(super) payload: Bytes,
    /// Whether its first transfer has been sent.
    pub(super) begun: bool,
}
