//! A device over MQTT, on any byte stream.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use codec::mqtt::{
    Connect, ConnectReturnCode, Packet, Publish, QoS, Subscribe, SubscribeReturn, decode, encode,
};
use net::{CancellationToken, Limits, ListenerContext, Peer, mqtt::drive};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    time::timeout,
};
use wire::{
    hub::user_name,
    topics::{DeviceFilter, DevicePublish},
};

use crate::world::{HOST, World};

/// One connection of a device.
pub struct Device<S> {
    stream: S,
    buffer: BytesMut,
    id: String,
    /// Whether the hub had a session of the device.
    pub is_resumed: bool,
}

/// The credentials of a device, and the rest of its CONNECT.
pub struct Credentials {
    pub host: String,
    pub client_id: String,
    pub password: Option<String>,
    pub certificate: Option<Vec<u8>>,
    pub clean_session: bool,
    /// The rest of the user name.
    pub more: &'static str,
}

impl Credentials {
    pub fn token(world: &World, id: &str, key_byte: u8) -> Credentials {
        let token = world.token(&format!("{HOST}/devices/{id}"), key_byte, None);
        Credentials {
            host: HOST.to_owned(),
            client_id: id.to_owned(),
            password: Some(token),
            certificate: None,
            clean_session: true,
            more: "",
        }
    }

    pub fn certificate(id: &str, leaf: &[u8]) -> Credentials {
        Credentials {
            host: HOST.to_owned(),
            client_id: id.to_owned(),
            password: None,
            certificate: Some(leaf.to_vec()),
            clean_session: true,
            more: "",
        }
    }
}

impl Device<DuplexStream> {
    /// Connects in memory; the answer is the CONNACK's code.
    pub async fn try_connect(
        world: &World,
        id: &str,
        presented: Credentials,
    ) -> Result<Device<DuplexStream>, ConnectReturnCode> {
        let certificates = presented.certificate.iter().map(|der| der.clone().into()).collect();
        let peer = Peer::new("127.0.0.1:1".parse().unwrap(), certificates);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let limits = Arc::new(embedded_hub::limits(&Limits::default()));
        let entrance =
            ListenerContext { endpoint: world.hub.mqtt(), limits, shutdown: CancellationToken::new() };
        tokio::spawn(drive(far, peer, entrance));
        Device::introduce(near, id, presented).await
    }

    pub async fn connect(world: &World, id: &str) -> Device<DuplexStream> {
        Device::try_connect(world, id, Credentials::token(world, id, 7)).await.unwrap()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Device<S> {
    /// Sends CONNECT over an open stream.
    pub async fn introduce(
        stream: S,
        id: &str,
        presented: Credentials,
    ) -> Result<Device<S>, ConnectReturnCode> {
        let mut device = Device { stream, buffer: BytesMut::new(), id: id.to_owned(), is_resumed: false };
        let connect = Connect {
            clean_session: presented.clean_session,
            keep_alive_secs: 60,
            client_id: presented.client_id,
            will: None,
            username: Some(user_name(&presented.host, id, "test") + presented.more),
            password: presented.password.map(Bytes::from),
        };
        device.send(Packet::Connect(connect)).await;
        match device.next().await {
            Some(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Accepted => {
                device.is_resumed = ack.session_present;
                Ok(device)
            }
            Some(Packet::ConnAck(ack)) => Err(ack.code),
            other => panic!("{other:?} instead of a CONNACK"),
        }
    }

    pub async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        encode(&packet, &mut bytes).unwrap();
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // The hub may have closed already; its last frames are still to be read.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Receives the next packet; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.buffer, 1 << 20).unwrap() {
                return Some(packet);
            }
            let read = timeout(Duration::from_secs(10), self.stream.read_buf(&mut self.buffer));
            if read.await.expect("an answer in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Receives the next PUBLISH, and acknowledges it if it has QoS 1.
    pub async fn next_publish(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => {
                if let Some(id) = publish.packet_id {
                    self.send(Packet::PubAck(id)).await;
                }
                publish
            }
            other => panic!("{other:?} instead of a PUBLISH"),
        }
    }

    /// Returns whether the connection is open and nothing arrives for a moment.
    pub async fn is_silent(&mut self) -> bool {
        self.send(Packet::PingReq).await;
        matches!(self.next().await, Some(Packet::PingResp))
    }

    pub async fn is_closed(&mut self) -> bool {
        while let Some(packet) = self.next().await {
            assert!(!matches!(packet, Packet::PingResp), "the connection still answers");
        }
        true
    }

    pub async fn subscribe(&mut self, filters: &[DeviceFilter]) {
        let topics: Vec<String> = filters.iter().map(|filter| filter.topic(&self.id)).collect();
        let codes = self.subscribe_to(&topics.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert!(codes.iter().all(|code| *code == SubscribeReturn::Granted(QoS::AtLeastOnce)), "{codes:?}");
    }

    pub async fn subscribe_to(&mut self, topics: &[&str]) -> Vec<SubscribeReturn> {
        self.subscribe_with(topics, QoS::AtLeastOnce).await
    }

    pub async fn subscribe_with(&mut self, topics: &[&str], qos: QoS) -> Vec<SubscribeReturn> {
        let filters = topics.iter().map(|topic| ((*topic).to_owned(), qos)).collect();
        self.send(Packet::Subscribe(Subscribe { packet_id: 1, filters })).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) => ack.codes,
            other => panic!("{other:?} instead of a SUBACK"),
        }
    }

    /// Publishes with QoS 0.
    pub async fn publish(&mut self, topic: &str, payload: &str) {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: topic.to_owned(),
            packet_id: None,
            payload: payload.to_owned().into(),
        };
        self.send(Packet::Publish(publish)).await;
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub async fn publish_acknowledged(&mut self, topic: &str, payload: &str) {
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.to_owned(),
            packet_id: Some(9),
            payload: payload.to_owned().into(),
        };
        self.send(Packet::Publish(publish)).await;
        assert_eq!(self.next().await, Some(Packet::PubAck(9)));
    }

    /// Reads the twin.
    pub async fn twin(&mut self) -> Value {
        self.publish(&DevicePublish::TwinRequest { request_id: "get-1" }.topic(), " ").await;
        let reply = self.next_publish().await;
        assert_eq!(reply.topic, "$iothub/twin/res/200/?$rid=get-1");
        serde_json::from_slice(&reply.payload).unwrap()
    }

    /// Patches the reported properties; the answer's topic and body.
    pub async fn report(&mut self, patch: &str) -> (String, String) {
        self.publish(&DevicePublish::Report { request_id: "7" }.topic(), patch).await;
        let reply = self.next_publish().await;
        (reply.topic, String::from_utf8(reply.payload.to_vec()).unwrap())
    }
}
