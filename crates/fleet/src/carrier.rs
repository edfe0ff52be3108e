//! What MQTT and AMQP run over.

use net::{
    Transport,
    client::{Duplex, dial, websocket, within},
};

use crate::device::Device;
use crate::endpoint::Endpoint;
use crate::failure::TransportError;
use crate::patience::{CONNECT_TIMEOUT, EXCHANGE_TIMEOUT};

/// What carries the bytes of MQTT or AMQP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TLS, on the protocol's own port.
    Tls,
    /// WebSockets, on the port of HTTPS.
    WebSocket,
}

/// A protocol as it is known to both.
#[derive(Clone, Copy)]
pub(crate) struct Spoken {
    /// The port of TLS.
    pub port: u16,
    /// The name among WebSocket subprotocols.
    pub subprotocol: &'static str,
}

impl Carrier {
    /// What a transport's MQTT or AMQP runs over.
    pub fn of(transport: Transport) -> Carrier {
        match transport {
            Transport::Https | Transport::Mqtt | Transport::Amqp => Carrier::Tls,
            Transport::MqttWs | Transport::AmqpWs => Carrier::WebSocket,
        }
    }

    /// Connects a device to the endpoint.
    pub(crate) async fn connect(
        self,
        endpoint: &Endpoint,
        device: &Device,
        spoken: Spoken,
    ) -> Result<Box<dyn Duplex>, TransportError> {
        let config = endpoint.trust.of(&device.credentials)?;
        let host = endpoint.host.as_str();
        match self {
            Carrier::Tls => Ok(Box::new(dial(host, spoken.port, config, CONNECT_TIMEOUT).await?)),
            Carrier::WebSocket => {
                let stream = dial(host, endpoint.https_port, config, CONNECT_TIMEOUT).await?;
                let upgrade = websocket(stream, host, spoken.subprotocol, MAX_MESSAGE);
                Ok(Box::new(within(EXCHANGE_TIMEOUT, upgrade).await?))
            }
        }
    }
}

/// The longest WebSocket message taken: far more than any reply.
const MAX_MESSAGE: usize = 300 * 1024;
