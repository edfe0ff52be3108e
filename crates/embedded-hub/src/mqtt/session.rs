//! A connected device: what it subscribes to and publishes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use net::mqtt::{Close, MqttSession, Outbox};
use serde_json::Value;
use wire::{
    hub::{DeviceFilter, DevicePublish, MethodReply},
    mqtt::{Publish, QoS, SubscribeReturn},
};

use crate::{connections::Live, hub::Hub, messages::Settlement};

use super::{connect::Admitted, twin};

/// One device's connection.
pub struct DeviceSession {
    pub(super) hub: Hub,
    pub(super) live: Arc<Live>,
}

impl DeviceSession {
    /// Begins the session; an older connection of the same device, which is also returned, ends.
    pub fn open(hub: Hub, admitted: Admitted, outbox: Outbox) -> (DeviceSession, Option<Arc<Live>>) {
        let (live, older) = hub.core.connections.open(admitted.id, outbox, hub.now(), admitted.expires);
        tracing::debug!(device.id = %live.id, "connected");
        (DeviceSession { hub, live }, older)
    }
}

#[async_trait]
impl MqttSession for DeviceSession {
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn> {
        let mut codes = Vec::with_capacity(filters.len());
        for (filter, qos) in filters {
            let Some(known) = DeviceFilter::parse(filter, self.live.id.as_str()) else {
                codes.push(SubscribeReturn::Failure);
                continue;
            };
            self.live.subscribe(known);
            match known {
                DeviceFilter::Devicebound => self.hub.deliver(&self.live).await,
                DeviceFilter::Methods => self.hub.core.connections.listening.notify_waiters(),
                DeviceFilter::Desired | DeviceFilter::TwinReplies => {}
            }
            codes.push(SubscribeReturn::Granted((*qos).min(QoS::AtLeastOnce)));
        }
        codes
    }

    async fn unsubscribe(&mut self, filters: &[String]) {
        let known = filters.iter().filter_map(|filter| DeviceFilter::parse(filter, self.live.id.as_str()));
        known.for_each(|filter| self.live.unsubscribe(filter));
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Close> {
        self.hub.core.connections.touch(&self.live, self.hub.now());
        let published = DevicePublish::parse(&publish.topic).map_err(|_| {
            Close::because(format!("a message on a topic that is not served: {}", publish.topic))
        })?;
        match published {
            DevicePublish::Telemetry { device_id, module_id: None } if device_id == self.live.id.as_str() => {
                self.hub.take_telemetry(&self.live);
            }
            DevicePublish::Telemetry { .. } => {
                return Err(Close::because("telemetry in another device's name"));
            }
            DevicePublish::TwinRequest { request_id } => twin::read(self, request_id).await?,
            DevicePublish::Report { request_id } => twin::report(self, request_id, &publish.payload).await?,
            DevicePublish::MethodReply { status, request_id } => {
                let reply = MethodReply { status, payload: method_payload(&publish.payload) };
                // A request ID of no call of ours belongs to no caller.
                if let Ok(request) = request_id.parse() {
                    self.live.end_call(request, Some(reply));
                }
            }
        }
        Ok(())
    }

    async fn acknowledged(&mut self, token: u64) {
        // Tokens are sequence numbers of messages, which SQLite keeps below 2^63.
        self.hub.settle_delivered(&self.live, token.cast_signed(), Settlement::Completed).await;
    }

    async fn closed(&mut self) {
        self.hub.core.connections.ended(&self.live, self.hub.now());
        self.hub.return_messages(&self.live).await;
        tracing::debug!(device.id = %self.live.id, "disconnected");
    }
}

/// What a device answered: JSON, nothing, or text that it forgot to quote.
fn method_payload(payload: &Bytes) -> Value {
    if payload.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(payload).into_owned()))
}
