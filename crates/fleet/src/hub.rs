//! The connection of a device to its hub, over MQTT.

use bytes::Bytes;
use model::{DeviceId, HubName};
use serde_json::Value;
use wire::{
    hub::user_name,
    topics::{DeviceFilter, DevicePublish, HubPublish},
};

use crate::{
    device::Device,
    failure::{Refusal, TransportError},
    mqtt::{Login, MqttConnection},
    trust::Trust,
};

const CLIENT_TYPE: &str = "muster-fleet";

/// The MQTT endpoint of a hub.
#[derive(Clone, Debug)]
pub struct HubEndpoint {
    /// The hub's name, as in replies to devices.
    pub name: HubName,
    /// The port of MQTT over TLS.
    pub mqtts_port: u16,
    /// The trusted CA certificates for the hub.
    pub trust: Trust,
}

/// A connection of a device to its hub.
pub struct HubClient {
    connection: MqttConnection,
    last_request: u32,
}

/// The reasons why a request to a hub failed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub's reply is malformed.
    #[error("malformed twin: {0}")]
    Malformed(String),
    /// The hub refused the request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The exchange with the hub failed, most often because the hub does not have the device's credentials.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl HubClient {
    /// Connects with the credentials that the device registered with, and subscribes to replies about its twin.
    pub async fn connect(
        endpoint: &HubEndpoint,
        device: &Device,
        device_id: &DeviceId,
    ) -> Result<HubClient, HubError> {
        let config = endpoint.trust.of(&device.credentials).map_err(TransportError::from)?;
        let name = endpoint.name.as_str();
        let login = Login {
            client_id: device_id.to_string(),
            username: user_name(name, device_id.as_str(), CLIENT_TYPE),
            password: device.hub_token(name, device_id).await.map_err(TransportError::from)?,
        };
        let mut connection = MqttConnection::open(name, endpoint.mqtts_port, config, login).await?;
        connection.subscribe(&DeviceFilter::TwinReplies.topic(device_id.as_str())).await?;
        Ok(HubClient { connection, last_request: 0 })
    }

    /// Reads the twin in the form for devices: `{"desired":{…,"$version":n},"reported":{…,"$version":m}}`.
    pub async fn twin(&mut self) -> Result<Value, HubError> {
        self.last_request = self.last_request.wrapping_add(1);
        let id = self.last_request.to_string();
        let topic = DevicePublish::TwinRequest { request_id: &id }.topic();
        let message =
            self.connection.request(topic, Bytes::new(), |topic| twin_reply(topic, &id).is_some()).await?;
        match twin_reply(&message.topic, &id) {
            Some(200) => serde_json::from_slice(&message.payload)
                .map_err(|error| HubError::Malformed(error.to_string())),
            status => Err(HubError::Refused(Refusal::read(status.unwrap_or_default(), &message.payload))),
        }
    }

    /// Disconnects.
    pub async fn disconnect(self) {
        self.connection.close().await;
    }
}

/// Returns the status in the topic of the reply to the request `id`; `None` for any other topic.
fn twin_reply(topic: &str, id: &str) -> Option<u16> {
    match HubPublish::parse(topic) {
        Ok(HubPublish::TwinReply { status, request_id }) if request_id == id => Some(status),
        _ => None,
    }
}
