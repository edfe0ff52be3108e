//! What an AMQP server implements.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use codec::amqp::{
    AmqpError, DeliveryState, Open, SaslCode, SaslInit,
    server::{Delivery, LinkId, LinkRequest, Verdict},
};

use super::outbox::Outbox;
use crate::peer::Peer;

/// Decides which clients may connect.
#[async_trait]
pub trait AmqpEndpoint: Send + Sync + 'static {
    /// Returns the SASL mechanisms that this peer may choose from, the preferred one first.
    fn mechanisms(&self, peer: &Peer) -> Vec<&'static str>;

    /// Begins a SASL exchange with one of the peer's mechanisms.
    async fn sasl(&self, peer: &Peer, init: SaslInit) -> SaslStep;

    /// Decides on a peer that connects without SASL, and may have a certificate. An `Err` closes the
    /// connection.
    async fn bare(&self, peer: &Peer) -> Result<Box<dyn AmqpConnection>, AmqpError>;
}

/// The next step of a SASL exchange.
pub enum SaslStep {
    /// The client is sent a challenge, and its response passed to the exchange. A challenge has at most about 490 bytes: the
    /// frame has 512.
    Challenge(Bytes, Box<dyn SaslExchange>),
    /// The client is refused. The reason is for the log and for observers of refusals; `None` if the endpoint has reported it
    /// where it judged the client.
    Refused(SaslCode, Option<Cow<'static, str>>),
    /// The client is admitted.
    Welcome(Box<dyn AmqpConnection>),
}

/// A SASL exchange that waits for the client's response.
#[async_trait]
pub trait SaslExchange: Send {
    /// Continues with the client's response.
    async fn respond(self: Box<Self>, response: Bytes) -> SaslStep;
}

/// The frames that end a connection when the server shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// A close with `amqp:connection:forced`.
    Close,
    /// The end of each session with `amqp:link:detach-forced`, and a close without an error. The SDK for Node connects again
    /// at once after it; an error in the close leaves it disconnected.
    EndSessions,
}

/// One connected client. The methods are called one at a time, in the order of the client's frames; while one runs,
/// nothing is read from or written to the client, so they should return quickly: longer work belongs into a task that has
/// the outbox.
#[async_trait]
pub trait AmqpConnection: Send {
    /// Accepts the client's open. The outbox reaches the client as long as it is connected. An `Err` closes the connection.
    async fn open(&mut self, open: &Open, outbox: Outbox) -> Result<(), AmqpError>;

    /// Decides on a link that the client attaches. An `Err` refuses it; the connection continues.
    async fn attach(&mut self, link: &LinkRequest) -> Result<(), AmqpError>;

    /// Handles a whole message from the client. Its verdict is sent before any message that this call puts into the outbox. An
    /// `Err` closes the connection.
    async fn message(&mut self, delivery: Delivery) -> Result<Verdict, AmqpError>;

    /// Handles the final state of the message that was put into the outbox with this token; not called for links whose
    /// messages are sent settled.
    async fn settled(&mut self, link: LinkId, token: u64, state: DeliveryState) {
        let _ = (link, token, state);
    }

    /// Handles the end of an attached link: what was unsettled or queued for it is dropped. Not called at the end of the
    /// connection.
    async fn detached(&mut self, link: LinkId) {
        let _ = link;
    }

    /// Returns how the connection ends when the server shuts down.
    fn farewell(&self) -> Farewell {
        Farewell::Close
    }

    /// Returns whether the client can prove who it is now: it is about to send more than an unproven client may.
    async fn prove(&mut self) -> bool {
        false
    }

    /// Returns whether the client is still owed a reply; a graceful shutdown waits for it, up to the grace period.
    fn busy(&self) -> bool {
        false
    }

    /// Handles the end of the connection, for whatever reason. Called exactly once, last, if it was opened.
    async fn closed(&mut self) {}
}
