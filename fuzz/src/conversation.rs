//! Clients over MQTT and AMQP that say anything, and what servers may answer.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use codec::{
    amqp::{Protocol, SaslFrame, decode_frame, decode_protocol, decode_sasl},
    mqtt::{Packet, decode},
};
use net::{
    AmqpLimits, CancellationToken, Limits, ListenerContext, MqttLimits, Peer,
    amqp::{self, AmqpEndpoint},
    mqtt::{self, MqttEndpoint},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use crate::packets::MAX_PACKET;

/// A client's side of a connection.
pub struct Client {
    stream: DuplexStream,
    heard: BytesMut,
}

/// Sends `input` to the endpoint, then does what `meanwhile` does, then hangs up. Whatever comes back is packets that
/// servers send, all of them whole.
pub async fn converse(
    endpoint: Arc<dyn MqttEndpoint>,
    input: &[u8],
    meanwhile: impl AsyncFnOnce(&mut Client),
) {
    let limits =
        Limits { mqtt: MqttLimits { outbox: 4, in_flight: 2, ..MqttLimits::default() }, ..Limits::default() };
    let (near, far) = tokio::io::duplex(MAX_PACKET);
    let server = mqtt::drive(far, peer(), listener_context(endpoint, limits));
    let ((), heard) = tokio::join!(server, talk(near, input, meanwhile));
    check_packets(heard);
}

/// The same over AMQP, in frames.
pub async fn converse_in_frames(
    endpoint: Arc<dyn AmqpEndpoint>,
    input: &[u8],
    meanwhile: impl AsyncFnOnce(&mut Client),
) {
    let limits =
        Limits { amqp: AmqpLimits { outbox: 4, unsettled: 2, ..AmqpLimits::default() }, ..Limits::default() };
    let (near, far) = tokio::io::duplex(MAX_PACKET);
    let server = amqp::drive(far, peer(), listener_context(endpoint, limits));
    let ((), heard) = tokio::join!(server, talk(near, input, meanwhile));
    check_frames(heard);
}

fn peer() -> Peer {
    Peer::new(([127, 0, 0, 1], 1).into(), Arc::default())
}

fn listener_context<E: ?Sized>(endpoint: Arc<E>, limits: Limits) -> ListenerContext<E> {
    ListenerContext { endpoint, limits: Arc::new(limits), shutdown: CancellationToken::new() }
}

async fn talk(stream: DuplexStream, input: &[u8], meanwhile: impl AsyncFnOnce(&mut Client)) -> BytesMut {
    let mut client = Client { stream, heard: BytesMut::new() };
    // An error means that the server has hung up.
    let _ = client.stream.write_all(input).await;
    client.listen().await;
    meanwhile(&mut client).await;
    client.heard
}

impl Client {
    /// Reads from the server until it has been silent for a moment; returns whether it is still connected.
    pub async fn listen(&mut self) -> bool {
        while let Ok(read) = timeout(SILENCE, self.stream.read_buf(&mut self.heard)).await {
            if !matches!(read, Ok(1..)) {
                return false;
            }
        }
        true
    }

    /// Whether the server let the client in.
    pub fn is_welcome(&self) -> bool {
        self.heard.starts_with(&[0x20, 2, 0, 0])
    }
}

fn check_packets(mut heard: BytesMut) {
    loop {
        match decode(&mut heard, MAX_PACKET).expect("the server speaks MQTT") {
            None => break,
            Some(Packet::ConnAck(_) | Packet::PingResp | Packet::PubAck(_) | Packet::Publish(_)) => {}
            Some(Packet::SubAck(_) | Packet::UnsubAck(_)) => {}
            Some(other) => panic!("servers do not send {other:?}"),
        }
    }
    assert!(heard.is_empty(), "half a packet: {heard:?}");
}

/// Protocol headers; SASL frames after that of SASL, up to the outcome; then frames.
fn check_frames(mut heard: BytesMut) {
    let mut in_sasl = false;
    while !heard.is_empty() {
        if heard.starts_with(b"AMQP") {
            let protocol = decode_protocol(&mut heard).expect("a protocol header").expect("a whole one");
            in_sasl = protocol == Protocol::Sasl;
        } else if in_sasl {
            let frame = decode_sasl(&mut heard, MAX_PACKET).expect("a SASL frame").expect("a whole one");
            let is_ours =
                matches!(frame, SaslFrame::Mechanisms(_) | SaslFrame::Challenge(_) | SaslFrame::Outcome(_));
            assert!(is_ours, "servers do not send {frame:?}");
        } else {
            decode_frame(&mut heard, MAX_PACKET).expect("a frame").expect("a whole one");
        }
    }
}

/// A server that works has an answer ready in a fraction of this.
const SILENCE: Duration = Duration::from_millis(2);
