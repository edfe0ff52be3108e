//! The client's side of one MQTT connection: one thing at a time, as devices do.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use codec::mqtt::{
    Connect, ConnectReturnCode, Packet, Publish, QoS, Subscribe, SubscribeReturn, decode, encode,
};
use net::client::{ClientError, Duplex, dial, within};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::failure::TransportError;
use crate::patience::{CONNECT_TIMEOUT, EXCHANGE_TIMEOUT};

/// An accepted connection.
pub(crate) struct MqttConnection {
    stream: Box<dyn Duplex>,
    inbound: BytesMut,
    outbound: BytesMut,
    last_id: u16,
}

/// How the client introduces itself.
pub(crate) struct Greeting {
    pub client_id: String,
    pub username: String,
    /// A shared access signature; devices with a certificate send none.
    pub password: Option<String>,
}

impl MqttConnection {
    /// Connects, and returns once the server has accepted.
    pub(crate) async fn open(
        host: &str,
        port: u16,
        config: Arc<ClientConfig>,
        greeting: Greeting,
    ) -> Result<MqttConnection, TransportError> {
        MqttConnection::over(Box::new(dial(host, port, config, CONNECT_TIMEOUT).await?), greeting).await
    }

    /// The same over a stream that is there.
    pub(crate) async fn over(
        stream: Box<dyn Duplex>,
        greeting: Greeting,
    ) -> Result<MqttConnection, TransportError> {
        let (inbound, outbound) = (BytesMut::new(), BytesMut::new());
        let mut connection = MqttConnection { stream, inbound, outbound, last_id: 0 };
        within(EXCHANGE_TIMEOUT, connection.greet(greeting)).await?;
        Ok(connection)
    }

    async fn greet(&mut self, greeting: Greeting) -> Result<(), TransportError> {
        let connect = Packet::Connect(Connect {
            clean_session: true,
            keep_alive_secs: KEEP_ALIVE_SECS,
            client_id: greeting.client_id,
            will: None,
            username: Some(greeting.username),
            password: greeting.password.map(Bytes::from),
        });
        self.send(&connect).await?;
        match self.receive().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Accepted => Ok(()),
            Packet::ConnAck(ack) => Err(TransportError::NotAccepted(ack.code)),
            _ => Err(TransportError::Unexpected("another packet before CONNACK")),
        }
    }

    /// Subscribes to one filter, and returns once that is granted.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<(), TransportError> {
        let packet_id = self.next_id();
        let filters = vec![(filter.to_owned(), QoS::AtLeastOnce)];
        within(EXCHANGE_TIMEOUT, async {
            self.send(&Packet::Subscribe(Subscribe { packet_id, filters })).await?;
            loop {
                if let Packet::SubAck(ack) = self.receive().await?
                    && ack.packet_id == packet_id
                {
                    let granted = ack.codes.iter().all(|code| matches!(code, SubscribeReturn::Granted(_)));
                    return if granted {
                        Ok(())
                    } else {
                        Err(TransportError::NotSubscribed(filter.to_owned()))
                    };
                }
            }
        })
        .await
    }

    /// Publishes a request with QoS 1, and returns the first message that `is_answer` picks. Others are acknowledged
    /// and dropped.
    pub(crate) async fn request(
        &mut self,
        topic: String,
        payload: Bytes,
        is_answer: impl Fn(&str) -> bool,
    ) -> Result<Publish, TransportError> {
        let packet_id = Some(self.next_id());
        let publish = Publish { dup: false, qos: QoS::AtLeastOnce, retain: false, topic, packet_id, payload };
        within(EXCHANGE_TIMEOUT, async {
            self.send(&Packet::Publish(publish)).await?;
            loop {
                let Packet::Publish(message) = self.receive().await? else { continue };
                if let Some(packet_id) = message.packet_id {
                    self.send(&Packet::PubAck(packet_id)).await?;
                }
                if is_answer(&message.topic) {
                    return Ok(message);
                }
            }
        })
        .await
    }

    /// Takes leave. That the server may be gone already does not matter.
    pub(crate) async fn close(mut self) {
        let leave = async {
            self.send(&Packet::Disconnect).await?;
            Ok(self.stream.shutdown().await?)
        };
        let _: Result<(), TransportError> = within(EXCHANGE_TIMEOUT, leave).await;
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), TransportError> {
        self.outbound.clear();
        encode(packet, &mut self.outbound)?;
        self.stream.write_all(&self.outbound).await?;
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<Packet, TransportError> {
        loop {
            if let Some(packet) = decode(&mut self.inbound, MAX_PACKET)? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Err(ClientError::Closed.into());
            }
        }
    }

    /// Packet identifiers are never 0.
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

/// What the Java SDK asks for. Connections here are busy or closed long before, so nothing pings.
const KEEP_ALIVE_SECS: u16 = 230;

/// The longest packet of a hub: a message of 256 KB and its topic.
const MAX_PACKET: usize = 300 * 1024;
