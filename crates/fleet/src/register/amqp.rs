//! Registration over AMQP.

use bytes::Bytes;
use codec::amqp::{AmqpError, Body, Entries, Message};
use model::OperationId;
use net::client::{AmqpClient, AmqpClientError, Duplex, Login};
use serde_json::Value;
use wire::device::RegistrationOperation;

use crate::{
    carrier::{Carrier, Protocol},
    device::Device,
    endpoint::Endpoint,
    failure::{RegisterError, TransportError},
    timeouts::EXCHANGE_TIMEOUT,
};

use super::{
    API_VERSION, CLIENT_VERSION, Registered,
    answer::Answer,
    channel::{Channel, register_over},
    sasl_tpm::SaslTpm,
};

/// An AMQP connection of one device to the device endpoint.
pub struct AmqpSession {
    channel: AmqpChannel,
}

impl AmqpSession {
    /// Connects, and attaches a link in each direction. A wrong key is not refused before the registration.
    pub async fn open(
        endpoint: &Endpoint,
        device: &Device,
        carrier: Carrier,
    ) -> Result<AmqpSession, RegisterError> {
        let token = device.first_token(&endpoint.id_scope);
        let client = connect(endpoint, device, carrier, token).await?;
        let (endpoint, device) = (endpoint.clone(), device.clone());
        Ok(AmqpSession { channel: AmqpChannel { client, endpoint, device, carrier } })
    }

    /// Registers the device, also repeatedly.
    pub async fn register(&mut self, payload: Option<&Value>) -> Result<Registered, RegisterError> {
        let (device, id_scope) = (self.channel.device.clone(), self.channel.endpoint.id_scope.clone());
        register_over(&mut self.channel, (&device, &id_scope), payload).await
    }

    /// Disconnects.
    pub async fn close(self) {
        self.channel.client.close().await;
    }
}

/// Connects with a token, or without one by the device's certificate or by the SASL mechanism TPM.
async fn connect(
    endpoint: &Endpoint,
    device: &Device,
    carrier: Carrier,
    token: Option<String>,
) -> Result<AmqpClient<Box<dyn Duplex>>, TransportError> {
    let protocol = Protocol { port: endpoint.amqps_port, subprotocol: "AMQPWSB10" };
    let stream = carrier.connect(endpoint, device, protocol).await?;
    let name = device.address(&endpoint.id_scope).to_string();
    let mut by_tpm = device.tpm().map(|tpm| SaslTpm::new((device, tpm), &endpoint.id_scope));
    let login = match (token.as_deref(), &mut by_tpm) {
        (Some(password), _) => Login::Plain { name: &name, password },
        (None, Some(by_tpm)) => Login::Challenged(by_tpm),
        (None, None) => Login::Bare,
    };
    let properties = Entries::new()
        .with("com.microsoft:api-version", API_VERSION)
        .with("com.microsoft:client-version", CLIENT_VERSION);
    let (host, link) = (endpoint.host.as_str(), (&*name, properties));
    Ok(AmqpClient::open(stream, host, login, link, EXCHANGE_TIMEOUT).await?)
}

struct AmqpChannel {
    client: AmqpClient<Box<dyn Duplex>>,
    endpoint: Endpoint,
    device: Device,
    carrier: Carrier,
}

impl Channel for AmqpChannel {
    async fn register(&mut self, body: Bytes) -> Result<Answer, TransportError> {
        let application = RegistrationOperation::Register.properties();
        let message = Message { application, body: Body::of(body), ..Message::default() };
        answer(self.client.request(&message).await)
    }

    async fn poll(&mut self, operation_id: &OperationId) -> Result<Answer, TransportError> {
        let application = RegistrationOperation::Poll(Some(operation_id.clone())).properties();
        let message = Message { application, ..Message::default() };
        answer(self.client.request(&message).await)
    }

    /// Connects again: a token is sent with the connection.
    async fn authenticate(&mut self, token: String) -> Result<(), TransportError> {
        let client = connect(&self.endpoint, &self.device, self.carrier, Some(token)).await?;
        std::mem::replace(&mut self.client, client).close().await;
        Ok(())
    }
}

/// Reads a reply. The description of a rejection is the error body that HTTPS would have.
fn answer(reply: Result<Message, AmqpClientError>) -> Result<Answer, TransportError> {
    match reply {
        Ok(message) => Ok(Answer {
            status: 200,
            retry_after_secs: seconds(&message.application),
            body: message.body.bytes().unwrap_or_default(),
        }),
        Err(AmqpClientError::Rejected(Some(error))) if error.description.is_some() => Ok(refused(error)),
        Err(error) => Err(error.into()),
    }
}

fn refused(error: AmqpError) -> Answer {
    let body = Bytes::from(error.description.unwrap_or_default());
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let status = json.get("errorCode").and_then(Value::as_u64).unwrap_or_default() / 1000;
    let status = u16::try_from(status).ok().filter(|status| *status >= 400).unwrap_or(500);
    Answer { status, retry_after_secs: seconds(&error.details), body }
}

fn seconds(entries: &Entries) -> Option<u64> {
    let value = entries.get("retry-after").and_then(codec::amqp::Value::as_integer);
    value.and_then(|seconds| u64::try_from(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_read_as_error_replies() {
        let rejected = |description: Option<&str>, details: Entries| {
            let error = AmqpError {
                condition: "amqp:x".into(),
                description: description.map(str::to_owned),
                details,
            };
            let answer = answer(Err(AmqpClientError::Rejected(Some(error)))).ok()?;
            Some((answer.status, answer.retry_after_secs))
        };
        let soon = Entries::new().with("retry-after", 3);
        assert_eq!(rejected(Some(r#"{"errorCode":429001}"#), soon), Some((429, Some(3))));
        assert_eq!(rejected(Some(r#"{"errorCode":401002}"#), Entries::new()), Some((401, None)));
        assert_eq!(rejected(Some("broken"), Entries::new()), Some((500, None)));
        assert_eq!(rejected(None, Entries::new()), None);
    }
}
