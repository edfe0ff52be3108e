//! Messages and verdicts to a client, from any task.

use codec::amqp::{
    AmqpError, DeliveryState, Message,
    server::{DeliveryRef, LinkId},
};

use crate::connection::{OutboxError, Queue, QueueReader, queue};

/// Puts messages and verdicts into the queue of one client. Clones share the queue. Messages of one link keep their
/// order; verdicts and detaches keep theirs towards everything that was queued before.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: Queue<Outgoing, AmqpError>,
}

/// An item for the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    Detach(LinkId, AmqpError),
    Message(LinkId, u64, Box<Message>),
    Settle(DeliveryRef, DeliveryState),
}

/// The connection's end of an outbox.
pub(super) type OutgoingQueue = QueueReader<Outgoing, AmqpError>;

impl Outbox {
    pub(super) fn new(capacity: usize) -> (Outbox, OutgoingQueue) {
        let (queue, reader) = queue(capacity);
        (Outbox { queue }, reader)
    }

    /// Queues a message for a link to the client. It is sent when the client grants credit, and dropped if the link is detached.
    /// `token` is passed to [`super::AmqpConnection::settled`].
    pub fn try_send(&self, link: LinkId, message: Message, token: u64) -> Result<(), OutboxError> {
        self.queue.try_push(Outgoing::Message(link, token, Box::new(message)))
    }

    /// Queues a message, waiting for room. Must not be awaited inside a connection's methods: there is no room until they
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

    /// Closes the connection with an error, after the messages that may be sent now. The first error counts.
    pub fn close(&self, error: AmqpError) {
        self.queue.close(error);
    }

    /// Returns whether the connection is closed or closing.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}
