//! One link, and what a program knows of it.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::amqp::{AmqpError, Attach, DeliveryState, Entries, Message, Role, SettleMode, Terminus};

/// A link of one connection. An ID is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId(pub(super) u32);

/// The direction of a link's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The client sends.
    FromClient,
    /// The client receives.
    ToClient,
}

/// A link that the client wants to attach.
#[derive(Debug, Clone)]
pub struct LinkRequest {
    /// Its ID from here on.
    pub id: LinkId,
    /// The client's name for it.
    pub name: String,
    /// The direction of its messages.
    pub direction: Direction,
    /// The server's address: the target of what the client sends, the source of what it receives.
    pub address: Option<String>,
    /// When messages are settled; a link to the client is served as it asks.
    pub settle_mode: SettleMode,
    /// The other properties that the client gives it.
    pub properties: Entries,
}

/// Names a delivery from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryRef {
    pub(super) link: LinkId,
    pub(super) number: u32,
    /// Whether the client wants no verdict.
    pub(super) settled: bool,
}

/// A message from the client.
#[derive(Debug)]
pub struct Delivery {
    /// Its reference, for a verdict that comes later.
    pub id: DeliveryRef,
    /// The link that it came over.
    pub link: LinkId,
    /// Its message format; 0 is AMQP's own (§3.2.16).
    pub format: u32,
    /// Whether the client wants no verdict.
    pub settled: bool,
    /// The message.
    pub message: Message,
}

/// The verdict on a message from the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is settled in this state.
    Settled(DeliveryState),
    /// It will be settled later, once. Until then the message counts against the link's credit.
    Later,
}

/// A message to the client that the client has settled, or reported a final state of.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The link that it went over.
    pub link: LinkId,
    /// The token that it was sent with.
    pub token: u64,
    /// Its final state.
    pub state: DeliveryState,
}

/// A link, as both ends know it by the handle that the client chose.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) handle: u32,
    pub(super) state: LinkState,
}

/// The state of a link.
#[derive(Debug)]
pub(super) enum LinkState {
    /// The server has detached it, and waits for the client to do the same. Further transfers are dropped.
    Detached,
    Receiving(Receiving),
    Sending(Sending),
}

/// A link over which the client sends.
#[derive(Debug)]
pub(super) struct Receiving {
    /// Deliveries that have begun.
    pub(super) delivery_count: u32,
    /// Deliveries that the client may still begin.
    pub(super) credit: u32,
    /// Deliveries whose verdict comes later.
    pub(super) unsettled: u32,
    /// The message that is arriving.
    pub(super) partial: Option<Partial>,
}

/// A message of which the last transfer has not arrived.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) delivery_id: u32,
    pub(super) format: u32,
    pub(super) settled: bool,
    pub(super) payload: BytesMut,
    pub(super) started: Instant,
}

/// A link over which the client receives.
#[derive(Debug)]
pub(super) struct Sending {
    /// Deliveries that have begun.
    pub(super) delivery_count: u32,
    /// Deliveries that the client still takes.
    pub(super) credit: u32,
    /// Whether the server settles when it sends.
    pub(super) settled: bool,
    /// The longest message that the client takes.
    pub(super) max_message: Option<u64>,
    /// The message that is being sent.
    pub(super) unsent: Option<Unsent>,
    /// Whether the client wants what credit remains back.
    pub(super) drain: bool,
}

/// The part of a message that is not sent yet.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) delivery_id: u32,
    pub(super) payload: Bytes,
    /// Whether its first transfer has been sent.
    pub(super) is_started: bool,
}

impl Link {
    pub(super) fn is_detached(&self) -> bool {
        matches!(self.state, LinkState::Detached)
    }

    /// Returns the message that is arriving.
    pub(super) fn partial(&self) -> Option<&Partial> {
        match &self.state {
            LinkState::Receiving(receiving) => receiving.partial.as_ref(),
            LinkState::Detached | LinkState::Sending(_) => None,
        }
    }
}

impl LinkState {
    /// Returns the state of a link that was just attached.
    pub(super) fn of(attach: &Attach) -> LinkState {
        match attach.role {
            Role::Sender => LinkState::Receiving(Receiving {
                delivery_count: attach.initial_delivery_count.unwrap_or(0),
                credit: 0,
                unsettled: 0,
                partial: None,
            }),
            Role::Receiver => LinkState::Sending(Sending {
                delivery_count: 0,
                credit: 0,
                settled: attach.settle_mode == SettleMode::Settled,
                max_message: attach.max_message_size.filter(|bytes| *bytes > 0),
                unsent: None,
                drain: false,
            }),
        }
    }
}

impl LinkRequest {
    pub(super) fn of(id: LinkId, attach: &Attach) -> LinkRequest {
        let (direction, terminus) = match attach.role {
            Role::Sender => (Direction::FromClient, &attach.target),
            Role::Receiver => (Direction::ToClient, &attach.source),
        };
        LinkRequest {
            id,
            name: attach.name.clone(),
            direction,
            address: terminus.as_ref().and_then(|terminus| terminus.address.clone()),
            settle_mode: attach.settle_mode,
            properties: attach.properties.clone(),
        }
    }
}

/// Returns the server's attach. One without the server's terminus says that the link is refused (§2.6.3).
pub(super) fn answer(attach: Attach, max_message: usize, refusal: Option<&AmqpError>) -> Attach {
    let unless_refused = |terminus: Option<Terminus>| if refusal.is_some() { None } else { terminus };
    let (role, source, target, initial_delivery_count) = match attach.role {
        Role::Sender => (Role::Receiver, attach.source, unless_refused(attach.target), None),
        Role::Receiver => (Role::Sender, unless_refused(attach.source), attach.target, Some(0)),
    };
    Attach {
        name: attach.name,
        handle: attach.handle,
        role,
        settle_mode: attach.settle_mode,
        source,
        target,
        initial_delivery_count,
        max_message_size: u64::try_from(max_message).ok(),
        properties: Entries::new(),
    }
}
