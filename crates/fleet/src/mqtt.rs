//! MQTT connections of clients, with one exchange at a time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use codec::mqtt::{
    Connect, ConnectReturnCode, Packet, Publish, QoS, Subscribe, SubscribeReturn, decode, encode,
};
use net::client::{ClientError, Duplex, dial, within};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    failure::TransportError,
    timeouts::{CONNECT_TIMEOUT, EXCHANGE_TIMEOUT},
};

/// The keep-alive interval of the Java SDK. Connections of this client are never idle for that long, so it sends no
/// PINGREQ.
const KEEP_ALIVE_SECS: u16 = 230;

/// The maximum size of a packet in bytes: a hub's largest message has 256 KB, to which the topic is added.
const MAX_PACKET: usize = 300 * 1024;

/// A connection that the server accepted.
pub(crate) struct MqttConnection {
    stream: Box<dyn Duplex>,
    inbound: BytesMut,
    outbound: BytesMut,
    last_id: u16,
}

/// The identity of the client, for CONNECT.
pub(crate) struct Login {
    pub client_id: String,
    pub username: String,
    /// The SAS token; absent for devices with a certificate.
    pub password: Option<String>,
}

impl MqttConnection {
    /// Connects over TLS, and returns when the server has accepted the connection.
    pub(crate) async fn open(
        host: &str,
        port: u16,
        config: Arc<ClientConfig>,
        login: Login,
    ) -> Result<MqttConnection, TransportError> {
        MqttConnection::over(Box::new(dial(host, port, config, CONNECT_TIMEOUT).await?), login).await
    }

    /// Connects over an open byte stream, and returns when the server has accepted the connection.
    pub(crate) async fn over(
        stream: Box<dyn Duplex>,
        login: Login,
    ) -> Result<MqttConnection, TransportError> {
        let (inbound, outbound) = (BytesMut::new(), BytesMut::new());
        let mut connection = MqttConnection { stream, inbound, outbound, last_id: 0 };
        within(EXCHANGE_TIMEOUT, connection.log_in(login)).await?;
        Ok(connection)
    }

    async fn log_in(&mut self, login: Login) -> Result<(), TransportError> {
        let connect = Packet::Connect(Connect {
            clean_session: true,
            keep_alive_secs: KEEP_ALIVE_SECS,
            client_id: login.client_id,
            will: None,
            username: Some(login.username),
            password: login.password.map(Bytes::from),
        });
        self.send(&connect).await?;
        match self.receive().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Accepted => Ok(()),
            Packet::ConnAck(ack) => Err(TransportError::NotAccepted(ack.code)),
            _ => Err(TransportError::Unexpected("another packet before CONNACK")),
        }
    }

    /// Subscribes to a topic filter, and returns when the server has granted the subscription.
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

    /// Publishes a request with QoS 1, and returns the first message whose topic `is_reply` accepts. Other messages are
    /// acknowledged and dropped.
    pub(crate) async fn request(
        &mut self,
        topic: String,
        payload: Bytes,
        is_reply: impl Fn(&str) -> bool,
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
                if is_reply(&message.topic) {
                    return Ok(message);
                }
            }
        })
        .await
    }

    /// Disconnects. Errors are ignored, since the server may have closed the connection already.
    pub(crate) async fn close(mut self) {
        let disconnect = async {
            self.send(&Packet::Disconnect).await?;
            Ok(self.stream.shutdown().await?)
        };
        let _: Result<(), TransportError> = within(EXCHANGE_TIMEOUT, disconnect).await;
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

    /// Returns the next packet identifier, which is never 0 (MQTT 3.1.1, §2.3.1).
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}
