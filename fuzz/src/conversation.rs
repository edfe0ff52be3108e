//! MQTT clients that say anything, and what servers may answer.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use net::{
    CancellationToken, Entrance, Limits, MqttLimits, Peer,
    mqtt::{MqttEndpoint, drive},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};
use wire::mqtt::{Packet, decode};

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
    let (near, far) = tokio::io::duplex(MAX_PACKET);
    let limits =
        Limits { mqtt: MqttLimits { outbox: 4, in_flight: 2, ..MqttLimits::default() }, ..Limits::default() };
    let entrance = Entrance { endpoint, limits: Arc::new(limits), shutdown: CancellationToken::new() };
    let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), certificates: Arc::default() };
    let talk = async {
        let mut client = Client { stream: near, heard: BytesMut::new() };
        // An error means that the server has hung up.
        let _ = client.stream.write_all(input).await;
        client.listen().await;
        meanwhile(&mut client).await;
        client.heard
    };
    let ((), heard) = tokio::join!(drive(far, peer, entrance), talk);
    check(heard);
}

impl Client {
    /// Hears the server out, until it has been silent for a moment. Whether it is still there.
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

fn check(mut heard: BytesMut) {
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

/// A server that works has an answer ready in a fraction of this.
const SILENCE: Duration = Duration::from_millis(2);
