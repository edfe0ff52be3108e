//! An MQTT client that speaks packets.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use codec::mqtt::{
    Connect, ConnectReturnCode, Packet, Publish, QoS, Subscribe, SubscribeReturn, decode, encode,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{tls::ByteStream, world::Device};

pub const RESPONSES: &str = "$dps/registrations/res/#";
pub const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?$rid=";
pub const POLL: &str = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=";

/// Longer than any reply takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Mqtt {
    stream: ByteStream,
    input: BytesMut,
    /// The QoS that was granted for replies; 0 as long as there is no subscription.
    granted: QoS,
}

/// A reply of the service.
#[derive(Debug)]
pub struct Response {
    /// After `$dps/registrations/res/`.
    pub topic: String,
    pub json: Value,
}

impl Mqtt {
    pub fn new(stream: ByteStream) -> Mqtt {
        Mqtt { stream, input: BytesMut::new(), granted: QoS::AtMostOnce }
    }

    pub async fn send(&mut self, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        packets.iter().for_each(|packet| encode(packet, &mut bytes).unwrap());
        self.send_bytes(&bytes).await;
    }

    /// The server may be gone already; what it sent before can still be read.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next packet; `None` when the server has closed the connection.
    pub async fn receive(&mut self) -> Option<Packet> {
        let receiving = async {
            loop {
                if let Some(packet) = decode(&mut self.input, 300_000).unwrap() {
                    return Some(packet);
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        timeout(PATIENCE, receiving).await.expect("a packet or the end")
    }

    /// The code of the CONNACK. There is never a session.
    pub async fn enter(&mut self, connect: Connect) -> ConnectReturnCode {
        self.send(&[Packet::Connect(connect)]).await;
        match self.receive().await {
            Some(Packet::ConnAck(ack)) => {
                assert!(!ack.session_present);
                ack.code
            }
            other => panic!("{other:?}"),
        }
    }

    /// Connects and subscribes as SDKs do.
    pub async fn enter_as(&mut self, device: &Device) {
        assert_eq!(self.enter(connect(device)).await, ConnectReturnCode::Accepted);
        let granted = self.subscribe(&[(RESPONSES, QoS::AtLeastOnce)]).await;
        assert_eq!(granted, [SubscribeReturn::Granted(QoS::AtLeastOnce)]);
    }

    pub async fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Vec<SubscribeReturn> {
        let filters = filters.iter().map(|(filter, qos)| ((*filter).to_owned(), *qos)).collect();
        self.send(&[Packet::Subscribe(Subscribe { packet_id: 77, filters })]).await;
        match self.receive().await {
            Some(Packet::SubAck(ack)) => {
                assert_eq!(ack.packet_id, 77);
                for code in &ack.codes {
                    if let SubscribeReturn::Granted(qos) = code {
                        self.granted = *qos;
                    }
                }
                ack.codes
            }
            other => panic!("{other:?}"),
        }
    }

    /// Publishes with QoS 1; the PUBACK must come before the response.
    pub async fn request(&mut self, topic: impl Into<String>, body: impl Into<Bytes>) -> Response {
        self.send(&[publish(topic, Some(5), body)]).await;
        assert_eq!(self.receive().await, Some(Packet::PubAck(5)), "PUBACK first");
        self.response().await
    }

    /// The next packet, which must be a response as the service sends them: at the QoS that was granted, not retained.
    /// Acknowledges it.
    pub async fn response(&mut self) -> Response {
        match self.receive().await {
            Some(Packet::Publish(message)) => {
                assert_eq!((message.qos, message.retain, message.dup), (self.granted, false, false));
                if let Some(id) = message.packet_id {
                    self.send(&[Packet::PubAck(id)]).await;
                }
                let topic = message.topic.strip_prefix("$dps/registrations/res/").unwrap().to_owned();
                Response { topic, json: serde_json::from_slice(&message.payload).unwrap() }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether the server closes the connection without another packet.
    pub async fn is_closed(&mut self) -> bool {
        self.receive().await.is_none()
    }
}

/// What a device connects with.
pub fn connect(device: &Device) -> Connect {
    let agent = device.agent.replace('/', "%2F");
    connect_as(device, &format!("2019-03-31&ClientVersion={agent}"))
}

/// The same with another version and user agent.
pub fn connect_as(device: &Device, version: &str) -> Connect {
    Connect {
        clean_session: false,
        keep_alive_secs: 60,
        client_id: device.id.clone(),
        will: None,
        username: Some(format!("{}/api-version={version}", device.resource())),
        password: Some(device.token().into()),
    }
}

/// With an identifier it is QoS 1.
pub fn publish(topic: impl Into<String>, packet_id: Option<u16>, body: impl Into<Bytes>) -> Packet {
    let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let (topic, payload) = (topic.into(), body.into());
    Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, payload })
}
