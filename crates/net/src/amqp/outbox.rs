//! Messages and verdicts to a client, from anywhere.

use codec::amqp::{AmqpError, DeliveryState, Message};

use super::endpoint::LinkId;
use crate::queue::{self, OutboxError, Queue};

/// Puts messages and verdicts into the queue of one client. Clones share the queue. Messages of one link keep their
/// order; verdicts and detaches keep theirs towards everything that was queued before.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: Queue<Outgoing, AmqpError>,
}

/// Names a delivery from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryRef {
    pub(super) link: LinkId,
    pub(super) number: u32,
    /// Whether the client wants no verdict.
    pub(super) settled: bool,
}

/// What is for the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    Detach(LinkId, AmqpError),
    Message(LinkId, u64, Box<Message>),
    Settle(DeliveryRef, DeliveryState),
}

/// The connection's end.
pub(super) type Queued = queue::Queued<Outgoing, AmqpError>;

impl Outbox {
    pub(super) fn new(capacity: usize) -> (Outbox, Queued) {
        let (queue, queued) = queue::queue(capacity);
        (Outbox { queue }, queued)
    }

    /// Queues a message for a link to the client; it goes when the client gives credit, and nowhere when the link is
    /// gone. `token` comes back with [`super::AmqpConnection::settled`].
    pub fn try_send(&self, link: LinkId, message: Message, token: u64) -> Result<(), OutboxError> {
        self.queue.try_push(Outgoing::Message(link, token, Box::new(message)))
    }

    /// Queues a message, waiting for room. Not to be awaited inside a connection's methods: there is no room until they
    /// return.
    pub async fn send(&self, link: LinkId, message: Message, token: u64) -> Result<(), OutboxError> {
        self.queue.push(Outgoing::Message(link, token, Box::new(message))).await
    }

    /// Settles a delivery whose verdict was [`super::Verdict::Later`].
    pub fn settle(&self, delivery: DeliveryRef, state: DeliveryState) {
        self.queue.push_always(Outgoing::Settle(delivery, state)); // bounded by the links' credit
    }

    /// Detaches a link with an error.
    pub fn detach(&self, link: LinkId, error: AmqpError) {
        self.queue.push_always(Outgoing::Detach(link, error)); // bounded by the number of links
    }

    /// Closes the connection with an error, after what is queued and may be sent now. The first one counts.
    pub fn close(&self, error: AmqpError) {
        self.queue.close(error);
    }

    /// Whether the connection is closed or closing.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}
