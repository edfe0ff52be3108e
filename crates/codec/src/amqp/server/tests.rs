//! What clients send, and what they are answered, without a socket.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::amqp::{
    Attach, Begin, Body, Close, DeliveryState, Detach, Disposition, End, Entries, Flow, Frame, LinkFlow,
    Message, Open, Performative, Protocol, Role, SaslFrame, SaslInit, SettleMode, Terminus, Transfer,
    condition, decode_frame, decode_protocol, decode_sasl, encode_frame, encode_protocol, encode_sasl,
};

const MAX_FRAME: usize = 1024;
const MAX_PARTIAL_BYTES: usize = 2000;

/// A server's state, and its output.
struct Server {
    sessions: Sessions,
    output: BytesMut,
    now: Instant,
}

impl Server {
    fn new() -> Server {
        let limits = SessionLimits { sessions: 2, links: 4, credit: 4, unsettled: 2, max_message: 2000 };
        Server { sessions: Sessions::new(limits), output: BytesMut::new(), now: Instant::now() }
    }

    /// A server with a session, a link from the client (handle 0) and one to it (handle 1).
    fn attached() -> Server {
        let mut server = Server::new();
        server.ok(begin());
        server.attach(attach(0, Role::Sender), None);
        server.attach(attach(1, Role::Receiver), None);
        server.frames();
        server
    }

    fn handle(&mut self, performative: Performative) -> Result<Option<SessionEvent>, ServerError> {
        let frame = Frame { channel: 0, performative: Some(performative) };
        let mut out = FrameWriter::new(&mut self.output, MAX_FRAME);
        self.sessions.handle(frame, (self.now, MAX_PARTIAL_BYTES), &mut out)
    }

    /// Handles a frame that leaves nothing to decide.
    #[track_caller]
    fn ok(&mut self, performative: Performative) {
        let event = self.handle(performative).unwrap();
        assert!(event.is_none(), "{event:?}");
    }

    #[track_caller]
    fn attach(&mut self, performative: Performative, refusal: Option<AmqpError>) -> LinkRequest {
        let Ok(Some(SessionEvent::Attach(pending))) = self.handle(performative) else { panic!("no link") };
        let request = pending.request().clone();
        self.with(|sessions, out| sessions.answer_attach(*pending, refusal, out)).unwrap();
        request
    }

    /// Handles the last transfer of a message.
    #[track_caller]
    fn message(&mut self, performative: Performative) -> Delivery {
        match self.handle(performative) {
            Ok(Some(SessionEvent::Message(delivery))) => delivery,
            other => panic!("no message, but {other:?}"),
        }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut Sessions, &mut FrameWriter<'_>) -> T) -> T {
        call(&mut self.sessions, &mut FrameWriter::new(&mut self.output, MAX_FRAME))
    }

    /// Sends a message to the client, as far as its window allows.
    fn send(&mut self, link: LinkId, token: u64, text: &str) -> Sent {
        let message = Message { body: Body::of(text.to_owned()), ..Message::default() };
        let sent = self.with(|sessions, out| sessions.send(link, token, &message, out)).unwrap();
        self.continue_sending();
        sent
    }

    fn continue_sending(&mut self) {
        self.with(|sessions, out| sessions.continue_sending(out)).unwrap();
    }

    /// Takes the output.
    fn frames(&mut self) -> Vec<Performative> {
        let mut frames = Vec::new();
        while let Some(frame) = decode_frame(&mut self.output, MAX_FRAME).unwrap() {
            frames.extend(frame.performative);
        }
        assert!(self.output.is_empty());
        frames
    }

    /// Takes the output, in a short form.
    fn answers(&mut self) -> Vec<String> {
        self.frames().iter().map(brief).collect()
    }
}

fn brief(performative: &Performative) -> String {
    match performative {
        Performative::Attach(attach) => format!("attach {}", attach.handle),
        Performative::Begin(_) => "begin".to_owned(),
        Performative::Close(_) => "close".to_owned(),
        Performative::Detach(detach) => {
            let condition = detach.error.as_ref().map(|error| format!(" {}", error.condition));
            format!("detach {}{}", detach.handle, condition.unwrap_or_default())
        }
        Performative::Disposition(it) => format!("{:?} settles {}", it.role, it.first),
        Performative::End(_) => "end".to_owned(),
        Performative::Flow(Flow { link: Some(link), .. }) => {
            let drain = if link.drain { " drained" } else { "" };
            let (credit, count) = (link.link_credit.unwrap_or(0), link.delivery_count.unwrap_or(0));
            format!("flow {}: credit {credit} from {count}{drain}", link.handle)
        }
        Performative::Flow(flow) => format!("flow: window {}", flow.incoming_window),
        Performative::Open(_) => "open".to_owned(),
        Performative::Transfer(transfer) => {
            let more = if transfer.more { " and more" } else { "" };
            format!("transfer {:?}{more}", transfer.delivery_id)
        }
    }
}

fn begin() -> Performative {
    Performative::Begin(Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 100,
        outgoing_window: 100,
        handle_max: 10,
    })
}

fn attach(handle: u32, role: Role) -> Performative {
    let terminus = |address: &str| Some(Terminus { address: Some(address.to_owned()) });
    Performative::Attach(Attach {
        name: format!("link-{handle}"),
        handle,
        role,
        settle_mode: SettleMode::Unsettled,
        source: terminus("source"),
        target: terminus("target"),
        initial_delivery_count: (role == Role::Sender).then_some(0),
        max_message_size: Some(1500),
        properties: Entries::new(),
    })
}

fn payload(text: &str) -> Bytes {
    Message { body: Body::of(text.to_owned()), ..Message::default() }.encode().unwrap()
}

fn transfer(id: u32, text: &str) -> Transfer {
    Transfer {
        handle: 0,
        delivery_id: Some(id),
        delivery_tag: None,
        message_format: Some(0),
        settled: Some(false),
        more: false,
        state: None,
        resume: false,
        aborted: false,
        payload: payload(text),
    }
}

fn first_part(id: u32, text: &str) -> Performative {
    Performative::Transfer(Transfer { more: true, ..transfer(id, text) })
}

fn whole(id: u32, text: &str) -> Performative {
    Performative::Transfer(transfer(id, text))
}

/// Returns the client's flow for the link to it: `credit` from `count` on, in a window that begins at transfer 0.
fn credit(credit: u32, count: u32, window: u32) -> Flow {
    let link =
        LinkFlow { handle: 1, delivery_count: Some(count), link_credit: Some(credit), ..LinkFlow::default() };
    Flow { next_incoming_id: Some(0), incoming_window: window, link: Some(link), ..Flow::default() }
}

fn detach(handle: u32) -> Performative {
    Performative::Detach(Detach { handle, closed: true, error: None })
}

#[test]
fn links_are_attached_refused_and_detached() {
    let mut server = Server::new();
    server.ok(begin());
    let link = server.attach(attach(0, Role::Sender), None);
    assert_eq!((link.direction, link.address.as_deref()), (Direction::FromClient, Some("target")));
    let refusal = AmqpError::new(condition::NOT_FOUND, "no such address");
    let refused = server.attach(attach(1, Role::Receiver), Some(refusal));
    assert_eq!((refused.direction, refused.address.as_deref()), (Direction::ToClient, Some("source")));
    assert_ne!(refused.id, link.id);
    let answers = ["begin", "attach 0", "flow 0: credit 4 from 0", "attach 1", "detach 1 amqp:not-found"];
    assert_eq!(server.answers(), answers);
    // A refused link is not reported as detached, an attached one is.
    server.ok(detach(1));
    let detached = server.handle(detach(0)).unwrap();
    assert!(matches!(detached, Some(SessionEvent::Detached(links)) if links == [link.id]));
    assert_eq!(server.answers(), ["detach 0"]);
    let again = server.attach(attach(0, Role::Sender), None);
    assert_ne!(again.id, link.id, "an ID is never used twice");
    let ended = server.handle(Performative::End(End { error: None })).unwrap();
    assert!(matches!(ended, Some(SessionEvent::Detached(links)) if links == [again.id]));
    assert_eq!(server.answers(), ["attach 0", "flow 0: credit 4 from 0", "end"]);
}

#[test]
fn breaches_of_the_protocol_are_errors() {
    let resumed = Transfer { resume: true, ..transfer(0, "x") };
    let unnamed = Transfer { delivery_id: None, ..transfer(0, "x") };
    let on = |handle| Performative::Transfer(Transfer { handle, ..transfer(0, "x") });
    let open = Open {
        container_id: "client".into(),
        hostname: None,
        max_frame_size: 512,
        channel_max: 0,
        idle_timeout_ms: None,
    };
    for (case, frames, expected) in [
        ("a second open", vec![Performative::Open(open)], condition::NOT_ALLOWED),
        ("a second begin", vec![begin()], condition::NOT_ALLOWED),
        ("a handle in use", vec![attach(1, Role::Sender)], condition::HANDLE_IN_USE),
        ("a handle beyond the limit", vec![attach(4, Role::Sender)], condition::RESOURCE_LIMIT_EXCEEDED),
        ("a transfer without a link", vec![on(2)], condition::UNATTACHED_HANDLE),
        ("a transfer over a link to the client", vec![on(1)], condition::NOT_ALLOWED),
        ("a detach without a link", vec![detach(2)], condition::UNATTACHED_HANDLE),
        ("a resumed delivery", vec![Performative::Transfer(resumed)], condition::NOT_IMPLEMENTED),
        ("a delivery without an ID", vec![Performative::Transfer(unnamed)], condition::INVALID_FIELD),
        ("two deliveries at once", vec![first_part(0, "x"), whole(1, "x")], condition::NOT_ALLOWED),
    ] {
        let mut server = Server::attached();
        let mut results: Vec<_> = frames.into_iter().map(|frame| server.handle(frame).map(|_| ())).collect();
        let last = results.pop().unwrap();
        assert!(results.iter().all(Result::is_ok), "{case}");
        let Err(ServerError::Violation(error)) = last else { panic!("{case}: {last:?}") };
        assert_eq!(error.condition, expected, "{case}");
        assert!(server.frames().is_empty(), "{case}");
    }
}

#[test]
fn the_link_credit_bounds_deliveries_without_a_verdict() {
    let mut server = Server::attached();
    let mut later = Vec::new();
    for id in 0..4 {
        let delivery = server.message(whole(id, "x"));
        later.push(delivery.id);
        server.with(|sessions, out| sessions.answer(delivery.id, Verdict::Later, out)).unwrap();
    }
    assert!(server.answers().is_empty(), "all credit is held");
    let Err(ServerError::Violation(error)) = server.handle(whole(4, "x")) else { panic!("accepted") };
    assert_eq!(error.condition, condition::TRANSFER_LIMIT_EXCEEDED);
    for (id, answers) in later.into_iter().zip([
        &["Receiver settles 0"][..],
        &["Receiver settles 1", "flow 0: credit 2 from 4"],
        &["Receiver settles 2"],
        &["Receiver settles 3"],
    ]) {
        server.with(|sessions, out| sessions.settle(id, DeliveryState::Accepted, out)).unwrap();
        if answers.len() == 1 && id.number > 1 {
            // The credit granted before counts together with what is unsettled.
            assert_eq!(server.answers()[0], answers[0]);
        } else {
            assert_eq!(server.answers(), answers);
        }
    }
}

#[test]
fn messages_from_the_client_are_put_together() {
    let mut server = Server::attached();
    let text = "x".repeat(900);
    let whole_payload = payload(&text);
    let (first, last) = whole_payload.split_at(300);
    let part = |payload: &[u8], more, id| {
        let payload = Bytes::copy_from_slice(payload);
        Performative::Transfer(Transfer { delivery_id: id, more, payload, ..transfer(7, "") })
    };
    server.ok(part(first, true, Some(7)));
    assert_eq!(server.sessions.partial_bytes(), 300);
    assert_eq!(server.sessions.oldest_partial(), Some(server.now));
    let delivery = server.message(part(last, false, None));
    assert_eq!(delivery.message.body.bytes().as_deref(), Some(text.as_bytes()));
    assert_eq!(server.sessions.partial_bytes(), 0);
    // One that is aborted leaves nothing, one that cannot be read is rejected.
    server.ok(part(first, true, Some(8)));
    server.ok(Performative::Transfer(Transfer { aborted: true, delivery_id: None, ..transfer(8, "") }));
    assert_eq!(server.sessions.oldest_partial(), None);
    server.frames();
    server.ok(part(b"\0", false, Some(9)));
    let frames = server.frames();
    let Some(Performative::Disposition(Disposition { first: 9, state, .. })) = frames.first() else {
        panic!("not settled: {frames:?}")
    };
    let Some(DeliveryState::Rejected(Some(error))) = state else { panic!("not rejected: {state:?}") };
    assert_eq!(error.condition, condition::DECODE_ERROR);
}

#[test]
fn a_message_that_is_too_long_or_too_slow_detaches_its_link() {
    let mut server = Server::attached();
    server.ok(first_part(0, &"x".repeat(1500)));
    let continued = Transfer { more: true, delivery_id: None, ..transfer(0, &"x".repeat(600)) };
    let event = server.handle(Performative::Transfer(continued)).unwrap();
    assert!(matches!(event, Some(SessionEvent::TooLarge(_))), "{event:?}");
    assert_eq!(server.answers(), ["detach 0 amqp:link:message-size-exceeded"]);
    server.ok(whole(1, "dropped: the client has not answered the detach"));

    let mut server = Server::attached();
    let began = server.now;
    server.ok(first_part(0, "x"));
    let error = AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, "too slow");
    let overdue = |server: &mut Server, latest: Instant| {
        server.with(|sessions, out| sessions.detach_overdue(latest, &error, out)).unwrap().len()
    };
    assert_eq!(overdue(&mut server, began - Duration::from_millis(1)), 0);
    assert_eq!(overdue(&mut server, began), 1);
    assert_eq!(server.answers(), ["detach 0 amqp:resource-limit-exceeded"]);
    assert_eq!(overdue(&mut server, began), 0, "once");
}

#[test]
fn messages_to_the_client_wait_for_credit_and_window() {
    let mut server = Server::attached();
    let link = server.attach(attach(2, Role::Receiver), None).id;
    server.frames();
    let on_link = |flow: Flow| {
        let link = flow.link.map(|link| LinkFlow { handle: 2, ..link });
        Performative::Flow(Flow { link, ..flow })
    };
    assert!(!server.sessions.can_send(link), "no credit");
    server.ok(on_link(credit(1, 0, 1)));
    assert!(server.sessions.can_send(link));
    assert_eq!(server.send(link, 10, &"x".repeat(1200)), Sent::Started);
    assert_eq!(server.answers(), ["transfer Some(0) and more"], "the window takes one transfer");
    assert!(!server.sessions.can_send(link));
    server.ok(on_link(Flow { next_incoming_id: Some(1), ..credit(3, 0, 5) }));
    server.continue_sending();
    assert_eq!(server.answers(), ["transfer None"]);
    assert_eq!(server.send(link, 11, "second"), Sent::Started);
    assert!(!server.sessions.can_send(link), "two messages are unsettled");
    server.frames();
    // The client settles the first, and asks for the credit that it has left.
    let accept = Disposition {
        role: Role::Receiver,
        first: 0,
        last: None,
        settled: false,
        state: Some(DeliveryState::Accepted),
    };
    let Ok(Some(SessionEvent::Settled(settled))) = server.handle(Performative::Disposition(accept)) else {
        panic!("not settled")
    };
    assert_eq!(settled, [Settled { link, token: 10, state: DeliveryState::Accepted }]);
    assert_eq!(server.answers(), ["Sender settles 0"]);
    assert!(server.sessions.can_send(link));
    let flow = credit(3, 0, 5);
    let drain = Flow { link: flow.link.map(|link| LinkFlow { drain: true, ..link }), ..flow };
    server.ok(on_link(drain));
    server.with(|sessions, out| sessions.return_credit(out)).unwrap();
    assert_eq!(server.answers(), ["flow 2: credit 0 from 3 drained"]);
    server.with(|sessions, out| sessions.return_credit(out)).unwrap();
    assert!(server.answers().is_empty(), "once");
}

#[test]
fn a_message_for_a_detached_link_is_dropped() {
    let mut server = Server::attached();
    let link = server.attach(attach(2, Role::Receiver), None).id;
    let error = AmqpError::new(condition::UNAUTHORIZED_ACCESS, "expired");
    assert!(server.with(|sessions, out| sessions.detach(link, error.clone(), out)).unwrap());
    assert!(!server.with(|sessions, out| sessions.detach(link, error, out)).unwrap());
    server.frames();
    assert!(server.sessions.can_send(link), "it need not wait");
    assert_eq!(server.send(link, 1, "lost"), Sent::Unattached);
    // One that is longer than the client takes costs the link.
    let link = server.attach(attach(3, Role::Receiver), None).id;
    server.frames();
    assert_eq!(server.send(link, 2, &"x".repeat(1501)), Sent::TooLarge);
    assert_eq!(server.answers(), ["detach 3 amqp:link:message-size-exceeded"]);
}

#[test]
fn windows_are_opened_before_they_are_used_up() {
    let mut server = Server::attached();
    let mut windows = 0;
    for id in 0..5000 {
        let presettled = Transfer { settled: Some(true), ..transfer(id, "x") };
        let delivery = server.message(Performative::Transfer(presettled));
        let accepted = Verdict::Settled(DeliveryState::Accepted);
        server.with(|sessions, out| sessions.answer(delivery.id, accepted, out)).unwrap();
        windows += server.answers().iter().filter(|answer| *answer == "flow: window 2048").count();
    }
    assert!(windows >= 4, "{windows}");
}

#[test]
fn an_echo_is_answered_with_the_flow_state() {
    let mut server = Server::attached();
    server.ok(Performative::Flow(Flow { echo: true, ..Flow::default() }));
    server.ok(Performative::Flow(Flow { echo: true, ..credit(3, 0, 5) }));
    assert_eq!(server.answers(), ["flow: window 2048", "flow 1: credit 3 from 0"]);
}

#[test]
fn sessions_end_before_a_shutdown_and_a_close_is_reported() {
    let mut server = Server::attached();
    let error = AmqpError::new(condition::DETACH_FORCED, "the server is shutting down");
    server.with(|sessions, out| sessions.end_all(&error, out)).unwrap();
    assert_eq!(server.frames(), [Performative::End(End { error: Some(error) })]);
    let close = server.handle(Performative::Close(Close { error: None })).unwrap();
    assert!(matches!(close, Some(SessionEvent::Close(None))));
}

fn config() -> LoginConfig {
    LoginConfig {
        container_id: "server",
        max_sasl_frame: 512,
        max_open_frame: 512,
        max_frame: MAX_FRAME,
        max_sessions: 2,
        idle_timeout: Duration::from_secs(60),
    }
}

fn login() -> Login {
    Login::new(vec!["PLAIN", "STEPS"], config())
}

fn init(mechanism: &str) -> SaslFrame {
    SaslFrame::Init(SaslInit { mechanism: mechanism.into(), initial_response: None, hostname: None })
}

/// Returns what a client sends: the SASL protocol header, and a frame.
fn sasl_input(frame: &SaslFrame) -> BytesMut {
    let mut input = BytesMut::new();
    encode_protocol(Protocol::Sasl, &mut input);
    encode_sasl(frame, 512, &mut input).unwrap();
    input
}

fn open_input(max_frame_size: u32) -> BytesMut {
    let open = Open {
        container_id: "client".into(),
        hostname: None,
        max_frame_size,
        channel_max: 0,
        idle_timeout_ms: None,
    };
    let mut input = BytesMut::new();
    encode_protocol(Protocol::Amqp, &mut input);
    let frame = Frame { channel: 0, performative: Some(Performative::Open(open)) };
    encode_frame(&frame, 512, &mut input).unwrap();
    input
}

#[test]
fn a_login_takes_its_input_in_any_pieces() {
    let whole = sasl_input(&init("STEPS"));
    for size in 1..=whole.len() {
        let (mut login, mut input, mut output) = (login(), BytesMut::new(), BytesMut::new());
        let mut start = None;
        for piece in whole.chunks(size) {
            input.extend_from_slice(piece);
            assert_eq!(start, None, "{size}");
            start = login.receive(&mut input, &mut output).unwrap();
        }
        assert!(matches!(start, Some(LoginStart::Sasl(_))), "{size}");
        assert_eq!(decode_protocol(&mut output).unwrap(), Some(Protocol::Sasl));
        let offered = decode_sasl(&mut output, 512).unwrap();
        assert_eq!(offered, Some(SaslFrame::Mechanisms(vec!["PLAIN".into(), "STEPS".into()])));
        assert!(output.is_empty());
    }
}

#[test]
fn a_login_in_steps_leads_to_an_open() {
    let (mut login, mut output) = (login(), BytesMut::new());
    login.receive(&mut sasl_input(&init("STEPS")), &mut output).unwrap();
    output.clear();
    login.challenge(Bytes::from_static(b"a?"), &mut output).unwrap();
    let challenge = decode_sasl(&mut output, 512).unwrap();
    assert_eq!(challenge, Some(SaslFrame::Challenge(Bytes::from_static(b"a?"))));
    let mut input = BytesMut::new();
    assert_eq!(login.receive_response(&mut input).unwrap(), None);
    encode_sasl(&SaslFrame::Response(Bytes::from_static(b"a")), 512, &mut input).unwrap();
    assert_eq!(login.receive_response(&mut input).unwrap(), Some(Bytes::from_static(b"a")));
    let mut opening = login.accept(&mut output).unwrap();
    assert_eq!(decode_sasl(&mut output, 512).unwrap(), Some(SaslFrame::Outcome(SaslCode::Ok)));
    let open = opening.receive(&mut open_input(600), &mut output).unwrap().unwrap();
    assert_eq!(opening.client_max_frame(&open), 600);
    opening.accept(600, &mut output).unwrap();
    assert_eq!(decode_protocol(&mut output).unwrap(), Some(Protocol::Amqp));
    let answer = decode_frame(&mut output, MAX_FRAME).unwrap().unwrap().performative;
    let Some(Performative::Open(answer)) = answer else { panic!("no open: {answer:?}") };
    assert_eq!((answer.max_frame_size, answer.channel_max), (1024, 1));
    assert_eq!(answer.idle_timeout_ms, Some(30_000), "half of what is tolerated");
}

#[test]
fn a_login_is_refused() {
    let refused = |frame: SaslFrame| {
        let mut output = BytesMut::new();
        let error = login().receive(&mut sasl_input(&frame), &mut output).unwrap_err();
        decode_protocol(&mut output).unwrap();
        decode_sasl(&mut output, 512).unwrap();
        (error, decode_sasl(&mut output, 512).unwrap())
    };
    let (error, outcome) = refused(init("EXTERNAL"));
    assert!(matches!(error, ServerError::SaslRefused { code: SaslCode::Auth, .. }), "{error:?}");
    assert_eq!(outcome, Some(SaslFrame::Outcome(SaslCode::Auth)));
    let (error, outcome) = refused(SaslFrame::Response(Bytes::new()));
    assert!(matches!(error, ServerError::Violation(_)), "{error:?}");
    assert_eq!(outcome, None);

    let (mut login, mut output) = (self::login(), BytesMut::new());
    let error = login.receive(&mut BytesMut::from(&b"GET / HT"[..]), &mut output).unwrap_err();
    assert_eq!(error, ServerError::Malformed(DecodeError::Protocol));
    assert_eq!(decode_protocol(&mut output).unwrap(), Some(Protocol::Sasl), "what the server speaks");

    let mut login = self::login();
    let mut challenges = 0;
    while login.challenge(Bytes::new(), &mut output).is_ok() {
        challenges += 1;
    }
    assert_eq!(challenges, 16);
}

#[test]
fn an_open_is_refused_with_a_reason() {
    for (max_frame_size, condition) in
        [(511, condition::INVALID_FIELD), (512, condition::UNAUTHORIZED_ACCESS)]
    {
        let (mut login, mut output) = (login(), BytesMut::new());
        let mut input = open_input(max_frame_size);
        assert_eq!(login.receive(&mut input, &mut output).unwrap(), Some(LoginStart::Bare));
        let mut opening = login.skip_sasl(&mut output);
        let error = match opening.receive(&mut input, &mut output) {
            Ok(open) => {
                let max_frame = opening.client_max_frame(&open.unwrap());
                let refusal = AmqpError::new(condition::UNAUTHORIZED_ACCESS, "no certificate");
                opening.refuse(max_frame, refusal, &mut output)
            }
            Err(error) => error,
        };
        assert!(matches!(&error, ServerError::Unwelcome(it) if it.condition == condition), "{error:?}");
        assert_eq!(decode_protocol(&mut output).unwrap(), Some(Protocol::Amqp));
        let frames: Vec<_> = std::iter::from_fn(|| decode_frame(&mut output, MAX_FRAME).unwrap())
            .map(|frame| brief(&frame.performative.unwrap()))
            .collect();
        assert_eq!(frames, ["open", "close"]);
    }
}
