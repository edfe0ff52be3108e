//! A device at its hub, over MQTT.

use bytes::Bytes;
use model::{DeviceId, HubName};
use serde_json::Value;
use wire::hub::{DeviceFilter, DevicePublish, HubPublish, user_name};

use crate::device::Device;
use crate::failure::{Refusal, TransportError};
use crate::mqtt::{Greeting, MqttConnection};
use crate::trust::Trust;

/// Where a hub is.
#[derive(Clone, Debug)]
pub struct HubSite {
    /// The hub's name, as devices are told.
    pub name: HubName,
    /// The port of MQTT over TLS.
    pub mqtts_port: u16,
    /// The CA certificates that the hub must chain to.
    pub trust: Trust,
}

/// A connection of one device to its hub.
pub struct HubClient {
    connection: MqttConnection,
    last_request: u32,
}

/// Why a hub could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub's reply makes no sense.
    #[error("malformed twin: {0}")]
    Malformed(String),
    /// The hub refused the request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The conversation broke down; most often the hub does not know the device's credentials.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl HubClient {
    /// Connects with the credentials that the device registered with, and subscribes to answers about its twin.
    pub async fn connect(
        site: &HubSite,
        device: &Device,
        device_id: &DeviceId,
    ) -> Result<HubClient, HubError> {
        let config = site.trust.of(&device.credentials).map_err(TransportError::from)?;
        let name = site.name.as_str();
        let greeting = Greeting {
            client_id: device_id.to_string(),
            username: user_name(name, device_id.as_str(), CLIENT_TYPE),
            password: device.hub_token(name, device_id).await.map_err(TransportError::from)?,
        };
        let mut connection = MqttConnection::open(name, site.mqtts_port, config, greeting).await?;
        connection.subscribe(&DeviceFilter::TwinReplies.topic(device_id.as_str())).await?;
        Ok(HubClient { connection, last_request: 0 })
    }

    /// Reads the twin as the device sees it: `{"desired":{…,"$version":n},"reported":{…,"$version":m}}`.
    pub async fn twin(&mut self) -> Result<Value, HubError> {
        self.last_request = self.last_request.wrapping_add(1);
        let number = self.last_request.to_string();
        let topic = DevicePublish::TwinRequest { request_id: &number }.topic();
        let message = self
            .connection
            .request(topic, Bytes::new(), |topic| twin_reply(topic, &number).is_some())
            .await?;
        match twin_reply(&message.topic, &number) {
            Some(200) => serde_json::from_slice(&message.payload)
                .map_err(|error| HubError::Malformed(error.to_string())),
            status => Err(HubError::Refused(Refusal::read(status.unwrap_or_default(), &message.payload))),
        }
    }

    /// Takes leave.
    pub async fn disconnect(self) {
        self.connection.close().await;
    }
}

/// The status of the reply to request `number`; `None` for every other topic.
fn twin_reply(topic: &str, number: &str) -> Option<u16> {
    match HubPublish::parse(topic) {
        Ok(HubPublish::TwinReply { status, request_id }) if request_id == number => Some(status),
        _ => None,
    }
}

const CLIENT_TYPE: &str = "muster-fleet";
