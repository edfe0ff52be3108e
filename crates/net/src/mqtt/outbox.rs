//! Messages to a client, from anywhere.

use bytes::Bytes;
use wire::mqtt::QoS;

use super::session::Close;
use crate::queue::{self, OutboxError, Queue};

/// Puts messages into the queue of one client. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: Queue<Outgoing, Close>,
}

/// A message to the client.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) token: u64,
}

/// The connection's end.
pub(super) type Queued = queue::Queued<Outgoing, Close>;

impl Outbox {
    pub(super) fn new(capacity: usize) -> (Outbox, Queued) {
        let (queue, queued) = queue::queue(capacity);
        (Outbox { queue }, queued)
    }

    /// Queues a message for the client. `token` comes back with [`super::MqttSession::acknowledged`] when the
    /// client has acknowledged a QoS 1 message; with QoS 0 it is ignored. QoS 2 is sent as QoS 1.
    pub fn try_publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        qos: QoS,
        token: u64,
    ) -> Result<(), OutboxError> {
        self.queue.try_push(Outgoing { topic: topic.into(), payload: payload.into(), qos, token })
    }

    /// Queues a message, waiting for room. Not to be awaited inside a session's methods: there is no room
    /// until they return.
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        qos: QoS,
        token: u64,
    ) -> Result<(), OutboxError> {
        self.queue.push(Outgoing { topic: topic.into(), payload: payload.into(), qos, token }).await
    }

    /// Closes the connection after what is queued and may be sent now. The first reason counts.
    pub fn close(&self, close: Close) {
        self.queue.close(close);
    }

    /// Whether the connection is closed or closing.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}
