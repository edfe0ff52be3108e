//! A connected device: what it subscribes to and publishes.

use std::sync::Arc;

use async_trait::async_trait;
use codec::mqtt::{Publish, QoS, SubscribeReturn};
use net::mqtt::{Close, MqttSession};
use wire::topics::{DeviceFilter, DevicePublish};

use crate::{
    connections::{Live, locked},
    failure::HubFailure,
    hub::Hub,
    messages::Settlement,
};

use super::{device_link::MqttDeviceLink, twin};

/// One device's connection.
pub struct DeviceSession {
    pub(super) hub: Hub,
    pub(super) live: Arc<Live>,
    pub(super) line: MqttDeviceLink,
    pub(super) lifetime: Lifetime,
}

/// How long the state of a session lives (the clean session flag of CONNECT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the connection.
    Connection,
    /// Beyond it and beyond a restart of the hub: it is stored. This one begins.
    Begun,
    /// The same, and the device found the session that it had left.
    Resumed,
}

impl DeviceSession {
    /// Serves a device that has connected.
    pub async fn open(
        hub: Hub,
        live: Arc<Live>,
        line: MqttDeviceLink,
        clean: bool,
    ) -> Result<DeviceSession, HubFailure> {
        let lifetime = match (clean, hub.session(&live.id)?) {
            (true, None) => Lifetime::Connection,
            (true, Some(_)) => {
                hub.keep_session(&live.id, None).await?;
                Lifetime::Connection
            }
            (false, None) => Lifetime::Begun,
            (false, Some(kept)) => {
                *locked(&line.subscriptions) = kept;
                Lifetime::Resumed
            }
        };
        let session = DeviceSession { hub, live, line, lifetime };
        session.listen().await;
        Ok(session)
    }

    /// Stores the session, so that an acknowledged change of its subscriptions survives a restart.
    async fn keep(&self) -> Result<(), HubFailure> {
        if self.lifetime == Lifetime::Connection {
            return Ok(());
        }
        let subscriptions = locked(&self.line.subscriptions).clone();
        self.hub.keep_session(&self.live.id, Some(subscriptions)).await
    }

    /// Tells the hub what the device wants now.
    async fn listen(&self) {
        let wanted = self.wanted();
        for kind in DeviceFilter::ALL {
            match (wanted.contains(&kind), self.live.listens_to(kind)) {
                (true, false) => self.hub.listen(&self.live, kind).await,
                (false, true) => self.live.unsubscribe(kind),
                _ => {}
            }
        }
    }

    fn wanted(&self) -> Vec<DeviceFilter> {
        let subscriptions = locked(&self.line.subscriptions);
        subscriptions.filters().flat_map(|filter| self.asked_for(filter)).collect()
    }

    fn asked_for(&self, filter: &str) -> Vec<DeviceFilter> {
        DeviceFilter::matching(filter, self.live.id.as_str())
    }
}

#[async_trait]
impl MqttSession for DeviceSession {
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn> {
        let before = locked(&self.line.subscriptions).clone();
        let verdict = |(filter, qos): &(String, QoS)| match self.asked_for(filter).is_empty() {
            true => SubscribeReturn::Failure,
            false => locked(&self.line.subscriptions).subscribe(filter, *qos),
        };
        let codes = filters.iter().map(verdict).collect();
        if let Err(failure) = self.keep().await {
            tracing::error!(%failure, device.id = %self.live.id, "subscriptions were not stored");
            *locked(&self.line.subscriptions) = before;
            return vec![SubscribeReturn::Failure; filters.len()];
        }
        self.listen().await;
        codes
    }

    async fn unsubscribe(&mut self, filters: &[String]) {
        filters.iter().for_each(|filter| locked(&self.line.subscriptions).unsubscribe(filter));
        if let Err(failure) = self.keep().await {
            // It hears of them again after a reconnection.
            tracing::error!(%failure, device.id = %self.live.id, "the end of a subscription was not stored");
        }
        self.listen().await;
    }

    fn is_resumed(&self) -> bool {
        self.lifetime == Lifetime::Resumed
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Close> {
        self.hub.core.connections.touch(&self.live, self.hub.now());
        let published = DevicePublish::parse(&publish.topic).map_err(|_| {
            Close::violation(format!("a message on a topic that is not served: {}", publish.topic))
        })?;
        match published {
            DevicePublish::Telemetry { device_id, module_id: None } if device_id == self.live.id.as_str() => {
                self.hub.take_telemetry(&self.live);
            }
            DevicePublish::Telemetry { .. } => {
                return Err(Close::violation("telemetry in another device's name"));
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
