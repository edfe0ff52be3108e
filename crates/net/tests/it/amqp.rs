//! The AMQP driver over an in-memory stream, with a clock that advances only when all tasks wait.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codec::amqp::{
    AmqpError, Body, Close, DeliveryState, Detach, Disposition, End, Frame, LinkFlow, Message, Open,
    Performative, Protocol, Role, SaslCode, SaslFrame, SaslInit, Transfer, condition,
};
use net::{
    AmqpLimits, CancellationToken, Limits, ListenerContext, Peer,
    amqp::{AmqpEndpoint, drive},
};
use tokio::{
    io::DuplexStream,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::amqp_parts::{
    Client, Notes, REFUSED_PORT, RecordingEndpoint, attach, begin, encoded, flow, open, send, transfer,
};

/// A client's stream to a driver, and the calls of the endpoint.
struct Bench {
    client: Client<DuplexStream>,
    notes: Arc<Notes>,
    shutdown: CancellationToken,
    driver: JoinHandle<()>,
}

fn bench_of(amqp: AmqpLimits, port: u16) -> Bench {
    let (near, far) = tokio::io::duplex(4096);
    let (notes, shutdown) = (Arc::new(Notes::default()), CancellationToken::new());
    let context: ListenerContext<dyn AmqpEndpoint> = ListenerContext {
        endpoint: Arc::new(RecordingEndpoint(Arc::clone(&notes))),
        limits: Arc::new(Limits { amqp, ..Limits::default() }),
        shutdown: shutdown.clone(),
    };
    let peer = Peer::new(([127, 0, 0, 1], port).into(), Arc::default());
    let driver = tokio::spawn(drive(far, peer, context));
    Bench { client: Client::new(near), notes, shutdown, driver }
}

fn bench() -> Bench {
    bench_of(AmqpLimits::default(), 1)
}

impl Bench {
    async fn logged_in(amqp: AmqpLimits) -> Bench {
        let mut bench = bench_of(amqp, 1);
        bench.client.enter().await;
        bench.notes.take();
        bench
    }

    /// Checks that the connection is closed with this error, and the service notified once; returns the calls before that.
    async fn expect_closed(mut self, condition: Option<&str>) -> Vec<String> {
        assert_eq!(self.client.closed_with().await.as_deref(), condition);
        drop(self.client);
        self.driver.await.unwrap();
        let mut notes = self.notes.take();
        assert_eq!(notes.pop().as_deref(), Some("closed"));
        assert!(!notes.contains(&"closed".to_owned()));
        notes
    }

    async fn send(&mut self, performatives: impl IntoIterator<Item = Performative>) {
        self.client.send(performatives).await;
    }

    async fn receive(&mut self) -> Option<Performative> {
        self.client.receive().await
    }
}

fn settled(first: u32, state: DeliveryState) -> Option<Performative> {
    Some(Performative::Disposition(Disposition {
        role: Role::Receiver,
        first,
        last: None,
        settled: true,
        state: Some(state),
    }))
}

fn close() -> Performative {
    Performative::Close(Close { error: None })
}

fn body_of(transfer: &Transfer) -> Bytes {
    Message::decode(&transfer.payload).unwrap().body.bytes().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_works_from_login_to_close() {
    let mut bench = bench();
    bench.client.send_protocol(Protocol::Amqp).await;
    bench.send([open()]).await;
    assert_eq!(bench.client.receive_protocol().await, Some(Protocol::Amqp));
    let Some(Performative::Open(Open { container_id, max_frame_size, channel_max, idle_timeout_ms, .. })) =
        bench.receive().await
    else {
        panic!("no open");
    };
    assert_eq!((container_id.as_str(), max_frame_size, channel_max), ("muster", 8192, 7));
    assert_eq!(idle_timeout_ms, Some(300_000));
    bench.send([begin(), attach(0, Role::Sender, "in"), attach(1, Role::Receiver, "out")]).await;
    let Some(Performative::Begin(answer)) = bench.receive().await else { panic!("no begin") };
    assert_eq!(answer.remote_channel, Some(0));
    let Some(Performative::Attach(answer)) = bench.receive().await else { panic!("no attach") };
    assert_eq!((answer.role, answer.max_message_size), (Role::Receiver, Some(132 * 1024)));
    assert_eq!(answer.target.unwrap().address.as_deref(), Some("in"));
    let Some(Performative::Flow(credit)) = bench.receive().await else { panic!("no flow") };
    assert_eq!(credit.link.unwrap().link_credit, Some(16));
    let Some(Performative::Attach(answer)) = bench.receive().await else { panic!("no attach") };
    assert_eq!((answer.role, answer.initial_delivery_count), (Role::Sender, Some(0)));
    let detach = |handle| Performative::Detach(Detach { handle, closed: true, error: None });
    bench.send([send(0, "one"), detach(0), detach(1), Performative::End(End { error: None }), close()]).await;
    assert_eq!(bench.receive().await, settled(0, DeliveryState::Accepted));
    assert_eq!(bench.receive().await, Some(detach(0)));
    assert_eq!(bench.receive().await, Some(detach(1)));
    assert_eq!(bench.receive().await, Some(Performative::End(End { error: None })));
    let notes = bench.expect_closed(None).await;
    assert_eq!(
        notes,
        ["open device", "attach link-0 in", "attach link-1 out", "message one", "detached", "detached"]
    );
}

fn init(mechanism: &str, response: &'static str) -> SaslFrame {
    SaslFrame::Init(SaslInit {
        mechanism: mechanism.into(),
        initial_response: Some(Bytes::from_static(response.as_bytes())),
        hostname: None,
    })
}

impl Bench {
    async fn started_sasl() -> Bench {
        let mut bench = bench();
        bench.client.send_protocol(Protocol::Sasl).await;
        assert_eq!(bench.client.receive_protocol().await, Some(Protocol::Sasl));
        let Some(SaslFrame::Mechanisms(offered)) = bench.client.receive_sasl().await else {
            panic!("no mechanisms")
        };
        assert_eq!(offered, ["PLAIN", "STEPS", "ENDLESS"]);
        bench
    }

    /// Sends a frame; returns the answer.
    async fn exchange(&mut self, frame: SaslFrame) -> Option<SaslFrame> {
        self.client.send_sasl(frame).await;
        self.client.receive_sasl().await
    }
}

const OK: SaslFrame = SaslFrame::Outcome(SaslCode::Ok);
const REFUSED: SaslFrame = SaslFrame::Outcome(SaslCode::Auth);

fn response(text: &'static str) -> SaslFrame {
    SaslFrame::Response(Bytes::from_static(text.as_bytes()))
}

fn challenge(text: &'static str) -> SaslFrame {
    SaslFrame::Challenge(Bytes::from_static(text.as_bytes()))
}

#[tokio::test(start_paused = true)]
async fn sasl_takes_one_step_or_several() {
    let mut bench = Bench::started_sasl().await;
    assert_eq!(bench.exchange(init("PLAIN", "\0user\0secret")).await, Some(OK));
    bench.client.enter().await;

    let mut bench = Bench::started_sasl().await;
    assert_eq!(bench.exchange(init("STEPS", "")).await, Some(challenge("a?")));
    assert_eq!(bench.exchange(response("a")).await, Some(challenge("b?")));
    assert_eq!(bench.exchange(response("b")).await, Some(OK));
    bench.client.enter().await;
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_and_mechanisms_are_refused_by_sasl() {
    for wrong in [init("PLAIN", "\0user\0guess"), init("EXTERNAL", ""), init("plain", "\0user\0secret")] {
        let mut bench = Bench::started_sasl().await;
        assert_eq!(bench.exchange(wrong).await, Some(REFUSED));
        assert_eq!(bench.client.receive_sasl().await, None);
    }
    let mut bench = Bench::started_sasl().await;
    assert_eq!(bench.exchange(init("STEPS", "")).await, Some(challenge("a?")));
    assert_eq!(bench.exchange(response("b")).await, Some(REFUSED));
}

/// A SASL exchange without end is not continued forever.
#[tokio::test(start_paused = true)]
async fn an_endless_sasl_exchange_is_refused() {
    let mut bench = Bench::started_sasl().await;
    let mut answer = bench.exchange(init("ENDLESS", "")).await;
    let mut steps = 0;
    while answer == Some(challenge("x?")) {
        steps += 1;
        answer = bench.exchange(response("x")).await;
    }
    assert_eq!((steps, answer), (16, Some(REFUSED)));
}

#[tokio::test(start_paused = true)]
async fn the_bytes_and_the_time_of_a_login_are_bounded() {
    let mut bench = bench();
    bench.client.send_bytes(b"GET / HTTP/1.1\r\n").await;
    assert_eq!(bench.client.receive_protocol().await, Some(Protocol::Sasl));
    assert_eq!(bench.client.receive_frame().await, None);

    for hostile in
        [&b"\0\0\x04\x01\x02\x01\0\0"[..], b"\0\0\0\x0b\x02\x01\0\0\0\x53\x40", b"\x7f\xff\xff\xff"]
    {
        let mut bench = Bench::started_sasl().await;
        bench.client.send_bytes(hostile).await;
        assert_eq!(bench.client.receive_sasl().await, None, "{hostile:?}");
    }

    // An open that no client sends.
    let mut bench = self::bench();
    bench.client.send_protocol(Protocol::Amqp).await;
    bench.client.send_bytes(b"\0\0\x10\x01\x02\0\0\0").await;
    assert_eq!(bench.client.receive_protocol().await, Some(Protocol::Amqp));
    assert_eq!(bench.client.receive_frame().await, None);

    // Silence, in any state.
    let began = Instant::now();
    let mut bench = self::bench();
    assert_eq!(bench.client.receive_protocol().await, None);
    assert_eq!(began.elapsed().as_secs(), 30);
    let began = Instant::now();
    let mut bench = Bench::started_sasl().await;
    assert_eq!(bench.exchange(init("STEPS", "")).await, Some(challenge("a?")));
    assert_eq!(bench.client.receive_sasl().await, None);
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_gets_the_reason() {
    let mut bench = bench_of(AmqpLimits::default(), REFUSED_PORT);
    bench.client.send_protocol(Protocol::Amqp).await;
    bench.send([open()]).await;
    assert_eq!(bench.client.receive_protocol().await, Some(Protocol::Amqp));
    assert_eq!(bench.client.closed_with().await.as_deref(), Some(condition::UNAUTHORIZED_ACCESS));

    let Performative::Open(ours) = open() else { unreachable!() };
    let unwelcome = Open { container_id: "unwelcome".into(), ..ours.clone() };
    let small = Open { max_frame_size: 511, ..ours };
    for (open, reason) in [(unwelcome, condition::NOT_ALLOWED), (small, condition::INVALID_FIELD)] {
        let mut bench = self::bench();
        bench.client.send_protocol(Protocol::Amqp).await;
        bench.send([Performative::Open(open)]).await;
        assert_eq!(bench.client.receive_protocol().await, Some(Protocol::Amqp));
        assert_eq!(bench.client.closed_with().await.as_deref(), Some(reason));
        bench.driver.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_verdict_comes_before_the_reply_and_the_client_settles_it() {
    let mut bench = Bench::logged_in(AmqpLimits::default()).await;
    bench.send([send(7, "echo")]).await;
    assert_eq!(bench.receive().await, settled(7, DeliveryState::Accepted));
    let Some(Performative::Transfer(reply)) = bench.receive().await else { panic!("no reply") };
    assert_eq!((reply.handle, reply.delivery_id, reply.settled), (1, Some(0), Some(false)));
    assert_eq!(body_of(&reply), "echo");
    let accept = |settled| {
        Performative::Disposition(Disposition {
            role: Role::Receiver,
            first: 0,
            last: Some(u32::MAX / 2),
            settled,
            state: Some(DeliveryState::Accepted),
        })
    };
    // Settled by the client, or by the server if the client leaves it to that.
    bench.send([accept(true), accept(true), send(8, "echo")]).await;
    assert_eq!(bench.receive().await, settled(8, DeliveryState::Accepted));
    assert!(matches!(bench.receive().await, Some(Performative::Transfer(_))));
    bench.send([accept(false)]).await;
    let Some(Performative::Disposition(ours)) = bench.receive().await else { panic!("not settled") };
    assert_eq!((ours.role, ours.first, ours.settled), (Role::Sender, 1, true));
    bench.send([close()]).await;
    let notes = bench.expect_closed(None).await;
    assert_eq!(notes, ["message echo", "settled 77 Accepted", "message echo", "settled 77 Accepted"]);
}

#[tokio::test(start_paused = true)]
async fn late_verdicts_hold_credit() {
    let limits = AmqpLimits { credit: 4, ..AmqpLimits::default() };
    let mut bench = Bench::logged_in(limits).await;
    bench.send([send(0, "later"), send(1, "reject"), send(2, "later")]).await;
    assert_eq!(bench.receive().await, settled(1, DeliveryState::Rejected(None)));
    // Three of four are used, and two of them unsettled.
    let rejected = DeliveryState::Rejected(Some(AmqpError::new(condition::INTERNAL_ERROR, "no")));
    bench.notes.outbox().settle(bench.notes.later(), rejected.clone());
    assert_eq!(bench.receive().await, settled(0, rejected));
    let Some(Performative::Flow(flow)) = bench.receive().await else { panic!("no credit") };
    let link = flow.link.unwrap();
    assert_eq!((link.delivery_count, link.link_credit), (Some(3), Some(3)));
    // A message that was sent settled gets no verdict.
    let presettled = Transfer { settled: Some(true), ..transfer(3, "reject") };
    bench.send([Performative::Transfer(presettled), close()]).await;
    bench.expect_closed(None).await;
}

#[tokio::test(start_paused = true)]
async fn messages_wait_for_credit_and_windows() {
    let mut bench = Bench::logged_in(AmqpLimits::default()).await;
    let credit = |link_credit, next_incoming_id, incoming_window, drain| {
        let link = LinkFlow {
            handle: 1,
            delivery_count: Some(0),
            link_credit: Some(link_credit),
            available: None,
            drain,
        };
        let Performative::Flow(flow) = flow(link) else { unreachable!() };
        Performative::Flow(codec::amqp::Flow {
            next_incoming_id: Some(next_incoming_id),
            incoming_window,
            ..flow
        })
    };
    bench.send([credit(0, 0, 1, false), send(0, "sync")]).await;
    assert_eq!(bench.receive().await, settled(0, DeliveryState::Accepted));
    let (outbox, link) = (bench.notes.outbox(), bench.notes.link());
    let message = |text: &str| Message { body: Body::of(text.to_owned()), ..Message::default() };
    outbox.try_send(link, message("first"), 1).unwrap();
    outbox.try_send(link, message("second"), 2).unwrap();
    bench.send([send(1, "sync")]).await;
    assert_eq!(bench.receive().await, settled(1, DeliveryState::Accepted), "no credit, no message");
    bench.send([credit(2, 0, 1, false)]).await;
    let Some(Performative::Transfer(first)) = bench.receive().await else { panic!("no message") };
    assert_eq!(body_of(&first), "first");
    bench.send([send(2, "sync")]).await;
    assert_eq!(bench.receive().await, settled(2, DeliveryState::Accepted), "no window, no message");
    bench.send([credit(5, 1, 1, true)]).await;
    let Some(Performative::Transfer(second)) = bench.receive().await else { panic!("no message") };
    assert_eq!(body_of(&second), "second");
    let Some(Performative::Flow(drained)) = bench.receive().await else { panic!("not drained") };
    let link = drained.link.unwrap();
    assert_eq!((link.delivery_count, link.link_credit, link.drain), (Some(5), Some(0), true));
}

/// The condition, which programs evaluate, is idle.
#[tokio::test(start_paused = true)]
async fn a_description_that_does_not_fit_the_client_s_frames_is_left_out() {
    let mut bench = bench();
    bench.client.send_protocol(Protocol::Amqp).await;
    let Performative::Open(ours) = open() else { unreachable!() };
    let small = Open { max_frame_size: 512, ..ours };
    bench.send([Performative::Open(small), begin(), attach(0, Role::Sender, "in"), send(0, "later")]).await;
    bench.client.receive_protocol().await;
    for _ in 0..4 {
        bench.receive().await; // open, begin, attach, flow
    }
    let long = AmqpError::new(condition::NOT_ALLOWED, "x".repeat(600));
    let short = AmqpError { description: None, ..long.clone() };
    bench.notes.outbox().settle(bench.notes.later(), DeliveryState::Rejected(Some(long.clone())));
    assert_eq!(bench.receive().await, settled(0, DeliveryState::Rejected(Some(short.clone()))));
    bench.notes.outbox().close(long);
    let closed = loop {
        match bench.receive().await {
            Some(Performative::Close(close)) => break close,
            Some(_) => {}
            None => panic!("closed without a reason"),
        }
    };
    assert_eq!(closed.error, Some(short));
}

#[tokio::test(start_paused = true)]
async fn long_messages_are_split_in_both_directions() {
    let mut bench = bench();
    bench.client.send_protocol(Protocol::Amqp).await;
    let Performative::Open(ours) = open() else { unreachable!() };
    let small = Open { max_frame_size: 512, ..ours };
    let credit =
        LinkFlow { handle: 1, delivery_count: Some(0), link_credit: Some(10), ..LinkFlow::default() };
    let hello = [
        Performative::Open(small),
        begin(),
        attach(0, Role::Sender, "in"),
        attach(1, Role::Receiver, "out"),
        flow(credit),
    ];
    bench.send(hello).await;
    bench.client.receive_protocol().await;
    for _ in 0..5 {
        bench.receive().await;
    }
    let text = "x".repeat(3000);
    let whole = transfer(0, &text);
    let parts = whole.payload.chunks(100).enumerate().map(|(index, part)| {
        Performative::Transfer(Transfer {
            delivery_id: (index == 0).then_some(0),
            more: (index + 1) * 100 < whole.payload.len(),
            payload: Bytes::copy_from_slice(part),
            ..whole.clone()
        })
    });
    let parts: Vec<_> = parts.collect();
    bench.send(parts).await;
    assert_eq!(bench.receive().await, settled(0, DeliveryState::Accepted));
    let message = Message { body: Body::of(text.clone()), ..Message::default() };
    bench.notes.outbox().try_send(bench.notes.link(), message, 1).unwrap();
    let (mut payload, mut transfers) = (Vec::new(), 0);
    loop {
        let Some(Performative::Transfer(part)) = bench.receive().await else { panic!("no part") };
        assert_eq!(part.delivery_id, (transfers == 0).then_some(0));
        transfers += 1;
        payload.extend_from_slice(&part.payload);
        if !part.more {
            break;
        }
    }
    assert_eq!(Message::decode(&payload).unwrap().body.bytes().unwrap(), text);
    assert_eq!(transfers, 7);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_or_too_slow_detaches_its_link() {
    let limits = AmqpLimits { max_message: 2000, ..AmqpLimits::default() };
    let part = |text: &str| {
        Performative::Transfer(Transfer {
            more: true,
            payload: Bytes::from(text.to_owned()),
            ..transfer(0, "")
        })
    };
    let reason = |detach: Option<Performative>| match detach {
        Some(Performative::Detach(Detach { handle: 0, closed: true, error: Some(error) })) => error.condition,
        other => panic!("no detach but {other:?}"),
    };
    let mut bench = Bench::logged_in(limits.clone()).await;
    bench.send([part(&"x".repeat(2000)), part("x"), part("dropped")]).await;
    assert_eq!(reason(bench.receive().await), condition::MESSAGE_SIZE_EXCEEDED);
    // The link is removed when the client has detached it, too; its handle is free again.
    bench.send([Performative::Detach(Detach { handle: 0, closed: true, error: None })]).await;
    bench.send([attach(0, Role::Sender, "in"), send(1, "fine"), close()]).await;
    assert!(matches!(bench.receive().await, Some(Performative::Attach(_))));
    assert_eq!(bench.expect_closed(None).await, ["detached", "attach link-0 in", "message fine"]);

    // Parts of two messages together.
    let mut bench = Bench::logged_in(limits.clone()).await;
    let other = Performative::Transfer(Transfer {
        handle: 2,
        more: true,
        payload: Bytes::from(vec![b'x'; 1001]),
        ..transfer(1, "")
    });
    bench.send([attach(2, Role::Sender, "in"), part(&"x".repeat(1000)), other]).await;
    assert!(matches!(bench.receive().await, Some(Performative::Attach(_))));
    assert!(matches!(bench.receive().await, Some(Performative::Flow(_))));
    let Some(Performative::Detach(detach)) = bench.receive().await else { panic!("no detach") };
    assert_eq!(detach.handle, 2);

    let mut bench = Bench::logged_in(limits).await;
    bench.send([part("x")]).await;
    for _ in 0..5 {
        sleep(Duration::from_secs(10)).await;
        bench.send([part("")]).await;
    }
    // The server detaches it, whether or not another transfer arrives.
    assert_eq!(reason(bench.receive().await), condition::RESOURCE_LIMIT_EXCEEDED);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_or_malformed_message_is_not_delivered() {
    let mut bench = Bench::logged_in(AmqpLimits::default()).await;
    let part = Transfer { more: true, payload: Bytes::from_static(b"\0"), ..transfer(0, "") };
    let abort = Transfer { aborted: true, delivery_id: None, ..part.clone() };
    let unreadable = Transfer { payload: Bytes::from_static(b"\0"), ..transfer(1, "") };
    bench.send([part, abort, unreadable].map(Performative::Transfer)).await;
    let Some(Performative::Disposition(disposition)) = bench.receive().await else { panic!("no verdict") };
    let Some(DeliveryState::Rejected(Some(error))) = disposition.state else { panic!("not rejected") };
    assert_eq!((disposition.first, error.condition.as_str()), (1, condition::DECODE_ERROR));
    assert!(bench.notes.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_link_does_not_end_the_connection() {
    let mut bench = Bench::logged_in(AmqpLimits::default()).await;
    bench.send([attach(2, Role::Sender, "forbidden"), attach(3, Role::Receiver, "forbidden")]).await;
    for handle in [2, 3] {
        let Some(Performative::Attach(attach)) = bench.receive().await else { panic!("no attach") };
        let far = if handle == 2 { attach.target } else { attach.source };
        assert_eq!((attach.handle, far), (handle, None));
        let Some(Performative::Detach(detach)) = bench.receive().await else { panic!("no detach") };
        assert_eq!((detach.handle, detach.error.unwrap().condition.as_str()), (handle, condition::NOT_FOUND));
    }
    // A message that the client sent before it received the refusal.
    let lost = Transfer { handle: 2, ..transfer(0, "lost") };
    bench.send([Performative::Transfer(lost), send(1, "fine"), close()]).await;
    let notes = bench.expect_closed(None).await;
    assert_eq!(notes, ["attach link-2 forbidden", "attach link-3 forbidden", "message fine"]);
}

#[tokio::test(start_paused = true)]
async fn links_can_be_detached_from_outside() {
    let mut bench = Bench::logged_in(AmqpLimits::default()).await;
    let (outbox, link) = (bench.notes.outbox(), bench.notes.link());
    outbox.detach(link, AmqpError::new(condition::UNAUTHORIZED_ACCESS, "expired"));
    let Some(Performative::Detach(detach)) = bench.receive().await else { panic!("no detach") };
    assert_eq!((detach.handle, detach.closed), (1, true));
    // Messages for a detached link are dropped.
    for token in 0..100 {
        outbox.send(link, Message::default(), token).await.unwrap();
    }
    bench.send([Performative::Detach(Detach { handle: 1, closed: true, error: None }), close()]).await;
    assert_eq!(bench.expect_closed(None).await, ["detached"], "the connection hears of it once");
}

/// Protocol violations, each with the condition that the client gets.
#[tokio::test(start_paused = true)]
async fn protocol_violations_close_the_connection() {
    let detach = Performative::Detach(Detach { handle: 9, closed: true, error: None });
    let begun = begin();
    let on_handle = |handle| Performative::Transfer(Transfer { handle, ..transfer(0, "x") });
    let nameless = Performative::Transfer(Transfer { delivery_id: None, ..transfer(0, "x") });
    let resumed = Performative::Transfer(Transfer { resume: true, ..transfer(0, "x") });
    let part = |id| Performative::Transfer(Transfer { more: true, ..transfer(id, "x") });
    let many = (0..17).map(|id| send(id, "later")).collect();
    let links = (2..30).map(|handle| attach(handle, Role::Sender, "in")).collect();
    for (name, performatives, condition) in [
        ("a second open", vec![open()], condition::NOT_ALLOWED),
        ("a begin on a channel in use", vec![begun], condition::NOT_ALLOWED),
        ("a handle in use", vec![attach(1, Role::Sender, "in")], condition::HANDLE_IN_USE),
        (
            "a handle beyond handle-max",
            vec![attach(24, Role::Sender, "in")],
            condition::RESOURCE_LIMIT_EXCEEDED,
        ),
        ("too many links", links, condition::RESOURCE_LIMIT_EXCEEDED),
        ("no such link", vec![detach], condition::UNATTACHED_HANDLE),
        ("a transfer over no link", vec![on_handle(9)], condition::UNATTACHED_HANDLE),
        ("a transfer the wrong way", vec![on_handle(1)], condition::NOT_ALLOWED),
        ("no delivery-id", vec![nameless], condition::INVALID_FIELD),
        ("a resumed delivery", vec![resumed], condition::NOT_IMPLEMENTED),
        ("two deliveries at once", vec![part(0), part(1)], condition::NOT_ALLOWED),
        ("more than the credit", many, condition::TRANSFER_LIMIT_EXCEEDED),
        ("asked to", vec![send(0, "close"), send(1, "unheard")], condition::NOT_ALLOWED),
        ("kicked", vec![send(0, "kick"), send(1, "unheard")], condition::CONNECTION_FORCED),
        ("a panic", vec![send(0, "panic")], condition::INTERNAL_ERROR),
    ] {
        let mut bench = Bench::logged_in(AmqpLimits::default()).await;
        bench.send(performatives).await;
        let notes = bench.expect_closed(Some(condition)).await;
        assert!(!notes.contains(&"message unheard".to_owned()), "{name}");
    }
    let frames: [(&[u8], &str); 4] = [
        (b"\0\0\0\x0c\x02\0\0\0\0\x53\x40\x45", condition::DECODE_ERROR),
        (b"\0\0\0\x08\x02\x01\0\0", condition::FRAMING_ERROR),
        (b"\0\0\x40\x01\x02\0\0\0", condition::FRAMING_ERROR),
        (b"\0\0\0\x0c\x02\0\0\x05\0\x53\x17\x45", condition::NOT_ALLOWED), // an end without its session
    ];
    for (frame, condition) in frames {
        let mut bench = Bench::logged_in(AmqpLimits::default()).await;
        bench.client.send_bytes(frame).await;
        bench.expect_closed(Some(condition)).await;
    }
}

/// Links are attached and detached, and messages sent, more often than the limits allow at once.
#[tokio::test(start_paused = true)]
async fn floods_do_not_use_up_links_and_windows() {
    let mut bench = Bench::logged_in(AmqpLimits::default()).await;
    let detach = || Performative::Detach(Detach { handle: 2, closed: true, error: None });
    for _ in 0..2000 {
        bench.send([attach(2, Role::Sender, "in"), detach()]).await;
        assert!(matches!(bench.receive().await, Some(Performative::Attach(_))));
        assert!(matches!(bench.receive().await, Some(Performative::Flow(_))));
        assert_eq!(bench.receive().await, Some(detach()));
    }
    // More transfers than a window allows: it is opened again in time.
    for id in 0..3000 {
        let settled = Transfer { settled: Some(true), ..transfer(id, "x") };
        bench.send([Performative::Transfer(settled)]).await;
        if id % 8 == 7 {
            while !matches!(bench.receive().await, Some(Performative::Flow(flow)) if flow.link.is_some()) {}
        }
    }
    bench.send([close()]).await;
    bench.expect_closed(None).await;
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_closed_and_heartbeats_are_sent() {
    let bench = Bench::logged_in(AmqpLimits::default()).await;
    let began = Instant::now();
    bench.expect_closed(Some(condition::RESOURCE_LIMIT_EXCEEDED)).await;
    assert_eq!(began.elapsed().as_secs(), 600);

    let mut bench = self::bench();
    bench.client.send_protocol(Protocol::Amqp).await;
    let Performative::Open(ours) = open() else { unreachable!() };
    bench.send([Performative::Open(Open { idle_timeout_ms: Some(10_000), ..ours })]).await;
    bench.client.receive_protocol().await;
    bench.receive().await;
    let began = Instant::now();
    for beat in 1..4 {
        let heartbeat = bench.client.receive_frame().await;
        assert_eq!(heartbeat, Some(Frame { channel: 0, performative: None }));
        assert_eq!(began.elapsed().as_secs(), beat * 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed() {
    let mut bench = Bench::logged_in(AmqpLimits::default()).await;
    let detach = Performative::Detach(Detach { handle: 9, closed: true, error: None });
    let flood = encoded([attach(9, Role::Sender, "forbidden"), detach]);
    let began = Instant::now();
    while bench.client.try_send_bytes(&flood).await.is_ok() {}
    bench.driver.await.unwrap();
    assert!(bench.notes.take().contains(&"closed".to_owned()));
    assert!(began.elapsed() >= Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_owed_replies() {
    let idle = Bench::logged_in(AmqpLimits::default()).await;
    idle.shutdown.cancel();
    idle.expect_closed(Some(condition::CONNECTION_FORCED)).await;

    let mut busy = Bench::logged_in(AmqpLimits::default()).await;
    busy.send([send(0, "busy")]).await;
    assert_eq!(busy.receive().await, settled(0, DeliveryState::Accepted));
    busy.shutdown.cancel();
    sleep(Duration::from_secs(3)).await;
    busy.send([send(1, "done")]).await;
    busy.expect_closed(Some(condition::CONNECTION_FORCED)).await;

    let mut stuck = Bench::logged_in(AmqpLimits::default()).await;
    stuck.send([send(0, "busy")]).await;
    stuck.receive().await;
    let began = Instant::now();
    stuck.shutdown.cancel();
    stuck.expect_closed(Some(condition::RESOURCE_LIMIT_EXCEEDED)).await;
    assert_eq!(began.elapsed().as_secs(), 10);

    let mut early = bench();
    early.shutdown.cancel();
    assert_eq!(early.client.receive_protocol().await, None);
}
