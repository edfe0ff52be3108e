//! What a device is sent over MQTT.

use std::sync::{Arc, Mutex};

use codec::mqtt::{QoS, Subscriptions};
use net::mqtt::{Close, Message, Outbox};
use wire::{
    ascii_json,
    hub::PropertyBag,
    topics::{desired_topic, devicebound_topic, method_topic},
};

use crate::{
    connections::locked,
    device_link::{DeviceLink, Parting, Sent, Unsent},
    storage::{StoredMessage, Waiting},
    twin::DesiredChange,
};

/// A device's MQTT connection. Clones share it.
#[derive(Clone)]
pub struct MqttDeviceLink {
    /// Topics name it.
    pub device_id: String,
    /// The way to it.
    pub outbox: Outbox,
    /// What it has subscribed to.
    pub subscriptions: Arc<Mutex<Subscriptions>>,
}

impl MqttDeviceLink {
    /// The QoS that the device was granted for a topic; nothing is sent above it (MQTT-3.8.4-6).
    fn granted(&self, topic: &str) -> Result<QoS, Unsent> {
        locked(&self.subscriptions).qos_of(topic).ok_or(Unsent::NotSubscribed)
    }

    /// Sends JSON without an acknowledgement, if the device has subscribed to the topic.
    fn send(&self, topic: String, json: Vec<u8>) -> Result<(), Unsent> {
        self.granted(&topic)?;
        Ok(self.outbox.try_publish(topic, ascii_json(json), QoS::AtMostOnce, 0)?)
    }
}

impl DeviceLink for MqttDeviceLink {
    fn message(&self, message: Waiting) -> Result<Sent, Unsent> {
        let Waiting { sequence, message, may_repeat, .. } = message;
        let topic = devicebound_topic(&self.device_id, &bag(&message));
        let qos = self.granted(&topic)?;
        let (payload, token) = (message.body.into(), sequence.unsigned_abs());
        self.outbox.try_send(Message { topic, payload, qos, token, is_repeated: may_repeat })?;
        Ok(if qos == QoS::AtMostOnce { Sent::Settled } else { Sent::Unsettled })
    }

    fn desired(&self, change: &DesiredChange) -> Result<(), Unsent> {
        self.send(desired_topic(change.version), change.body())
    }

    fn call(&self, request: u64, name: &str, payload: Vec<u8>) -> Result<(), Unsent> {
        self.send(method_topic(name, &request.to_string()), payload)
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
