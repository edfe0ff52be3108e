//! Slow clients, as a generated table: each transport's first exchange, cut at many positions, after which the client is silent or
//! continues byte by byte. An unproven connection ends with its lifetime in any case; a proven one must finish each packet in time.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    routing::{get, post},
};
use bytes::BytesMut;
use codec::mqtt::{Connect, Packet, encode};
use net::{
    CancellationToken, ConnectionLimiter, HttpServices, Limits, Peer, Purpose, Refused, UnprovenLimits,
    serve_amqp, serve_https, serve_mqtt,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    amqp_parts,
    mqtt_parts::{RecordingEndpoint, connect as mqtt_connect, publish},
    pki::{Pki, connect, listen},
};

const LIFETIME: Duration = Duration::from_secs(3);
const PACKET: Duration = Duration::from_secs(1);
/// The tolerance for several hundred connections on a busy machine.
const SLACK: Duration = Duration::from_secs(4);

/// The addresses of the transports.
struct Server {
    pki: Pki,
    https: SocketAddr,
    mqtt: SocketAddr,
    amqp: SocketAddr,
    limiter: ConnectionLimiter,
}

impl Server {
    fn start(lifetime: Duration) -> Server {
        let unproven = UnprovenLimits { lifetime, ..UnprovenLimits::default() };
        // Only the tested limits end a connection.
        let mut limits = Limits { unproven, packet_timeout: PACKET, ..Limits::default() };
        let long = Duration::from_secs(600);
        limits.handshake_timeout = LIFETIME;
        (limits.header_timeout, limits.mqtt.connect_timeout, limits.amqp.login_timeout) = (long, long, long);
        let (pki, limiter, token) = (Pki::new(), ConnectionLimiter::new(limits), CancellationToken::new());
        let [(https, https_addr), (mqtt, mqtt_addr), (amqp, amqp_addr)] = [listen(), listen(), listen()];
        let noting = || Arc::new(RecordingEndpoint(Arc::default()));
        let noting_amqp = || Arc::new(amqp_parts::RecordingEndpoint(Arc::default()));
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
            .route(
                "/prove",
                get(async |peer: axum::Extension<Peer>| peer.standing.mark_proven(Purpose::Operations)),
            );
        let site = HttpServices { router, mqtt: Some(noting()), amqp: Some(noting_amqp()) };
        tokio::spawn(serve_https(https, pki.server(), site, limiter.clone(), token.clone()));
        tokio::spawn(serve_mqtt(mqtt, pki.server(), noting(), limiter.clone(), token.clone()));
        tokio::spawn(serve_amqp(amqp, pki.server(), noting_amqp(), limiter.clone(), token));
        Server { pki, https: https_addr, mqtt: mqtt_addr, amqp: amqp_addr, limiter }
    }

    /// Returns the first bytes of a client over each transport, and the address.
    fn exchanges(&self, client_id: &str) -> Vec<(&'static str, SocketAddr, Vec<u8>)> {
        let mqtt = mqtt(client_id);
        let amqp = amqp();
        let https = b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 30\r\n\r\n012345678901234567890123456789";
        vec![
            ("https", self.https, https.to_vec()),
            ("mqtt", self.mqtt, mqtt.clone()),
            ("amqp", self.amqp, amqp.clone()),
            ("mqtt-ws", self.https, over_websocket("mqtt", &mqtt)),
            ("amqp-ws", self.https, over_websocket("AMQPWSB10", &amqp)),
        ]
    }
}

/// Returns a CONNECT, and a message that is acknowledged when it is complete.
fn mqtt(client_id: &str) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let connect = Connect { keep_alive_secs: u16::MAX, ..mqtt_connect(client_id) };
    encode(&Packet::Connect(connect), &mut bytes).unwrap();
    encode(&publish("topic", Some(1), "a payload of some length"), &mut bytes).unwrap();
    bytes.to_vec()
}

/// Returns what a client sends from the protocol header to a message, without SASL.
fn amqp() -> Vec<u8> {
    let mut bytes = BytesMut::new();
    codec::amqp::encode_protocol(codec::amqp::Protocol::Amqp, &mut bytes);
    let attach = amqp_parts::attach(0, codec::amqp::Role::Sender, "in");
    let sent =
        [amqp_parts::open(), amqp_parts::begin(), attach, amqp_parts::send(0, "a body of some length")];
    bytes.extend_from_slice(&amqp_parts::encoded(sent));
    bytes.to_vec()
}

/// Returns the handshake, and the bytes in one masked message.
fn over_websocket(protocol: &str, bytes: &[u8]) -> Vec<u8> {
    let handshake = format!(
        "GET /$iothub/websocket HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: {protocol}\r\n\r\n"
    );
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    // A mask of zeros changes nothing.
    [handshake.as_bytes(), &[0x82, 0x80 | 126], &length, &[0; 4], bytes].concat()
}

/// Sends `bytes` up to `cut`, then is silent or continues byte by byte until the server closes; returns how long that took.
async fn closed_after(
    server: &Server,
    addr: SocketAddr,
    bytes: &[u8],
    cut: usize,
    drips: bool,
) -> Option<Duration> {
    let began = Instant::now();
    let mut stream = connect(addr, server.pki.client(None)).await.ok()?;
    stream.write_all(&bytes[..cut]).await.ok()?;
    let (mut read, mut write) = tokio::io::split(stream);
    let dripping = async {
        // Too slow to finish in time, but fast enough that silence alone would not end it.
        for byte in bytes[cut..].iter().chain(std::iter::repeat(&0)).take(200) {
            sleep(Duration::from_millis(250)).await;
            if !drips || write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut sink = Vec::new();
    let end = async {
        tokio::select! {
            _ = read.read_to_end(&mut sink) => {}
            () = dripping => {}
        }
    };
    timeout(LIFETIME + SLACK, end).await.ok().map(|()| began.elapsed())
}

/// Returns at most `most` positions to cut at, spread over the bytes.
fn cuts(length: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..=most).map(move |number| length * number / most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unproven_connection_ends_with_its_lifetime_whatever_it_sends() {
    let server = Arc::new(Server::start(LIFETIME));
    let mut clients = JoinSet::new();
    for (transport, addr, bytes) in server.exchanges("device") {
        let bytes = Arc::new(bytes);
        for (cut, drips) in cuts(bytes.len(), 12).flat_map(|cut| [(cut, false), (cut, true)]) {
            let (server, bytes) = (Arc::clone(&server), Arc::clone(&bytes));
            clients.spawn(async move {
                let closed = closed_after(&server, addr, &bytes, cut, drips).await;
                closed
                    .ok_or(format!("{transport}: open after {cut} of {} bytes, drips: {drips}", bytes.len()))
            });
        }
    }
    sleep(LIFETIME / 2).await;
    let mut honest =
        connect(server.https, server.pki.client(None)).await.expect("meanwhile others are served");
    honest.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    honest.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    let open: Vec<String> = clients.join_all().await.into_iter().filter_map(Result::err).collect();
    assert!(open.is_empty(), "{open:#?}");
    assert!(server.limiter.refused(Refused::Unproven) >= 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_packet_ends_even_a_proven_connection() {
    let server = Arc::new(Server::start(Duration::from_secs(600)));
    let mut clients = JoinSet::new();
    let prove = b"GET /prove HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (transport, addr, bytes) in server.exchanges("proven") {
        let bytes = if transport == "https" { [prove, &bytes[..]].concat() } else { bytes };
        // Within the last packet, message or body.
        for (missing, drips) in [(1, false), (20, false), (20, true)] {
            let (server, bytes) = (Arc::clone(&server), bytes.clone());
            clients.spawn(async move {
                let closed = closed_after(&server, addr, &bytes, bytes.len() - missing, drips).await;
                let closed = closed.filter(|after| *after >= PACKET);
                closed.ok_or(format!(
                    "{transport}: open, or closed too early, without the last {missing}, {drips}"
                ))
            });
        }
    }
    let open: Vec<String> = clients.join_all().await.into_iter().filter_map(Result::err).collect();
    assert!(open.is_empty(), "{open:#?}");
}

/// An AMQP message in several transfers has the deadline of one packet: empty frames in between do not extend it.
#[tokio::test]
async fn a_message_in_parts_has_a_deadline() {
    let server = Server::start(Duration::from_secs(600));
    let mut client = amqp_parts::Client::new(connect(server.amqp, server.pki.client(None)).await.unwrap());
    client.enter().await;
    let part = codec::amqp::Transfer { more: true, ..amqp_parts::transfer(0, "a part") };
    client.send([codec::amqp::Performative::Transfer(part)]).await;
    let began = Instant::now();
    let heartbeats = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            assert!(began.elapsed() < PACKET + SLACK, "heartbeats keep half a message");
        }
    };
    let detached = tokio::select! {
        answer = client.receive() => answer,
        () = heartbeats => None,
    };
    assert!(matches!(detached, Some(codec::amqp::Performative::Detach(_))), "{detached:?}");
    assert!(began.elapsed() >= PACKET);
}
