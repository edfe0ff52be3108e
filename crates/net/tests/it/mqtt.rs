//! The MQTT driver over an in-memory stream, with a clock that advances only when all tasks wait.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codec::mqtt::{Connect, ConnectReturnCode, Packet, Publish, QoS, SubscribeReturn, Unsubscribe};
use net::{
    CancellationToken, Limits, ListenerContext, MqttLimits, Peer,
    mqtt::{Close, MqttEndpoint, OutboxError, drive},
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::mqtt_parts::{Client, Notes, RecordingEndpoint, conn_ack, connect, publish, sub_ack, subscribe};

/// A client's stream to a driver, and the calls of the endpoint.
struct Bench {
    client: Client<DuplexStream>,
    notes: Arc<Notes>,
    shutdown: CancellationToken,
    driver: JoinHandle<()>,
}

fn bench(mqtt: MqttLimits) -> Bench {
    let (near, far) = tokio::io::duplex(4096);
    let (notes, shutdown) = (Arc::new(Notes::default()), CancellationToken::new());
    let context: ListenerContext<dyn MqttEndpoint> = ListenerContext {
        endpoint: Arc::new(RecordingEndpoint(Arc::clone(&notes))),
        limits: Arc::new(Limits { mqtt, ..Limits::default() }),
        shutdown: shutdown.clone(),
    };
    let peer = Peer::new(([127, 0, 0, 1], 1).into(), Arc::default());
    let driver = tokio::spawn(drive(far, peer, context));
    Bench { client: Client::new(near), notes, shutdown, driver }
}

impl Bench {
    async fn logged_in(mqtt: MqttLimits, keep_alive_secs: u16) -> Bench {
        let mut bench = bench(mqtt);
        bench.client.enter(keep_alive_secs).await;
        bench.notes.take();
        bench
    }

    /// Checks that the connection is closed without another packet, and the session notified once; returns the calls before that.
    async fn expect_closed(mut self) -> Vec<String> {
        assert_eq!(self.client.receive().await, None);
        drop(self.client);
        self.driver.await.unwrap();
        let mut notes = self.notes.take();
        assert_eq!(notes.pop().as_deref(), Some("closed"));
        assert!(!notes.contains(&"closed".to_owned()));
        notes
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_works_from_login_to_close() {
    let mut bench = bench(MqttLimits::default());
    let client = &mut bench.client;
    client.enter(60).await;
    client.send(&[subscribe(1, &[("a/#", QoS::AtLeastOnce), ("forbidden", QoS::AtMostOnce)])]).await;
    let codes = [SubscribeReturn::Granted(QoS::AtLeastOnce), SubscribeReturn::Failure];
    assert_eq!(client.receive().await, Some(sub_ack(1, &codes)));
    client.send(&[publish("a/b", None, "zero"), publish("a/c", Some(9), "one"), Packet::PingReq]).await;
    assert_eq!(client.receive().await, Some(Packet::PubAck(9)));
    assert_eq!(client.receive().await, Some(Packet::PingResp));
    let filters = vec!["a/#".to_owned()];
    client.send(&[Packet::Unsubscribe(Unsubscribe { packet_id: 2, filters })]).await;
    assert_eq!(client.receive().await, Some(Packet::UnsubAck(2)));
    client.send(&[Packet::Disconnect]).await;
    let notes = bench.expect_closed().await;
    assert_eq!(
        notes,
        [
            "connect device certificates=0",
            "subscribe 2",
            "publish a/b",
            "publish a/c",
            "unsubscribe [\"a/#\"]"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn puback_comes_before_the_reply() {
    let mut bench = Bench::logged_in(MqttLimits::default(), 60).await;
    bench.client.send(&[publish("echo", Some(3), "one"), publish("echo", Some(4), "two")]).await;
    // The identifier of the first is its token, which the second has too.
    for (id, reply_id, payload) in [(3, 77, "one"), (4, 1, "two")] {
        assert_eq!(bench.client.receive().await, Some(Packet::PubAck(id)));
        assert_eq!(bench.client.receive().await, Some(publish("reply", Some(reply_id), payload)));
    }
    bench.client.send(&[Packet::PubAck(77), Packet::PubAck(77), Packet::PubAck(99), Packet::PubAck(1)]).await;
    bench.client.send(&[Packet::Disconnect]).await;
    let notes = bench.expect_closed().await;
    assert_eq!(notes, ["publish echo", "publish echo", "acknowledged 77", "acknowledged 77"]);
}

#[tokio::test(start_paused = true)]
async fn packets_before_a_disconnect_are_acknowledged() {
    let mut bench = Bench::logged_in(MqttLimits::default(), 60).await;
    bench.client.send(&[publish("a", Some(3), "one"), Packet::PingReq, Packet::Disconnect]).await;
    assert_eq!(bench.client.receive().await, Some(Packet::PubAck(3)));
    assert_eq!(bench.client.receive().await, Some(Packet::PingResp));
    assert_eq!(bench.expect_closed().await, ["publish a"]);
}

#[tokio::test(start_paused = true)]
async fn input_after_a_requested_close_is_ignored() {
    let mut bench = Bench::logged_in(MqttLimits::default(), 60).await;
    bench.client.send(&[publish("kick", Some(1), ""), publish("after", Some(2), "")]).await;
    assert_eq!(bench.client.receive().await, Some(Packet::PubAck(1)));
    assert_eq!(bench.expect_closed().await, ["publish kick"]);
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_connack() {
    use ConnectReturnCode::{
        BadUserNameOrPassword, IdentifierRejected, NotAuthorized, ServerUnavailable,
        UnacceptableProtocolVersion,
    };
    let connect_v5 = b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0".to_vec();
    let encoded = |connect: Connect| {
        let mut bytes = bytes::BytesMut::new();
        codec::mqtt::encode(&Packet::Connect(connect), &mut bytes).unwrap();
        bytes.to_vec()
    };
    for (bytes, code) in [
        (connect_v5, UnacceptableProtocolVersion),
        (encoded(Connect { clean_session: false, ..connect("") }), IdentifierRejected),
        (encoded(connect("refuse-0")), ServerUnavailable),
        (encoded(connect("refuse-4")), BadUserNameOrPassword),
        (encoded(connect("refuse-5")), NotAuthorized),
    ] {
        let mut bench = bench(MqttLimits::default());
        bench.client.stream.write_all(&bytes).await.unwrap();
        assert_eq!(bench.client.receive().await, Some(conn_ack(code)));
        assert_eq!(bench.client.receive().await, None, "{code:?}");
        drop(bench.client);
        bench.driver.await.unwrap();
        assert!(!bench.notes.take().contains(&"closed".to_owned()), "there was no session");
    }
}

#[tokio::test(start_paused = true)]
async fn other_first_packets_close_the_connection() {
    let large = Connect { client_id: "c".repeat(9000), ..connect("") };
    for packet in [Packet::PingReq, publish("a", None, ""), Packet::Disconnect, Packet::Connect(large)] {
        let mut bench = bench(MqttLimits::default());
        let mut bytes = bytes::BytesMut::new();
        codec::mqtt::encode(&packet, &mut bytes).unwrap();
        let _ = bench.client.stream.write_all(&bytes[..bytes.len().min(4000)]).await;
        assert_eq!(bench.client.receive().await, None, "{packet:?}");
        assert!(bench.notes.take().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn violations_close_the_connection() {
    let exactly_once = Publish {
        dup: false,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: "a".to_owned(),
        packet_id: Some(1),
        payload: Bytes::new(),
    };
    for packet in [
        Packet::Connect(connect("device")),
        Packet::Publish(exactly_once),
        Packet::PubRel(1),
        Packet::PubRec(1),
        Packet::PingResp,
        Packet::UnsubAck(1),
        conn_ack(ConnectReturnCode::Accepted),
    ] {
        let mut bench = Bench::logged_in(MqttLimits::default(), 60).await;
        bench.client.send(&[packet.clone(), publish("after", None, "")]).await;
        let notes = bench.expect_closed().await;
        assert!(notes.is_empty(), "{packet:?}: {notes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sizes_are_limited_from_the_header_on() {
    for (bytes, accepted) in
        [(&b"\x30\x62\0\x01a"[..], true), (b"\x30\x63\0\x01a", false), (b"\x30\xff\xff\xff\x7f", false)]
    {
        let mut bench = Bench::logged_in(MqttLimits { max_packet: 100, ..MqttLimits::default() }, 60).await;
        bench.client.stream.write_all(bytes).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(!bench.driver.is_finished() && !bench.notes.outbox().is_closed(), accepted, "{bytes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    let limits = MqttLimits { idle_timeout: Duration::from_secs(50), ..MqttLimits::default() };
    for (keep_alive, expected) in [(2, 3), (30, 45), (0, 50)] {
        let mut bench = Bench::logged_in(limits.clone(), keep_alive).await;
        sleep(Duration::from_secs(1)).await;
        bench.client.send(&[Packet::PingReq]).await;
        assert_eq!(bench.client.receive().await, Some(Packet::PingResp));
        let received = Instant::now();
        // An incomplete packet counts as silence, too.
        bench.client.stream.write_all(&[0x30, 0x20, 0]).await.unwrap();
        bench.expect_closed().await;
        assert_eq!(received.elapsed().as_secs(), expected, "keep-alive {keep_alive}");
    }
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_connection_open() {
    let mut bench = Bench::logged_in(MqttLimits::default(), 2).await;
    for _ in 0..20 {
        sleep(Duration::from_millis(2500)).await;
        bench.client.send(&[Packet::PingReq]).await;
        assert_eq!(bench.client.receive().await, Some(Packet::PingResp));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_connect_is_cut_off() {
    let mut bench = bench(MqttLimits::default());
    let began = Instant::now();
    let mut bytes = bytes::BytesMut::new();
    codec::mqtt::encode(&Packet::Connect(connect("slow")), &mut bytes).unwrap();
    for byte in &bytes {
        let _ = bench.client.stream.write_all(&[*byte]).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(bench.client.receive().await, None);
    drop(bench.client);
    bench.driver.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(25));
    assert!(bench.notes.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed() {
    let bench = Bench::logged_in(MqttLimits::default(), 0).await;
    let outbox = bench.notes.outbox();
    let began = Instant::now();
    while outbox.publish("news", vec![b'x'; 1000], QoS::AtMostOnce, 0).await.is_ok() {}
    sleep(Duration::from_secs(2)).await;
    assert!(bench.driver.is_finished());
    assert_eq!(bench.notes.take(), ["closed"]);
    assert!((15..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_messages_are_bounded() {
    let limits = MqttLimits { in_flight: 2, outbox: 3, ..MqttLimits::default() };
    let mut bench = Bench::logged_in(limits, 60).await;
    let outbox = bench.notes.outbox();
    let send = |token| outbox.try_publish(format!("t/{token}"), "", QoS::AtLeastOnce, token);
    send(1).unwrap();
    send(2).unwrap();
    for id in [1, 2] {
        assert_eq!(bench.client.receive().await, Some(publish(&format!("t/{id}"), Some(id), "")));
    }
    for token in [3, 4, 5] {
        send(token).unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(send(6), Err(OutboxError::Full));
    let waiting = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.publish("t/7", "", QoS::AtMostOnce, 0).await }
    });
    sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    for id in [1, 2, 3, 4, 5] {
        bench.client.send(&[Packet::PubAck(id)]).await;
        if id <= 3 {
            assert_eq!(
                bench.client.receive().await,
                Some(publish(&format!("t/{}", id + 2), Some(id + 2), ""))
            );
        }
    }
    assert_eq!(bench.client.receive().await, Some(publish("t/7", None, "")));
    waiting.await.unwrap().unwrap();
    let acknowledged: Vec<_> = (1..=5).map(|token| format!("acknowledged {token}")).collect();
    bench.client.send(&[Packet::Disconnect]).await;
    assert_eq!(bench.expect_closed().await, acknowledged);
    assert_eq!(outbox.try_publish("t", "", QoS::AtMostOnce, 0), Err(OutboxError::Closed));
    assert_eq!(outbox.publish("t", "", QoS::AtMostOnce, 0).await, Err(OutboxError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_requested_close_sends_queued_messages_first() {
    let mut bench = Bench::logged_in(MqttLimits::default(), 60).await;
    let outbox = bench.notes.outbox();
    outbox.try_publish("last", "word", QoS::AtMostOnce, 0).unwrap();
    outbox.close(Close::because("replaced by a newer connection"));
    assert_eq!(outbox.try_publish("t", "", QoS::AtMostOnce, 0), Err(OutboxError::Closed));
    assert_eq!(bench.client.receive().await, Some(publish("last", None, "word")));
    bench.expect_closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_closes_does_not_acknowledge() {
    let mut bench = Bench::logged_in(MqttLimits::default(), 60).await;
    bench.client.send(&[publish("close", Some(1), ""), publish("after", None, "")]).await;
    assert_eq!(bench.expect_closed().await, ["publish close"]);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_session_is_closed() {
    let mut bench = Bench::logged_in(MqttLimits::default(), 60).await;
    bench.client.send(&[publish("panic", Some(1), "")]).await;
    assert_eq!(bench.expect_closed().await, ["publish panic"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_client_closes_the_session() {
    let bench = Bench::logged_in(MqttLimits::default(), 60).await;
    let outbox = bench.notes.outbox();
    drop(bench.client);
    bench.driver.await.unwrap();
    assert_eq!(bench.notes.take(), ["closed"]);
    assert!(outbox.is_closed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_owed_replies() {
    let idle = Bench::logged_in(MqttLimits::default(), 60).await;
    idle.shutdown.cancel();
    let began = Instant::now();
    idle.expect_closed().await;
    assert_eq!(began.elapsed().as_secs(), 0);

    let mut busy = Bench::logged_in(MqttLimits::default(), 60).await;
    busy.client.send(&[publish("busy", Some(1), "")]).await;
    assert_eq!(busy.client.receive().await, Some(Packet::PubAck(1)));
    busy.shutdown.cancel();
    sleep(Duration::from_secs(5)).await;
    busy.client.send(&[publish("done", Some(2), "")]).await;
    assert_eq!(busy.client.receive().await, Some(Packet::PubAck(2)));
    busy.expect_closed().await;

    let mut stuck = Bench::logged_in(MqttLimits::default(), 60).await;
    stuck.client.send(&[publish("busy", Some(1), "")]).await;
    assert_eq!(stuck.client.receive().await, Some(Packet::PubAck(1)));
    let began = Instant::now();
    stuck.shutdown.cancel();
    stuck.expect_closed().await;
    assert_eq!(began.elapsed().as_secs(), 10, "the grace period");
}
