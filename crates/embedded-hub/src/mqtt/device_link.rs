//! Sends to a device over MQTT.

use std::sync::{Arc, Mutex};

use codec::mqtt::{QoS, Subscriptions};
use net::mqtt::{Close, Message, Outbox};
use wire::{
    ascii_json,
    hub::PropertyBag,
    topics::{desired_topic, devicebound_topic, method_topic},
};

use crate::{
    connections::{DeviceLink, DisconnectReason, SendError, Sent, locked},
    storage::{QueuedMessage, StoredMessage},
    twins::twin::DesiredChange,
};

/// A device's MQTT connection. Clones share it.
#[derive(Clone)]
pub struct MqttDeviceLink {
    /// Its device ID, which is part of topics.
    pub device_id: String,
    /// Sends to the client.
    pub outbox: Outbox,
    /// Its subscriptions.
    pub subscriptions: Arc<Mutex<Subscriptions>>,
}

impl MqttDeviceLink {
    /// Returns the QoS that the device was granted for a topic; no message is sent above it (MQTT-3.8.4-6).
    fn granted(&self, topic: &str) -> Result<QoS, SendError> {
        locked(&self.subscriptions).qos_of(topic).ok_or(SendError::NotSubscribed)
    }

    /// Sends JSON without an acknowledgement, if the device has subscribed to the topic.
    fn send(&self, topic: String, json: Vec<u8>) -> Result<(), SendError> {
        self.granted(&topic)?;
        Ok(self.outbox.try_publish(topic, ascii_json(json), QoS::AtMostOnce, 0)?)
    }
}

impl DeviceLink for MqttDeviceLink {
    fn message(&self, message: QueuedMessage) -> Result<Sent, SendError> {
        let QueuedMessage { sequence, message, may_repeat, .. } = message;
        let topic = devicebound_topic(&self.device_id, &bag(&message));
        let qos = self.granted(&topic)?;
        let (payload, token) = (message.body.into(), sequence.unsigned_abs());
        self.outbox.try_send(Message { topic, payload, qos, token, is_repeated: may_repeat })?;
        Ok(if qos == QoS::AtMostOnce { Sent::Settled } else { Sent::Unsettled })
    }

    fn desired(&self, change: &DesiredChange) -> Result<(), SendError> {
        self.send(desired_topic(change.version), change.body())
    }

    fn call(&self, request: u64, name: &str, payload: Vec<u8>) -> Result<(), SendError> {
        self.send(method_topic(name, &request.to_string()), payload)
    }

    fn disconnect(&self, reason: DisconnectReason) {
        self.outbox.close(Close::because(reason.to_string()));
    }

    fn is_disconnected(&self) -> bool {
        self.outbox.is_closed()
    }
}

/// Returns a message's properties as a topic has them.
fn bag(message: &StoredMessage) -> PropertyBag {
    let mut bag = PropertyBag::default();
    message.system.iter().for_each(|(name, value)| bag.push(format!("$.{name}"), value));
    message.application.iter().for_each(|(name, value)| bag.push(name, value));
    bag
}
