//! What a device is sent over MQTT.

use net::mqtt::{Close, Outbox, OutboxError};
use wire::{
    hub::{PropertyBag, desired_topic, devicebound_topic, method_topic},
    mqtt::QoS,
};

use crate::{
    line::{Line, Parting},
    storage::{StoredMessage, Waiting},
    twin::DesiredChange,
};

/// A device's MQTT connection.
pub struct MqttLine {
    /// Topics name it.
    pub device_id: String,
    /// The way to it.
    pub outbox: Outbox,
}

impl Line for MqttLine {
    fn message(&self, message: Waiting) -> Result<(), OutboxError> {
        let Waiting { sequence, message, .. } = message;
        let topic = devicebound_topic(&self.device_id, &bag(&message));
        self.outbox.try_publish(topic, message.body, QoS::AtLeastOnce, sequence.unsigned_abs())
    }

    fn desired(&self, change: &DesiredChange) -> Result<(), OutboxError> {
        self.outbox.try_publish(desired_topic(change.version), change.body(), QoS::AtMostOnce, 0)
    }

    fn call(&self, request: u64, name: &str, payload: Vec<u8>) -> Result<(), OutboxError> {
        self.outbox.try_publish(method_topic(name, &request.to_string()), payload, QoS::AtMostOnce, 0)
    }

    fn part(&self, parting: Parting) {
        self.outbox.close(Close::because(parting.to_string()));
    }

    fn is_parted(&self) -> bool {
        self.outbox.is_closed()
    }
}

/// A message's properties as they stand in a topic.
fn bag(message: &StoredMessage) -> PropertyBag {
    let mut bag = PropertyBag::default();
    message.system.iter().for_each(|(name, value)| bag.push(format!("$.{name}"), value));
    message.application.iter().for_each(|(name, value)| bag.push(name, value));
    bag
}
