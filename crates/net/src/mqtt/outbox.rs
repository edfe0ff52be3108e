//! Messages to a client, from anywhere.

use bytes::Bytes;
use codec::mqtt::QoS;

use super::session::Close;
use crate::queue::{self, OutboxError, Queue};

/// Puts messages into the queue of one client. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: Queue<Message, Close>,
}

/// A message to the client.
#[derive(Debug)]
pub struct Message {
    /// Where it goes.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// QoS 2 is sent as QoS 1.
    pub qos: QoS,
    /// What names a QoS 1 message when the client has acknowledged it; 0 for none. The packet identifier derives from
    /// it, so that a message which is sent again over another connection keeps its identifier (§4.4).
    pub token: u64,
    /// Whether the client may have got it before; sets DUP with QoS 1.
    pub is_repeated: bool,
}

/// The connection's end.
pub(super) type Queued = queue::Queued<Message, Close>;

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
        self.try_send(Message {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            token,
            is_repeated: false,
        })
    }

    /// Queues a message for the client.
    pub fn try_send(&self, message: Message) -> Result<(), OutboxError> {
        self.queue.try_push(message)
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
        let (topic, payload) = (topic.into(), payload.into());
        self.queue.push(Message { topic, payload, qos, token, is_repeated: false }).await
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
