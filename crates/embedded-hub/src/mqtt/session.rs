//! A connected device: what it subscribes to and publishes.

use std::sync::Arc;

use async_trait::async_trait;
use net::mqtt::{Close, MqttSession, Outbox};
use wire::{
    hub::{DeviceFilter, DevicePublish},
    mqtt::{Publish, QoS, SubscribeReturn},
};

use crate::{connections::Live, hub::Hub, messages::Settlement};

use super::twin;

/// One device's connection.
pub struct DeviceSession {
    pub(super) hub: Hub,
    pub(super) live: Arc<Live>,
    pub(super) outbox: Outbox,
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
            self.hub.listen(&self.live, known).await;
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
                // A request ID of no call of ours belongs to no caller.
                if let Ok(request) = request_id.parse() {
                    self.live.reply(request, status, &publish.payload);
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
        self.hub.disconnected(&self.live).await;
    }
}
