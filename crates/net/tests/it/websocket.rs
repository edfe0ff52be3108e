//! MQTT and AMQP over WebSockets through real TLS sockets. The frames are made by hand (RFC 6455 §5.2).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use bytes::BytesMut;
use codec::{
    amqp::{Performative, Protocol, decode_frame, decode_protocol},
    mqtt::{Connect, ConnectReturnCode, Packet, QoS, SubscribeReturn, decode, encode},
};
use net::{CancellationToken, ConnectionLimiter, HttpServices, Limits, serve_https};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{
    amqp_parts,
    mqtt_parts::{Notes, RecordingEndpoint, conn_ack, connect, publish, sub_ack, subscribe},
    pki::{self, Pki, listen},
};

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// Set in the first byte of a message's last frame.
const FIN: u8 = 0x80;
/// Set in the first byte of a compressed message.
const RSV1: u8 = 0x40;

/// A server with one page at `/` and MQTT over WebSockets.
struct Server {
    pki: Pki,
    addr: SocketAddr,
    limiter: ConnectionLimiter,
    notes: Arc<Notes>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    fn start(limits: Limits) -> Server {
        let (pki, notes, shutdown) = (Pki::new(), Arc::new(Notes::default()), CancellationToken::new());
        let (listener, addr) = listen();
        let limiter = ConnectionLimiter::new(limits);
        let router = Router::new().route("/", get(|| async { "hello" }));
        let mqtt = Arc::new(RecordingEndpoint(Arc::clone(&notes)));
        let amqp = Arc::new(amqp_parts::RecordingEndpoint(Arc::default()));
        let site = HttpServices { router, mqtt: Some(mqtt), amqp: Some(amqp) };
        let task = tokio::spawn(serve_https(listener, pki.server(), site, limiter.clone(), shutdown.clone()));
        Server { pki, addr, limiter, notes, shutdown, task }
    }

    /// Opens a WebSocket on which no message was sent yet.
    async fn socket(&self) -> Socket {
        let stream = pki::connect(self.addr, self.pki.client(None)).await.unwrap();
        let mut socket = Socket { stream, input: BytesMut::new() };
        socket.stream.write_all(handshake("/$iothub/websocket", "mqtt").as_bytes()).await.unwrap();
        assert!(socket.head().await.starts_with("HTTP/1.1 101"));
        socket
    }

    /// Opens a WebSocket, and a session over it.
    async fn session(&self) -> Socket {
        self.session_of("device").await
    }

    async fn session_of(&self, client_id: &str) -> Socket {
        let mut socket = self.socket().await;
        socket.send_packets(&[Packet::Connect(connect(client_id))]).await;
        assert_eq!(socket.packets().await, [conn_ack(ConnectReturnCode::Accepted)]);
        socket
    }
}

/// The client's end, after the handshake or before it.
struct Socket {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
}

impl Socket {
    /// Sends one frame; the first byte has the opcode and the flags.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).await.unwrap();
    }

    /// Sends all packets in one message.
    async fn send_packets(&mut self, packets: &[Packet]) {
        self.send(FIN | BINARY, &encoded(packets)).await;
    }

    /// Receives the next frame: its first byte, and its payload; `None` at the end of the stream.
    async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [first, second, rest @ ..] = &self.input[..] {
                assert_eq!(second & 0x80, 0, "servers do not mask");
                let (header, length) = match (second, rest) {
                    (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
                    (..126, _) => (2, usize::from(*second)),
                    _ => (0, usize::MAX), // 127 is for longer messages than this server sends
                };
                if self.input.len() - 2 >= length.saturating_add(header - 2) {
                    let first = *first;
                    let frame = self.input.split_to(header + length);
                    return Some((first, frame[header..].to_vec()));
                }
            }
            let read = timeout(Duration::from_secs(5), self.stream.read_buf(&mut self.input)).await;
            if read.expect("the server answers or closes").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Receives the packets of the next message.
    async fn packets(&mut self) -> Vec<Packet> {
        let (first, payload) = self.receive().await.expect("a message");
        assert_eq!(first, FIN | BINARY);
        let mut bytes = BytesMut::from(&payload[..]);
        let packets = std::iter::from_fn(|| decode(&mut bytes, usize::MAX).unwrap()).collect();
        assert!(bytes.is_empty(), "half a packet");
        packets
    }

    /// Receives the status line and header of an HTTP response.
    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.input.split_to(end + 4).to_vec()).unwrap();
            }
            let read = timeout(Duration::from_secs(5), self.stream.read_buf(&mut self.input)).await;
            assert_ne!(read.unwrap().unwrap(), 0, "no response");
        }
    }

    /// Checks that the server closes with this status code (RFC 6455 §7.4.1) and sends nothing else.
    async fn expect_close(&mut self, code: u16) {
        let (first, payload) = self.receive().await.expect("a close frame");
        assert_eq!((first, &payload[..2]), (FIN | CLOSE, &code.to_be_bytes()[..]), "{payload:?}");
        assert_eq!(self.receive().await, None);
    }
}

fn handshake(path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-Websocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Sec-Websocket-Protocol: {protocol}\r\n\r\n"
    )
}

/// Returns a masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, payload.len());
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn header(first: u8, length: usize) -> Vec<u8> {
    match length {
        ..126 => vec![first, 0x80 | length as u8],
        126..65536 => [&[first, 0x80 | 126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[first, 0x80 | 127], &(length as u64).to_be_bytes()[..]].concat(),
    }
}

fn encoded(packets: &[Packet]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        encode(packet, &mut bytes).unwrap();
    }
    bytes.to_vec()
}

#[tokio::test]
async fn a_device_gets_its_reply_on_any_path() {
    let server = Server::start(Limits::default());
    let identity = server.pki.device().identity();
    for (path, protocol) in
        [("/$iothub/websocket?iothub-no-client-cert=true", "MQTT"), ("/mqtt", "mqtt"), ("/", "mqtt")]
    {
        let stream = pki::connect(server.addr, server.pki.client(Some(&identity))).await.unwrap();
        let mut device = Socket { stream, input: BytesMut::new() };
        device.stream.write_all(handshake(path, protocol).as_bytes()).await.unwrap();
        let head = device.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        assert!(!head.contains("extensions") && !head.contains(": \r\n"), "{head}");
        device.send_packets(&[Packet::Connect(connect("device"))]).await;
        assert_eq!(device.packets().await, [conn_ack(ConnectReturnCode::Accepted)]);
        device.send_packets(&[subscribe(1, &[("reply", QoS::AtLeastOnce)])]).await;
        assert_eq!(device.packets().await, [sub_ack(1, &[SubscribeReturn::Granted(QoS::AtLeastOnce)])]);
        device.send_packets(&[publish("echo", Some(2), "hello")]).await;
        assert_eq!(device.packets().await, [Packet::PubAck(2), publish("reply", Some(77), "hello")]);
        device.send_packets(&[Packet::Disconnect]).await;
        device.expect_close(1000).await;
        let calls = ["connect device certificates=2", "subscribe 1", "publish echo", "closed"];
        assert_eq!(server.notes.take(), calls, "{path}");
    }
}

#[tokio::test]
async fn packets_need_not_match_messages() {
    let server = Server::start(Limits::default());
    let mut socket = server.socket().await;
    let hello = encoded(&[Packet::Connect(connect("device"))]);
    // Over several messages, with an empty one, and pings inside of a fragmented one.
    for byte in &hello[..4] {
        socket.send(FIN | BINARY, &[*byte]).await;
    }
    socket.send(FIN | BINARY, b"").await;
    socket.send(BINARY, &hello[4..9]).await;
    socket.send(FIN | PING, b"are you there").await;
    assert_eq!(socket.receive().await, Some((FIN | PONG, b"are you there".to_vec())));
    socket.send(CONTINUATION, b"").await;
    socket.send(FIN | CONTINUATION, &hello[9..]).await;
    assert_eq!(socket.packets().await, [conn_ack(ConnectReturnCode::Accepted)]);
    // Several in one message, the last one not complete.
    let three = encoded(&[Packet::PingReq, publish("a", Some(1), "x"), Packet::PingReq]);
    socket.send(FIN | BINARY, &three[..three.len() - 1]).await;
    assert_eq!(socket.packets().await, [Packet::PingResp, Packet::PubAck(1)]);
    socket.send(FIN | BINARY, &three[three.len() - 1..]).await;
    assert_eq!(socket.packets().await, [Packet::PingResp]);
    // A frame that arrives byte by byte.
    for byte in frame(FIN | BINARY, &encoded(&[Packet::PingReq])) {
        socket.stream.write_all(&[byte]).await.unwrap();
        socket.stream.flush().await.unwrap();
    }
    assert_eq!(socket.packets().await, [Packet::PingResp]);
}

#[tokio::test]
async fn a_client_need_not_wait_for_the_handshake() {
    let server = Server::start(Limits::default());
    let stream = pki::connect(server.addr, server.pki.client(None)).await.unwrap();
    let mut socket = Socket { stream, input: BytesMut::new() };
    let hello = frame(FIN | BINARY, &encoded(&[Packet::Connect(connect("device"))]));
    let both = [handshake("/", "mqtt").as_bytes(), &hello].concat();
    socket.stream.write_all(&both).await.unwrap();
    assert!(socket.head().await.starts_with("HTTP/1.1 101"));
    assert_eq!(socket.packets().await, [conn_ack(ConnectReturnCode::Accepted)]);
}

#[tokio::test]
async fn large_packets_pass_up_to_the_limit() {
    let server = Server::start(Limits::default());
    let mut socket = server.session_of("can-prove").await;
    let payload: &str = "x".repeat(100_000).leak();
    socket.send_packets(&[publish("echo", Some(1), payload)]).await;
    let mut reply = BytesMut::new();
    while reply.len() < payload.len() + 4 {
        let (first, part) = socket.receive().await.expect("more of the reply");
        assert_eq!(first, FIN | BINARY);
        reply.extend(part);
    }
    assert_eq!(decode(&mut reply, usize::MAX).unwrap(), Some(Packet::PubAck(1)));
    assert_eq!(decode(&mut reply, usize::MAX).unwrap(), Some(publish("reply", Some(77), payload)));

    // Without a proof the connection ends when the message is announced: no memory is allocated for it.
    let mut stranger = server.session_of("stranger").await;
    stranger.stream.write_all(&header(FIN | BINARY, 100_000)).await.unwrap();
    stranger.expect_close(1000).await;

    // One byte more than a packet may have: refused when it is announced, at once or in parts.
    let limit = Limits::default().mqtt.max_packet;
    let mut whole = server.session_of("can-prove").await;
    whole.stream.write_all(&header(FIN | BINARY, limit + 1)).await.unwrap();
    whole.stream.write_all(&[0; 4]).await.unwrap();
    whole.expect_close(1009).await;
    let mut parts = server.session_of("can-prove").await;
    parts.send(BINARY, &vec![0; limit]).await;
    parts.send(FIN | CONTINUATION, &[0]).await;
    parts.expect_close(1009).await;
}

#[tokio::test]
async fn other_websocket_messages_close_it_with_the_reason() {
    let server = Server::start(Limits::default());
    let mut good = server.session().await;
    let hello = encoded(&[Packet::Connect(connect("device"))]);
    let unmasked = [&[FIN | BINARY, hello.len() as u8], &hello[..]].concat();
    let check = async |bytes: Vec<u8>, code: u16| {
        let mut socket = server.socket().await;
        socket.stream.write_all(&bytes).await.unwrap();
        socket.expect_close(code).await;
    };
    check(frame(FIN | TEXT, b"hello"), 1003).await;
    check(frame(FIN | TEXT, b"\xff\xfe"), 1003).await;
    check(unmasked, 1002).await;
    check(frame(FIN | RSV1 | BINARY, &hello), 1002).await;
    check(frame(FIN | CONTINUATION, &hello), 1002).await;
    check(frame(FIN | 0x3, &hello), 1002).await;
    check(frame(PING, b"fragmented"), 1002).await;
    check(frame(FIN | PING, &[0; 126]), 1002).await;
    // Violations of MQTT end with a normal close.
    check(frame(FIN | BINARY, &encoded(&[Packet::PingReq])), 1000).await;
    check(frame(FIN | BINARY, b"GET / HTTP/1.1\r\n\r\n"), 1000).await;
    check(frame(FIN | BINARY, b"\x10\xff\xff\xff\x7f"), 1000).await;
    good.send_packets(&[Packet::PingReq]).await;
    assert_eq!(good.packets().await, [Packet::PingResp]);
}

#[tokio::test]
async fn a_close_is_answered_and_ends_the_session() {
    let server = Server::start(Limits::default());
    let mut socket = server.session().await;
    socket.send(FIN | CLOSE, &[3, 0xE9]).await; // 1001, going away
    socket.expect_close(1001).await;
    drop(server.session().await); // closed without a close frame
    while server.limiter.connections() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let one = ["connect device certificates=0", "closed"];
    assert_eq!(server.notes.take(), [one, one].concat());
}

/// Headers and frames may be split over messages in any way.
#[tokio::test]
async fn amqp_is_served_on_any_path() {
    let server = Server::start(Limits::default());
    for (path, piece) in [("/$iothub/websocket?iothub-no-client-cert=true", 1), ("/", 1000)] {
        let stream = pki::connect(server.addr, server.pki.client(None)).await.unwrap();
        let mut socket = Socket { stream, input: BytesMut::new() };
        socket.stream.write_all(handshake(path, "AMQPWSB10").as_bytes()).await.unwrap();
        let head = socket.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && head.contains("protocol: amqpwsb10\r\n"), "{head}");
        let mut hello = b"AMQP\0\x01\0\0".to_vec();
        hello.extend(amqp_parts::encoded([amqp_parts::open(), amqp_parts::begin()]));
        for piece in hello.chunks(piece) {
            socket.send(FIN | BINARY, piece).await;
        }
        let mut received = BytesMut::new();
        while received.len() < 8 + 50 {
            let (first, payload) = socket.receive().await.expect("more");
            assert_eq!(first, FIN | BINARY);
            received.extend_from_slice(&payload);
        }
        assert_eq!(decode_protocol(&mut received), Ok(Some(Protocol::Amqp)));
        let open = decode_frame(&mut received, 512).unwrap().unwrap();
        assert!(matches!(open.performative, Some(Performative::Open(_))), "{open:?}");
    }
}

#[tokio::test]
async fn requests_that_are_refused_leave_the_connection_usable() {
    let server = Server::start(Limits::default());
    let stream = pki::connect(server.addr, server.pki.client(None)).await.unwrap();
    let mut socket = Socket { stream, input: BytesMut::new() };
    let wrong_version = handshake("/", "mqtt").replace("Version: 13", "Version: 8");
    let no_protocol = handshake("/", "mqtt").replace("Sec-Websocket-Protocol: mqtt\r\n", "");
    for (request, status, reason) in [
        (wrong_version, "426", "Sec-WebSocket-Version"),
        (no_protocol, "400", "speaks mqtt or AMQPWSB10"),
        (handshake("/$iothub/websocket", "mqttv3.1"), "400", "speaks mqtt or AMQPWSB10"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "200", "hello"),
        (handshake("/", "mqtt").replace("GET", "DELETE"), "405", ""),
    ] {
        socket.stream.write_all(request.as_bytes()).await.unwrap();
        let head = socket.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length = length.map_or(0, |digits| digits.parse().unwrap());
        while socket.input.len() < length {
            assert_ne!(socket.stream.read_buf(&mut socket.input).await.unwrap(), 0);
        }
        let body = String::from_utf8(socket.input.split_to(length).to_vec()).unwrap();
        assert!(body.contains(reason), "{request}{body}");
    }
    assert!(server.notes.take().is_empty());
}

#[tokio::test]
async fn silence_and_pings_do_not_extend_the_deadlines() {
    let mut limits = Limits::default();
    limits.mqtt.connect_timeout = Duration::from_millis(300);
    limits.header_timeout = Duration::from_millis(300);
    let server = Server::start(limits);
    let mut silent = server.socket().await;
    silent.expect_close(1000).await;

    let mut pinging = server.socket().await;
    let pings = async {
        while pinging.stream.write_all(&frame(FIN | PING, b"")).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), pings).await.expect("closed though it pings");

    // One and a half keep-alives.
    let mut device = server.socket().await;
    let hello = Packet::Connect(Connect { keep_alive_secs: 1, ..connect("device") });
    device.send_packets(&[hello]).await;
    assert_eq!(device.packets().await, [conn_ack(ConnectReturnCode::Accepted)]);
    device.expect_close(1000).await;

    let mut half = pki::connect(server.addr, server.pki.client(None)).await.unwrap();
    half.write_all(&handshake("/", "mqtt").as_bytes()[..60]).await.unwrap();
    let end = timeout(Duration::from_secs(5), half.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "a handshake that does not go on is cut off");
}

#[tokio::test]
async fn a_websocket_keeps_its_permit_and_shutdown_ends_it() {
    let server = Server::start(Limits::default());
    let mut first = server.session().await;
    let mut busy = server.session().await;
    sleep(Duration::from_millis(100)).await; // the tasks of the HTTP connections have ended
    assert_eq!(server.limiter.connections(), 2);
    busy.send_packets(&[publish("busy", Some(1), "")]).await;
    assert_eq!(busy.packets().await, [Packet::PubAck(1)]);
    server.shutdown.cancel();
    first.expect_close(1000).await;
    drop(first);
    sleep(Duration::from_millis(100)).await;
    assert!(!server.task.is_finished(), "a session still owes a reply");
    busy.send_packets(&[publish("done", Some(2), "")]).await;
    assert_eq!(busy.packets().await, [Packet::PubAck(2)]);
    busy.expect_close(1000).await;
    drop(busy);
    timeout(Duration::from_secs(5), server.task).await.expect("the listener ends").unwrap();
    assert_eq!(server.limiter.connections(), 0);
}
