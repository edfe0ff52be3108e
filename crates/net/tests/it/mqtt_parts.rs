//! An MQTT endpoint that records its calls, and a client.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use codec::mqtt::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, SubAck, Subscribe, SubscribeReturn, decode,
    encode,
};
use net::{
    Peer, Purpose,
    mqtt::{Close, ConnectRefusal, MqttEndpoint, MqttSession, Outbox},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The calls of an endpoint that accepts every client but `refuse-N`, which gets CONNACK N. `proven` is proven at once, and
/// `can-prove` when it is asked for its proof.
#[derive(Debug, Default)]
pub struct Notes {
    notes: Mutex<Vec<String>>,
    outboxes: Mutex<Vec<Outbox>>,
}

impl Notes {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }

    /// Returns the outbox of the latest client.
    pub fn outbox(&self) -> Outbox {
        self.outboxes.lock().unwrap().last().expect("a client").clone()
    }

    fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }
}

/// The endpoint, and its sessions.
pub struct RecordingEndpoint(pub Arc<Notes>);

struct Session {
    notes: Arc<Notes>,
    outbox: Outbox,
    busy: bool,
    can_prove: bool,
}

#[async_trait]
impl MqttEndpoint for RecordingEndpoint {
    async fn connect(
        &self,
        peer: &Peer,
        connect: Connect,
        outbox: Outbox,
    ) -> Result<Box<dyn MqttSession>, ConnectRefusal> {
        self.0.note(format!("connect {} certificates={}", connect.client_id, peer.certificates.len()));
        match connect.client_id.strip_prefix("refuse-") {
            Some("0") => Err(ConnectRefusal { code: ConnectReturnCode::Accepted, reason: None }),
            Some("4") => Err(ConnectRefusal::because(ConnectReturnCode::BadUserNameOrPassword, "bad")),
            Some(_) => Err(ConnectRefusal::because(ConnectReturnCode::NotAuthorized, "not authorized")),
            None => {
                if connect.client_id == "proven" {
                    peer.standing.mark_proven(Purpose::Hub);
                }
                let can_prove = connect.client_id == "can-prove";
                self.0.outboxes.lock().unwrap().push(outbox.clone());
                Ok(Box::new(Session { notes: Arc::clone(&self.0), outbox, busy: false, can_prove }))
            }
        }
    }
}

#[async_trait]
impl MqttSession for Session {
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn> {
        self.notes.note(format!("subscribe {}", filters.len()));
        let verdict = |(filter, qos): &(String, QoS)| match filter.as_str() {
            "forbidden" => SubscribeReturn::Failure,
            _ => SubscribeReturn::Granted(*qos),
        };
        filters.iter().map(verdict).collect()
    }

    async fn unsubscribe(&mut self, filters: &[String]) {
        self.notes.note(format!("unsubscribe {filters:?}"));
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Close> {
        self.notes.note(format!("publish {}", publish.topic));
        match publish.topic.as_str() {
            "echo" => self.outbox.try_publish("reply", publish.payload, QoS::AtLeastOnce, 77).unwrap(),
            "kick" => self.outbox.close(Close::because("kicked")),
            "close" => return Err(Close::because("asked to")),
            "panic" => panic!("provoked"),
            "busy" => self.busy = true,
            "done" => self.busy = false,
            _ => {}
        }
        Ok(())
    }

    async fn acknowledged(&mut self, token: u64) {
        self.notes.note(format!("acknowledged {token}"));
    }

    async fn prove(&mut self) -> bool {
        self.can_prove
    }

    fn busy(&self) -> bool {
        self.busy
    }

    async fn closed(&mut self) {
        self.notes.note("closed".to_owned());
    }
}

/// The client's side of a connection.
pub struct Client<S> {
    pub stream: S,
    input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Client<S> {
        Client { stream, input: BytesMut::new() }
    }

    /// Sends all packets in one write.
    pub async fn send(&mut self, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            encode(packet, &mut bytes).unwrap();
        }
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Receives the next packet; `None` when the server has closed the connection.
    pub async fn receive(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.input, usize::MAX).unwrap() {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Connects, and expects to be accepted.
    pub async fn enter(&mut self, keep_alive_secs: u16) {
        self.enter_as("device", keep_alive_secs).await;
    }

    /// Logs in with another client ID.
    pub async fn enter_as(&mut self, client_id: &str, keep_alive_secs: u16) {
        self.send(&[Packet::Connect(Connect { keep_alive_secs, ..connect(client_id) })]).await;
        assert_eq!(self.receive().await, Some(conn_ack(ConnectReturnCode::Accepted)));
    }
}

pub fn connect(client_id: &str) -> Connect {
    Connect {
        clean_session: true,
        keep_alive_secs: 60,
        client_id: client_id.to_owned(),
        will: None,
        username: None,
        password: None,
    }
}

pub fn conn_ack(code: ConnectReturnCode) -> Packet {
    Packet::ConnAck(ConnAck { session_present: false, code })
}

/// Returns a PUBLISH: QoS 1 with an identifier, QoS 0 without.
pub fn publish(topic: &str, packet_id: Option<u16>, payload: &'static str) -> Packet {
    let qos = packet_id.map_or(QoS::AtMostOnce, |_| QoS::AtLeastOnce);
    let (topic, payload) = (topic.to_owned(), Bytes::from_static(payload.as_bytes()));
    Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, payload })
}

pub fn subscribe(packet_id: u16, filters: &[(&str, QoS)]) -> Packet {
    let filters = filters.iter().map(|(filter, qos)| ((*filter).to_owned(), *qos)).collect();
    Packet::Subscribe(Subscribe { packet_id, filters })
}

pub fn sub_ack(packet_id: u16, codes: &[SubscribeReturn]) -> Packet {
    Packet::SubAck(SubAck { packet_id, codes: codes.to_vec() })
}
