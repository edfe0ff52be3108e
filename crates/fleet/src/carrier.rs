//! The byte streams below MQTT and AMQP.

use net::{
    Transport,
    client::{Duplex, dial, websocket, within},
};

use crate::{
    device::Device,
    endpoint::Endpoint,
    failure::TransportError,
    timeouts::{CONNECT_TIMEOUT, EXCHANGE_TIMEOUT},
};

/// The maximum size of a WebSocket message in bytes, which exceeds every reply.
const MAX_MESSAGE: usize = 300 * 1024;

/// The kinds of byte streams below MQTT and AMQP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TLS, on the protocol's own port.
    Tls,
    /// WebSockets, on the port of HTTPS.
    WebSocket,
}

/// How a protocol is reached over each kind of byte stream.
#[derive(Clone, Copy)]
pub(crate) struct Protocol {
    /// The port of the protocol over TLS.
    pub port: u16,
    /// The name of the WebSocket subprotocol.
    pub subprotocol: &'static str,
}

impl Carrier {
    /// Returns the kind of byte stream of a transport.
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
        protocol: Protocol,
    ) -> Result<Box<dyn Duplex>, TransportError> {
        let config = endpoint.trust.of(&device.credentials)?;
        let host = endpoint.host.as_str();
        match self {
            Carrier::Tls => Ok(Box::new(dial(host, protocol.port, config, CONNECT_TIMEOUT).await?)),
            Carrier::WebSocket => {
                let stream = dial(host, endpoint.https_port, config, CONNECT_TIMEOUT).await?;
                let upgrade = websocket(stream, host, protocol.subprotocol, MAX_MESSAGE);
                Ok(Box::new(within(EXCHANGE_TIMEOUT, upgrade).await?))
            }
        }
    }
}
