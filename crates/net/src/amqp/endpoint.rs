//! What an AMQP server implements.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use codec::amqp::{AmqpError, DeliveryState, Entries, Message, Open, SaslCode, SaslInit, SettleMode};

use super::outbox::{DeliveryRef, Outbox};
use crate::peer::Peer;

/// Decides who may connect.
#[async_trait]
pub trait AmqpEndpoint: Send + Sync + 'static {
    /// The SASL mechanisms that this peer may choose from, the preferred one first.
    fn mechanisms(&self, peer: &Peer) -> Vec<&'static str>;

    /// The peer chose one of its mechanisms.
    async fn sasl(&self, peer: &Peer, init: SaslInit) -> SaslStep;

    /// The peer connects without SASL: its certificate, if anything, says who it is. An `Err` closes the connection.
    async fn bare(&self, peer: &Peer) -> Result<Box<dyn AmqpConnection>, AmqpError>;
}

/// What comes next in a SASL exchange.
pub enum SaslStep {
    /// The client is asked; its answer goes to the exchange. A challenge has at most about 490 bytes: the frame has 512.
    Challenge(Bytes, Box<dyn SaslExchange>),
    /// The client is not let in, and why, for the log and for observers of refusals; `None` when the endpoint has said so where
    /// it judged the client.
    Refused(SaslCode, Option<Cow<'static, str>>),
    /// The client is let in.
    Welcome(Box<dyn AmqpConnection>),
}

/// A SASL exchange that waits for the client's answer.
#[async_trait]
pub trait SaslExchange: Send {
    /// The client answered.
    async fn respond(self: Box<Self>, response: Bytes) -> SaslStep;
}

/// How a client is told that the server shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// By a close that says `amqp:connection:forced`.
    Close,
    /// By the end of its sessions, which say `amqp:link:detach-forced`, and a close without an error. The SDK for Node
    /// connects again at once after it; an error in the close leaves it disconnected.
    EndSessions,
}

/// One connected client. The methods are called one at a time, in the order of the client's frames; while one runs,
/// nothing is read from or written to the client, so they should return quickly: what takes time goes on in a task that
/// has the outbox.
#[async_trait]
pub trait AmqpConnection: Send {
    /// The client opens its connection. The outbox reaches it as long as it is connected. An `Err` closes it.
    async fn open(&mut self, open: &Open, outbox: Outbox) -> Result<(), AmqpError>;

    /// The client attaches a link. An `Err` refuses it; the connection goes on.
    async fn attach(&mut self, link: &LinkRequest) -> Result<(), AmqpError>;

    /// A whole message came in over a link from the client. Its verdict is sent before any message that this call puts
    /// into the outbox. An `Err` closes the connection.
    async fn message(&mut self, delivery: Delivery) -> Result<Verdict, AmqpError>;

    /// The client is done with the message that was put into the outbox with this token; not called over links whose
    /// messages are sent settled.
    async fn settled(&mut self, link: LinkId, token: u64, state: DeliveryState) {
        let _ = (link, token, state);
    }

    /// A link that was attached is gone, and with it what was still unsettled or queued for it. Not called at the end of
    /// the connection.
    async fn detached(&mut self, link: LinkId) {
        let _ = link;
    }

    /// How the client is told that the server shuts down.
    fn farewell(&self) -> Farewell {
        Farewell::Close
    }

    /// Whether the client can show now who it is: it is about to send more than an unproven client may.
    async fn prove(&mut self) -> bool {
        false
    }

    /// Whether a reply is still owed to the client; a graceful shutdown waits for it, up to the grace period.
    fn busy(&self) -> bool {
        false
    }

    /// The connection is over, for whatever reason. Called exactly once, last, when it was opened.
    async fn closed(&mut self) {}
}

/// A link of one connection. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId(pub(super) u32);

/// Which way a link's messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The client sends.
    FromClient,
    /// The client receives.
    ToClient,
}

/// A link that the client wants.
#[derive(Debug, Clone)]
pub struct LinkRequest {
    /// Its ID from here on.
    pub id: LinkId,
    /// The client's name for it.
    pub name: String,
    /// Which way messages go.
    pub direction: Direction,
    /// The far end's address: the target of what the client sends, the source of what it receives.
    pub address: Option<String>,
    /// When messages are settled; a link to the client is served as it asks.
    pub settle_mode: SettleMode,
    /// What else the client says of it.
    pub properties: Entries,
}

/// A message from the client.
#[derive(Debug)]
pub struct Delivery {
    /// For [`Outbox::settle`], when the verdict comes later.
    pub id: DeliveryRef,
    /// The link that it came over.
    pub link: LinkId,
    /// Which kind of message it is; 0 is the usual one.
    pub format: u32,
    /// Whether the client wants no verdict.
    pub settled: bool,
    /// The message.
    pub message: Message,
}

/// What becomes of a message from the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is settled in this state.
    Settled(DeliveryState),
    /// [`Outbox::settle`] will be called, once. Until then the message counts against the link's credit.
    Later,
}
