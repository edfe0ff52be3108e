//! MQTT through real TLS sockets.

use std::{sync::Arc, time::Duration};

use codec::mqtt::{ConnectReturnCode, Packet, QoS, SubscribeReturn};
use net::{CancellationToken, ConnectionLimiter, Limits, serve_mqtt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::{
    mqtt_parts::{Client, Notes, RecordingEndpoint, conn_ack, connect, publish, sub_ack, subscribe},
    pki::{self, Pki, listen},
};

#[tokio::test]
async fn a_device_gets_its_reply_and_shutdown_ends_it() {
    let pki = Pki::new();
    let (notes, shutdown) = (Arc::new(Notes::default()), CancellationToken::new());
    let (listener, addr) = listen();
    let endpoint = Arc::new(RecordingEndpoint(Arc::clone(&notes)));
    let limiter = ConnectionLimiter::new(Limits::default());
    let server =
        tokio::spawn(serve_mqtt(listener, pki.server(), endpoint, limiter.clone(), shutdown.clone()));

    let identity = pki.device().identity();
    let mut device = Client::new(pki::connect(addr, pki.client(Some(&identity))).await.unwrap());
    device.enter(60).await;
    // Some clients do not wait for the SUBACK.
    device.send(&[subscribe(1, &[("reply", QoS::AtLeastOnce)]), publish("echo", Some(2), "hello")]).await;
    assert_eq!(device.receive().await, Some(sub_ack(1, &[SubscribeReturn::Granted(QoS::AtLeastOnce)])));
    assert_eq!(device.receive().await, Some(Packet::PubAck(2)));
    assert_eq!(device.receive().await, Some(publish("reply", Some(77), "hello")));

    let mut refused = Client::new(pki::connect(addr, pki.client(None)).await.unwrap());
    refused.send(&[Packet::Connect(connect("refuse-5"))]).await;
    assert_eq!(refused.receive().await, Some(conn_ack(ConnectReturnCode::NotAuthorized)));
    assert_eq!(refused.receive().await, None);
    // Further bytes of the client are not answered with a reset, which could overtake the CONNACK.
    for _ in 0..3 {
        refused.send(&[Packet::PingReq]).await;
        sleep(Duration::from_millis(50)).await;
    }
    drop(refused);

    shutdown.cancel();
    assert_eq!(device.receive().await, None);
    drop(device);
    timeout(Duration::from_secs(5), server).await.expect("the listener ends").unwrap();
    assert_eq!(limiter.connections(), 0);
    assert_eq!(
        notes.take(),
        [
            "connect device certificates=2",
            "subscribe 1",
            "publish echo",
            "connect refuse-5 certificates=0",
            "closed"
        ]
    );
}

#[tokio::test]
async fn hostile_bytes_end_their_connection_only() {
    let pki = Pki::new();
    let notes = Arc::new(Notes::default());
    let mut limits = Limits::default();
    limits.mqtt.connect_timeout = Duration::from_millis(300);
    let (listener, addr) = listen();
    let endpoint = Arc::new(RecordingEndpoint(notes));
    tokio::spawn(serve_mqtt(
        listener,
        pki.server(),
        endpoint,
        ConnectionLimiter::new(limits),
        CancellationToken::new(),
    ));
    let mut good = Client::new(pki::connect(addr, pki.client(None)).await.unwrap());
    good.enter(60).await;
    for bytes in [
        &b""[..],                             // nothing
        b"\x10",                              // a CONNECT that does not go on
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", // another protocol
        b"\x10\xff\xff\xff\x7f",              // 256 MB announced
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = pki::connect(addr, pki.client(None)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok() && answer.is_empty(), "{bytes:?}: {answer:?}");
    }
    good.send(&[Packet::PingReq]).await;
    assert_eq!(good.receive().await, Some(Packet::PingResp));
}
