//! The session of a connected device: its subscriptions, and what it publishes.

use std::sync::Arc;

use async_trait::async_trait;
use codec::mqtt::{Publish, QoS, SubscribeReturn};
use net::mqtt::{Close, MqttSession};
use wire::topics::{DeviceFilter, DevicePublish};

use crate::{
    connections::{LiveConnection, locked},
    failure::HubFailure,
    hub::Hub,
    messages::Settlement,
};

use super::{device_link::MqttDeviceLink, twin};

/// One device's connection.
pub struct DeviceSession {
    pub(super) hub: Hub,
    pub(super) live: Arc<LiveConnection>,
    pub(super) link: MqttDeviceLink,
    pub(super) lifetime: SessionLifetime,
}

/// How long the state of a session lives (the clean session flag of CONNECT, MQTT 3.1.1 §3.1.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLifetime {
    /// Until the connection ends.
    Connection,
    /// The session is stored, also for a restart of the hub, and is new.
    New,
    /// The session is stored, and continues an earlier one.
    Resumed,
}

impl DeviceSession {
    /// Opens the session of a device that has connected.
    pub async fn open(
        hub: Hub,
        live: Arc<LiveConnection>,
        link: MqttDeviceLink,
        clean: bool,
    ) -> Result<DeviceSession, HubFailure> {
        let lifetime = match (clean, hub.session(&live.id)?) {
            (true, None) => SessionLifetime::Connection,
            (true, Some(_)) => {
                hub.store_session(&live.id, None).await?;
                SessionLifetime::Connection
            }
            (false, None) => SessionLifetime::New,
            (false, Some(stored)) => {
                *locked(&link.subscriptions) = stored;
                SessionLifetime::Resumed
            }
        };
        let session = DeviceSession { hub, live, link, lifetime };
        session.update_subscriptions().await;
        Ok(session)
    }

    /// Stores the session, so that an acknowledged change of its subscriptions survives a restart.
    async fn store(&self) -> Result<(), HubFailure> {
        if self.lifetime == SessionLifetime::Connection {
            return Ok(());
        }
        let subscriptions = locked(&self.link.subscriptions).clone();
        self.hub.store_session(&self.live.id, Some(subscriptions)).await
    }

    /// Updates the kinds of messages that the hub sends to the device.
    async fn update_subscriptions(&self) {
        let wanted = self.wanted();
        for kind in DeviceFilter::ALL {
            match (wanted.contains(&kind), self.live.is_subscribed_to(kind)) {
                (true, false) => self.hub.subscribe_device(&self.live, kind).await,
                (false, true) => self.live.unsubscribe(kind),
                _ => {}
            }
        }
    }

    fn wanted(&self) -> Vec<DeviceFilter> {
        let subscriptions = locked(&self.link.subscriptions);
        subscriptions.filters().flat_map(|filter| self.kinds_of(filter)).collect()
    }

    fn kinds_of(&self, filter: &str) -> Vec<DeviceFilter> {
        DeviceFilter::matching(filter, self.live.id.as_str())
    }
}

#[async_trait]
impl MqttSession for DeviceSession {
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn> {
        let before = locked(&self.link.subscriptions).clone();
        let verdict = |(filter, qos): &(String, QoS)| match self.kinds_of(filter).is_empty() {
            true => SubscribeReturn::Failure,
            false => locked(&self.link.subscriptions).subscribe(filter, *qos),
        };
        let codes = filters.iter().map(verdict).collect();
        if let Err(failure) = self.store().await {
            tracing::error!(%failure, device.id = %self.live.id, "subscriptions were not stored");
            *locked(&self.link.subscriptions) = before;
            return vec![SubscribeReturn::Failure; filters.len()];
        }
        self.update_subscriptions().await;
        codes
    }

    async fn unsubscribe(&mut self, filters: &[String]) {
        filters.iter().for_each(|filter| locked(&self.link.subscriptions).unsubscribe(filter));
        if let Err(failure) = self.store().await {
            // The device receives these messages again after a reconnection.
            tracing::error!(%failure, device.id = %self.live.id, "the end of a subscription was not stored");
        }
        self.update_subscriptions().await;
    }

    fn is_resumed(&self) -> bool {
        self.lifetime == SessionLifetime::Resumed
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Close> {
        self.hub.core.connections.touch(&self.live, self.hub.now());
        let published = DevicePublish::parse(&publish.topic).map_err(|_| {
            Close::violation(format!("a message on a topic that is not served: {}", publish.topic))
        })?;
        match published {
            DevicePublish::Telemetry { device_id, module_id: None } if device_id == self.live.id.as_str() => {
                self.hub.count_telemetry(&self.live);
            }
            DevicePublish::Telemetry { .. } => {
                return Err(Close::violation("telemetry in another device's name"));
            }
            DevicePublish::TwinRequest { request_id } => twin::read(self, request_id).await?,
            DevicePublish::Report { request_id } => twin::report(self, request_id, &publish.payload).await?,
            DevicePublish::MethodReply { status, request_id } => {
                // Other request IDs are not of calls of this hub.
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
