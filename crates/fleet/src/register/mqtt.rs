//! Registration over MQTT.

use bytes::Bytes;
use model::OperationId;
use serde_json::Value;
use wire::{
    device::{MqttUserName, RegistrationOperation},
    topics::{RegistrationReplies, RegistrationReply, RegistrationRequest},
};

use crate::{
    carrier::{Carrier, Protocol},
    device::Device,
    endpoint::Endpoint,
    failure::{RegisterError, TransportError},
    mqtt::{Login, MqttConnection},
};

use super::{
    API_VERSION, CLIENT_VERSION, Registered,
    answer::Answer,
    channel::{Channel, register_over},
};

/// An MQTT connection of one device to the device endpoint.
pub struct MqttSession {
    channel: MqttChannel,
}

impl MqttSession {
    /// Connects, and subscribes to the replies. A wrong key is not refused before the registration.
    pub async fn open(
        endpoint: &Endpoint,
        device: &Device,
        carrier: Carrier,
    ) -> Result<MqttSession, RegisterError> {
        let token = device.first_token(&endpoint.id_scope);
        let connection = connect(endpoint, device, carrier, token).await?;
        let (endpoint, device) = (endpoint.clone(), device.clone());
        Ok(MqttSession { channel: MqttChannel { connection, endpoint, device, carrier, last_request: 0 } })
    }

    /// Registers the device, also repeatedly. A device with a TPM needs a new session for each registration: its proof
    /// is accepted once.
    pub async fn register(&mut self, payload: Option<&Value>) -> Result<Registered, RegisterError> {
        let (device, id_scope) = (self.channel.device.clone(), self.channel.endpoint.id_scope.clone());
        register_over(&mut self.channel, (&device, &id_scope), payload).await
    }

    /// Disconnects.
    pub async fn close(self) {
        self.channel.connection.close().await;
    }
}

/// Connects with a token. A device with a TPM has none at first, and asks for a challenge.
async fn connect(
    endpoint: &Endpoint,
    device: &Device,
    carrier: Carrier,
    token: Option<String>,
) -> Result<MqttConnection, TransportError> {
    let username = MqttUserName {
        id_scope: endpoint.id_scope.clone(),
        registration_id: device.registration_id.clone(),
        api_version: API_VERSION.to_owned(),
        client_version: CLIENT_VERSION.to_owned(),
        asks_for_challenge: device.tpm().is_some() && token.is_none(),
    };
    let login = Login {
        client_id: device.registration_id.to_string(),
        username: username.to_string(),
        password: token,
    };
    let protocol = Protocol { port: endpoint.mqtts_port, subprotocol: "mqtt" };
    let stream = carrier.connect(endpoint, device, protocol).await?;
    let mut connection = MqttConnection::over(stream, login).await?;
    connection.subscribe(RegistrationReplies::FILTER).await?;
    Ok(connection)
}

struct MqttChannel {
    connection: MqttConnection,
    endpoint: Endpoint,
    device: Device,
    carrier: Carrier,
    last_request: u32,
}

impl MqttChannel {
    /// Publishes a request, and returns the reply with its request ID.
    async fn exchange(
        &mut self,
        operation: RegistrationOperation,
        body: Bytes,
    ) -> Result<Answer, TransportError> {
        self.last_request = self.last_request.wrapping_add(1);
        let request = RegistrationRequest { request_id: self.last_request.to_string(), operation };
        let is_reply = |topic: &str| {
            RegistrationReply::parse(topic).is_some_and(|reply| reply.request_id == request.request_id)
        };
        let message = self.connection.request(request.topic(), body, is_reply).await?;
        let reply = RegistrationReply::parse(&message.topic);
        let reply = reply.ok_or(TransportError::Unexpected("another topic"))?;
        Ok(Answer { status: reply.status, retry_after_secs: reply.retry_after_secs, body: message.payload })
    }
}

impl Channel for MqttChannel {
    async fn register(&mut self, body: Bytes) -> Result<Answer, TransportError> {
        self.exchange(RegistrationOperation::Register, body).await
    }

    async fn poll(&mut self, operation_id: &OperationId) -> Result<Answer, TransportError> {
        self.exchange(RegistrationOperation::Poll(Some(operation_id.clone())), Bytes::new()).await
    }

    /// Connects again: a token is sent with the connection.
    async fn authenticate(&mut self, token: String) -> Result<(), TransportError> {
        let connection = connect(&self.endpoint, &self.device, self.carrier, Some(token)).await?;
        std::mem::replace(&mut self.connection, connection).close().await;
        Ok(())
    }
}
