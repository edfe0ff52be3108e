//! Registration over MQTT.

use bytes::Bytes;
use model::OperationId;
use serde_json::Value;

use super::answer::Answer;
use super::channel::{Channel, register_over};
use super::{API_VERSION, CLIENT_VERSION, Registered};
use crate::carrier::{Carrier, Protocol};
use crate::device::Device;
use crate::endpoint::Endpoint;
use crate::failure::{RegisterError, TransportError};
use crate::mqtt::{Login, MqttConnection};

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
    let id = &device.registration_id;
    let attestation = if device.tpm().is_some() && token.is_none() { "&attestation=tpm" } else { "" };
    let login = Login {
        client_id: id.to_string(),
        username: format!(
            "{}/registrations/{id}/api-version={API_VERSION}&ClientVersion={CLIENT_VERSION}{attestation}",
            endpoint.id_scope
        ),
        password: token,
    };
    let protocol = Protocol { port: endpoint.mqtts_port, subprotocol: "mqtt" };
    let stream = carrier.connect(endpoint, device, protocol).await?;
    let mut connection = MqttConnection::over(stream, login).await?;
    connection.subscribe(REPLIES).await?;
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
    /// Publishes a request, and returns the reply with its request ID. `parameters` follow the request ID in the topic.
    async fn exchange(
        &mut self,
        route: &str,
        parameters: &str,
        body: Bytes,
    ) -> Result<Answer, TransportError> {
        self.last_request = self.last_request.wrapping_add(1);
        let request_id = self.last_request.to_string();
        let topic = format!("$dps/registrations/{route}/?$rid={request_id}{parameters}");
        let is_reply = |topic: &str| Reply::parse(topic).is_some_and(|reply| reply.request_id == request_id);
        let message = self.connection.request(topic, body, is_reply).await?;
        let reply = Reply::parse(&message.topic).ok_or(TransportError::Unexpected("another topic"))?;
        Ok(Answer { status: reply.status, retry_after_secs: reply.retry_after_secs, body: message.payload })
    }
}

impl Channel for MqttChannel {
    async fn register(&mut self, body: Bytes) -> Result<Answer, TransportError> {
        self.exchange("PUT/iotdps-register", "", body).await
    }

    async fn poll(&mut self, operation_id: &OperationId) -> Result<Answer, TransportError> {
        let parameters = format!("&operationId={operation_id}");
        self.exchange("GET/iotdps-get-operationstatus", &parameters, Bytes::new()).await
    }

    /// Connects again: a token is sent with the connection.
    async fn authenticate(&mut self, token: String) -> Result<(), TransportError> {
        let connection = connect(&self.endpoint, &self.device, self.carrier, Some(token)).await?;
        std::mem::replace(&mut self.connection, connection).close().await;
        Ok(())
    }
}

/// The topic of a reply: `$dps/registrations/res/{status}/?$rid={rid}[&retry-after={seconds}]`.
#[derive(Debug, PartialEq)]
struct Reply<'a> {
    status: u16,
    request_id: &'a str,
    retry_after_secs: Option<u64>,
}

impl<'a> Reply<'a> {
    fn parse(topic: &'a str) -> Option<Reply<'a>> {
        let (status, query) = topic.strip_prefix("$dps/registrations/res/")?.split_once("/?")?;
        let value = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)
        };
        Some(Reply {
            status: status.parse().ok()?,
            request_id: value("$rid")?.1,
            retry_after_secs: value("retry-after").and_then(|(_, seconds)| seconds.parse().ok()),
        })
    }
}

const REPLIES: &str = "$dps/registrations/res/#";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(topic: &str, expected: Option<(u16, &str, Option<u64>)>) {
        let reply = Reply::parse(topic);
        let parts = reply.map(|reply| (reply.status, reply.request_id, reply.retry_after_secs));
        assert_eq!(parts, expected, "{topic}");
    }

    #[test]
    fn topics_of_replies_are_parsed() {
        check("$dps/registrations/res/202/?$rid=7&retry-after=3", Some((202, "7", Some(3))));
        check("$dps/registrations/res/200/?$rid=7", Some((200, "7", None)));
        check("$dps/registrations/res/429/?retry-after=5&$rid=7", Some((429, "7", Some(5))));
        check("$dps/registrations/res/202/?$rid=7&retry-after=soon", Some((202, "7", None)));
        check("$dps/registrations/res/200/?$rid=", Some((200, "", None)));
        for topic in [
            "",
            "$dps/registrations/res/200",
            "$dps/registrations/res/200/?",
            "$dps/registrations/res/x/?$rid=7",
            "$dps/registrations/PUT/iotdps-register/?$rid=7",
            "$iothub/twin/res/200/?$rid=7",
        ] {
            check(topic, None);
        }
    }
}
