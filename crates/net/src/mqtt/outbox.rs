//! Messages to a client, from any task.

use bytes::Bytes;
use codec::mqtt::QoS;

use super::session::Close;
use crate::connection::{OutboxError, Queue, QueueReader, queue};

/// Puts messages into the queue of one client. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: Queue<Message, Close>,
}

/// A message to the client.
#[derive(Debug)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// QoS 2 is sent as QoS 1.
    pub qos: QoS,
    /// Identifies a QoS 1 message in [`super::MqttSession::acknowledged`]; 0 for none. The packet identifier derives from it,
    /// so that a message that is sent again over another connection keeps its identifier (MQTT 3.1.1 §4.4).
    pub token: u64,
    /// Whether the client may have received it before; sets DUP with QoS 1.
    pub is_repeated: bool,
}

/// The connection's end of an outbox.
pub(super) type MessageQueue = QueueReader<Message, Close>;

impl Outbox {
    pub(super) fn new(capacity: usize) -> (Outbox, MessageQueue) {
        let (queue, reader) = queue(capacity);
        (Outbox { queue }, reader)
    }

    /// Queues a message for the client. `token` is passed to [`super::MqttSession::acknowledged`] when the client has
    /// acknowledged a QoS 1 message; with QoS 0 it is ignored. QoS 2 is sent as QoS 1.
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

    /// Queues a message, waiting for room. Must not be awaited inside a session's methods: there is no room until they
    /// return.
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

    /// Closes the connection after the messages that may be sent now. The first reason counts.
    pub fn close(&self, close: Close) {
        self.queue.close(close);
    }

    /// Returns whether the connection is closed or closing.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}
