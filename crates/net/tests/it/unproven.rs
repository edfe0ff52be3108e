//! Unproven connections: their lifetime, what they may send, and which of them is evicted first.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use codec::{
    amqp::{Attach, Open, Performative, Transfer},
    mqtt::Packet,
};
use net::{
    CancellationToken, ConnectionLimiter, Limits, Purpose, Refused, Reserved, UnprovenLimits, serve_amqp,
    serve_mqtt,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{
    amqp_parts,
    mqtt_parts::{Client, RecordingEndpoint, publish},
    pki::{Pki, connect, dial_from, handshake, listen},
};

/// An MQTT server.
struct Server {
    pki: Pki,
    addr: SocketAddr,
    limiter: ConnectionLimiter,
}

type Device = Client<TlsStream<TcpStream>>;

impl Server {
    fn start(limits: Limits) -> Server {
        let (pki, limiter) = (Pki::new(), ConnectionLimiter::new(limits));
        let (listener, addr) = listen();
        let endpoint = Arc::new(RecordingEndpoint(Arc::default()));
        tokio::spawn(serve_mqtt(listener, pki.server(), endpoint, limiter.clone(), CancellationToken::new()));
        Server { pki, addr, limiter }
    }

    /// Returns a client from 127.0.0.`last` with the longest keep-alive that there is.
    async fn device(&self, last: u8, client_id: &str) -> std::io::Result<Device> {
        let tcp = dial_from(last, self.addr).await?;
        let mut device = Client::new(handshake(tcp, self.pki.client(None)).await?);
        device.enter_as(client_id, u16::MAX).await;
        Ok(device)
    }
}

async fn is_served(device: &mut Device) -> bool {
    if device.stream.write_all(&[0xc0, 0]).await.is_err() {
        return false;
    }
    timeout(Duration::from_secs(5), device.receive()).await.expect("an answer or the end")
        == Some(Packet::PingResp)
}

fn reserved(unproven: usize, each: usize) -> Reserved {
    Reserved { unproven: Some(unproven), provisioning: Some(each), operations: Some(each), hubs: Some(each) }
}

#[tokio::test]
async fn two_addresses_with_a_wrong_password_do_not_hold_every_permit() {
    let limits = Limits { max_connections: 8, reserved: reserved(4, 0), ..Limits::default() };
    let server = Server::start(limits);
    let mut proven = server.device(3, "proven").await.unwrap();
    let mut hoarders = Vec::new();
    for number in 0..7 {
        hoarders.push(server.device(1 + number % 2, "rubbish").await.unwrap());
    }
    assert_eq!((server.limiter.free(), server.limiter.unproven()), (0, 7));
    for _ in 0..2 {
        let mut honest = server.device(4, "proven").await.expect("a permit");
        assert!(is_served(&mut honest).await);
        std::mem::forget(honest);
    }
    assert!(is_served(&mut proven).await, "proven connections stay");
    let mut left = 0;
    for hoarder in &mut hoarders {
        left += usize::from(is_served(hoarder).await);
    }
    assert_eq!(left, 5, "and two of the others went");
    assert_eq!(server.limiter.refused(Refused::Evicted), 2);
}

#[tokio::test]
async fn proven_connections_leave_permits_for_new_ones_and_for_other_services() {
    let mut limits = Limits { max_connections: 10, reserved: reserved(2, 2), ..Limits::default() };
    limits.max_unproven_per_address = Some(10);
    let server = Server::start(limits);
    let mut devices = Vec::new();
    for _ in 0..10 {
        devices.push(server.device(1, "proven").await.unwrap());
    }
    assert_eq!(
        server.limiter.proven(Purpose::Hub),
        4,
        "2 and 2 are reserved for the other services, 2 for new ones"
    );
    server.device(2, "proven").await.expect("one that could not be proven gives way");
    devices.truncate(1);
    sleep(Duration::from_millis(200)).await;
    let _next = server.device(1, "proven").await.unwrap();
    assert_eq!(server.limiter.proven(Purpose::Hub), 2, "permits are freed");
}

#[tokio::test]
async fn many_proven_connections_of_one_address_are_served() {
    let limits = Limits { max_connections: 200, max_unproven_per_address: Some(4), ..Limits::default() };
    let server = Server::start(limits);
    let mut plant = Vec::new();
    for _ in 0..60 {
        plant.push(server.device(1, "proven").await.expect("proven connections are not counted"));
    }
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(server.device(2, "rubbish").await.unwrap());
    }
    assert!(server.device(2, "rubbish").await.is_err(), "unproven ones are");
    assert_eq!(server.limiter.refused(Refused::AddressLimit), 1);
    assert!(is_served(&mut plant[59]).await);
}

/// A factory shares an address with an attacker.
#[tokio::test]
async fn refusals_do_not_block_other_clients_of_the_address() {
    let limits = Limits { max_unproven_per_address: Some(3), ..Limits::default() };
    let server = Server::start(limits);
    for _ in 0..20 {
        let tcp = dial_from(1, server.addr).await.unwrap();
        let mut refused = Client::new(handshake(tcp, server.pki.client(None)).await.unwrap());
        refused.send(&[Packet::Connect(crate::mqtt_parts::connect("refuse-5"))]).await;
        refused.receive().await.expect("CONNACK");
        assert_eq!(refused.receive().await, None);
    }
    for _ in 0..5 {
        let mut honest = server.device(1, "proven").await.expect("a permit");
        assert!(is_served(&mut honest).await);
        std::mem::forget(honest);
    }
    assert_eq!(server.limiter.refused(Refused::AddressLimit), 0);
}

#[tokio::test]
async fn an_unproven_connection_ends_and_a_proven_one_continues() {
    let unproven = UnprovenLimits { lifetime: Duration::from_millis(800), ..UnprovenLimits::default() };
    let server = Server::start(Limits { unproven, ..Limits::default() });
    let mut proven = server.device(1, "proven").await.unwrap();
    let mut busy = server.device(1, "busy").await.unwrap();
    let began = Instant::now();
    while is_served(&mut busy).await {
        assert!(began.elapsed() < Duration::from_secs(4), "pings keep it alive");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(is_served(&mut proven).await);
    assert_eq!(server.limiter.refused(Refused::Unproven), 1);
}

#[tokio::test]
async fn an_unproven_client_may_send_only_small_packets() {
    let server = Server::start(Limits::default());
    let large: &'static str = Box::leak("x".repeat(9000).into_boxed_str());
    for (client_id, payload, is_taken) in [
        ("rubbish", &large[..8000], true),
        ("rubbish", large, false),
        ("proven", large, true),
        ("can-prove", large, true),
    ] {
        let mut device = server.device(1, client_id).await.unwrap();
        device.send(&[publish("topic", Some(1), payload)]).await;
        let answer = device.receive().await;
        assert_eq!(answer == Some(Packet::PubAck(1)), is_taken, "{client_id} {}", payload.len());
    }
}

#[tokio::test]
async fn an_unproven_amqp_client_may_send_only_small_messages() {
    let (pki, notes) = (Pki::new(), Arc::<amqp_parts::Notes>::default());
    let (listener, addr) = listen();
    let endpoint = Arc::new(amqp_parts::RecordingEndpoint(Arc::clone(&notes)));
    let limiter = ConnectionLimiter::new(Limits::default());
    tokio::spawn(serve_amqp(listener, pki.server(), endpoint, limiter, CancellationToken::new()));
    for (first, is_taken) in [("hello", false), ("prove", true)] {
        let mut client = amqp_parts::Client::new(connect(addr, pki.client(None)).await.unwrap());
        client.enter().await;
        client.send([amqp_parts::send(0, first)]).await;
        assert!(matches!(client.receive().await, Some(Performative::Disposition(_))));
        let whole = amqp_parts::transfer(1, &"x".repeat(12_000));
        for (part, more) in [(0..6000, true), (6000..whole.payload.len(), false)] {
            let payload = whole.payload.slice(part);
            client.send([Performative::Transfer(Transfer { payload, more, ..whole.clone() })]).await;
        }
        let answer = client.receive().await;
        assert_eq!(matches!(answer, Some(Performative::Disposition(_))), is_taken, "{first}: {answer:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_is_too_large_is_cut_off() {
    let server = Server::start(Limits::default());
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    // A ClientHello of 60,000 bytes, in records of 16 KiB.
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.resize(60_004, 0);
    let mut sent = 0;
    for record in hello.chunks(16_384) {
        let length = u16::try_from(record.len()).unwrap().to_be_bytes();
        let bytes = [&[22, 3, 1], &length[..], record].concat();
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
        sent += bytes.len();
        sleep(Duration::from_millis(100)).await;
    }
    let end = timeout(Duration::from_secs(2), stream.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "still open after {sent} bytes");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.limiter.refused(Refused::ChainTooLong), 1);
}

/// The frame size that a client may send is announced, and larger frames are refused.
#[tokio::test]
async fn announced_frames_are_small() {
    let (pki, (listener, addr)) = (Pki::new(), listen());
    let endpoint = Arc::new(amqp_parts::RecordingEndpoint(Arc::default()));
    tokio::spawn(serve_amqp(
        listener,
        pki.server(),
        endpoint,
        ConnectionLimiter::new(Limits::default()),
        CancellationToken::new(),
    ));
    let mut client = amqp_parts::Client::new(connect(addr, pki.client(None)).await.unwrap());
    client.send_protocol(codec::amqp::Protocol::Amqp).await;
    client.send([amqp_parts::open()]).await;
    client.receive_protocol().await.unwrap();
    let Some(Performative::Open(Open { max_frame_size, .. })) = client.receive().await else {
        panic!("no open")
    };
    assert!(max_frame_size as usize <= UnprovenLimits::default().max_bytes, "{max_frame_size}");
    let Performative::Attach(attach) = amqp_parts::attach(0, codec::amqp::Role::Sender, &"a".repeat(9000))
    else {
        unreachable!()
    };
    client.send([amqp_parts::begin(), Performative::Attach(Attach { name: "n".into(), ..attach })]).await;
    assert_eq!(client.closed_with().await.as_deref(), Some("amqp:connection:framing-error"));
}
