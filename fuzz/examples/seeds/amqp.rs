//! Seeds of AMQP: what devices send, and what servers answer.

use bytes::{Bytes, BytesMut};
use codec::amqp::{
    AmqpError, Attach, Begin, Body, Close, DeliveryState, Detach, Disposition, End, Entries, Flow, Frame,
    LinkFlow, Message, MessageId, Open, Performative, Properties, Protocol, Role, SaslCode, SaslFrame,
    SaslInit, SettleMode, Terminus, Transfer, Value, encode_frame, encode_protocol, encode_sasl,
};
use muster_fuzz::service::{SCOPE, device_token};
use testkit::sample;

use crate::put;

/// Writes them all.
pub fn write() {
    let address = format!("{SCOPE}/registrations/dev-1");
    let register = Message {
        properties: Properties { correlation_id: Some(MessageId::Uuid([7; 16])), ..Properties::default() },
        application: Entries::new().with("iotdps-operation-type", "iotdps-register"),
        body: Body::of(r#"{"registrationId":"dev-1"}"#),
        ..Message::default()
    };
    let poll = Message {
        application: Entries::new()
            .with("iotdps-operation-type", "iotdps-get-operationstatus")
            .with("iotdps-operation-id", "5.0.0"),
        body: Body::Value("".into()),
        ..Message::default()
    };
    let twin = Message {
        annotations: Entries::new().with("status", 200).with("version", 7i64).with("x", Value::Null),
        body: Body::Value(Value::List(vec![Value::Map(vec![("a".into(), Value::Double(0.5))])])),
        ..Message::default()
    };
    for (name, message) in [("register", &register), ("poll", &poll), ("twin", &twin)] {
        put("amqp_message", name, &message.encode().expect("a message"));
    }
    sasl(&address);
    let beginning = beginning(&address);
    let requests = [transfer(0, 0, &register), transfer(0, 1, &poll)];
    put("amqp_frames", "beginning", &[header(Protocol::Amqp), frames(&beginning)].concat());
    put("amqp_frames", "requests", &frames(&requests));
    put("amqp_frames", "ending", &frames(&ending()));
    let token = device_token(SCOPE, "dev-1");
    for (name, password) in [("symmetric_key", token.as_str()), ("bad_token", "x")] {
        let life = [
            header(Protocol::Sasl),
            sasl_frame(&plain(&address, password)),
            header(Protocol::Amqp),
            frames(&beginning),
            frames(&requests),
            frames(&ending()),
        ];
        put("device_amqp", name, &life.concat());
    }
    put("device_amqp", "bare", &[header(Protocol::Amqp), frames(&beginning)].concat());
    for (name, life) in edges(&address, &beginning, &register) {
        let login = [header(Protocol::Sasl), sasl_frame(&plain(&address, &token)), header(Protocol::Amqp)];
        put("device_amqp", name, &[login.concat(), life].concat());
    }
    put("device_amqp", "tpm", &by_tpm());
}

/// What clients may do and hardly any does.
fn edges(address: &str, beginning: &[Performative], register: &Message) -> [(&'static str, Vec<u8>); 4] {
    let mut small = beginning.to_vec();
    if let [Performative::Open(open), _, Performative::Attach(attach), ..] = &mut small[..] {
        open.max_frame_size = 512;
        attach.name = "n".repeat(200);
    }
    small.push(transfer(0, 0, &Message { body: Body::of("{"), ..register.clone() }));
    small.push(attach(2, Role::Sender, &address.replace("dev-1", &"d".repeat(100))));

    let mut wraps = beginning.to_vec();
    if let [_, Performative::Begin(begin), ..] = &mut wraps[..] {
        (begin.next_outgoing_id, begin.incoming_window) = (u32::MAX, 1);
    }
    wraps.push(transfer(0, u32::MAX, register));
    wraps.push(flow(u32::MAX, u32::MAX, false));
    wraps.push(flow(u32::MAX, 3, true));
    let last = Some(3);
    let (role, state) = (Role::Receiver, Some(DeliveryState::Accepted));
    wraps.push(Performative::Disposition(Disposition { role, first: u32::MAX, last, settled: false, state }));

    let Performative::Transfer(whole) = transfer(0, 0, register) else { return Default::default() };
    let part = |range, more, aborted| {
        let payload = whole.payload.slice(range);
        Performative::Transfer(Transfer { payload, more, aborted, ..whole.clone() })
    };
    let cut = [
        part(0..9, true, false),
        part(9..9, true, true),
        part(0..20, true, false),
        part(20..whole.payload.len(), false, false),
        Performative::Transfer(Transfer { resume: true, ..whole.clone() }),
    ];
    let again = [on_channel(1, &beginning[1..]), on_channel(1, &[transfer(0, 0, register)])].concat();
    let end = on_channel(0, &[Performative::End(End { error: None })]);
    [
        ("small_frames", frames(&small)),
        ("wraps", frames(&wraps)),
        ("parts", [frames(beginning), frames(&cut)].concat()),
        ("sessions", [frames(beginning), again, end, frames(&beginning[1..])].concat()),
    ]
}

/// Credit for the link to the client, counted from anywhere.
fn flow(from: u32, granted: u32, drain: bool) -> Performative {
    let link = LinkFlow {
        handle: 1,
        delivery_count: Some(from),
        link_credit: Some(granted),
        available: Some(u32::MAX),
        drain,
    };
    let window = Flow { next_incoming_id: Some(from), incoming_window: granted, ..Flow::default() };
    Performative::Flow(Flow { link: Some(link), echo: true, ..window })
}

/// A login by a TPM that is not enrolled.
fn by_tpm() -> Vec<u8> {
    let key = sample::tpm_public(7);
    let first = [format!("\0{SCOPE}\0dev-1\0").as_bytes(), &key[..]].concat();
    let init = SaslInit {
        mechanism: "TPM".into(),
        initial_response: Some(first.into()),
        hostname: Some(SCOPE.into()),
    };
    let response = |bytes: &[u8]| SaslFrame::Response([&[0], bytes].concat().into());
    let dialogue = [SaslFrame::Init(init), response(&key), response(&[]), response(b"token")];
    [header(Protocol::Sasl), dialogue.iter().map(sasl_frame).collect::<Vec<_>>().concat()].concat()
}

fn sasl(address: &str) {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let names = ["PLAIN", "TPM"].map(str::to_owned).to_vec();
    let dialogue =
        [plain(address, "token"), SaslFrame::Challenge(bytes("\0")), SaslFrame::Response(bytes("\0key"))];
    put("amqp_sasl", "dialogue", &dialogue.iter().map(sasl_frame).collect::<Vec<_>>().concat());
    let answers = [SaslFrame::Mechanisms(names), SaslFrame::Outcome(SaslCode::Auth)];
    put("amqp_sasl", "answers", &answers.iter().map(sasl_frame).collect::<Vec<_>>().concat());
}

/// What a client says that has a password.
pub fn plain(name: &str, password: &str) -> SaslFrame {
    SaslFrame::Init(SaslInit {
        mechanism: "PLAIN".into(),
        initial_response: Some(format!("\0{name}\0{password}").into()),
        hostname: Some("localhost".into()),
    })
}

/// A connection with a session and a link each way.
pub fn beginning(address: &str) -> Vec<Performative> {
    let open = Open {
        container_id: "device".into(),
        hostname: Some("localhost".into()),
        max_frame_size: 65_536,
        channel_max: 0,
        idle_timeout_ms: Some(240_000),
    };
    let begin = Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 100,
        outgoing_window: 100,
        handle_max: 7,
    };
    vec![
        Performative::Open(open),
        Performative::Begin(begin),
        attach(0, Role::Sender, address),
        attach(1, Role::Receiver, address),
        credit(1),
    ]
}

/// A link to or from this address.
pub fn attach(handle: u32, role: Role, address: &str) -> Performative {
    let (far, near) = (Terminus { address: Some(address.to_owned()) }, Terminus::default());
    let (source, target) = if role == Role::Sender { (near, far) } else { (far, near) };
    Performative::Attach(Attach {
        name: format!("link-{handle}"),
        handle,
        role,
        settle_mode: SettleMode::Mixed,
        source: Some(source),
        target: Some(target),
        initial_delivery_count: Some(0),
        max_message_size: None,
        properties: Entries::new().with("com.microsoft:api-version", "2021-06-01"),
    })
}

/// Credit for a link to the client.
pub fn credit(handle: u32) -> Performative {
    let link =
        LinkFlow { handle, delivery_count: Some(0), link_credit: Some(10), available: None, drain: false };
    Performative::Flow(Flow {
        incoming_window: 100,
        outgoing_window: 100,
        link: Some(link),
        ..Flow::default()
    })
}

/// A whole message in one transfer.
pub fn transfer(handle: u32, delivery_id: u32, message: &Message) -> Performative {
    Performative::Transfer(Transfer {
        handle,
        delivery_id: Some(delivery_id),
        delivery_tag: Some(Bytes::from_static(b"tag")),
        message_format: Some(0),
        settled: Some(false),
        more: false,
        state: None,
        resume: false,
        aborted: false,
        payload: message.encode().expect("a message"),
    })
}

fn ending() -> Vec<Performative> {
    let error = AmqpError::new("amqp:not-found", "nothing here");
    vec![
        Performative::Disposition(Disposition {
            role: Role::Receiver,
            first: 0,
            last: Some(3),
            settled: true,
            state: Some(DeliveryState::Rejected(Some(error.clone()))),
        }),
        Performative::Detach(Detach { handle: 0, closed: true, error: Some(error) }),
        Performative::End(End { error: None }),
        Performative::Close(Close { error: None }),
    ]
}

/// A protocol header.
pub fn header(protocol: Protocol) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_protocol(protocol, &mut bytes);
    bytes.to_vec()
}

/// A frame of the SASL layer.
pub fn sasl_frame(frame: &SaslFrame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_sasl(frame, 1024, &mut bytes).expect("a frame");
    bytes.to_vec()
}

/// Frames on channel 0.
pub fn frames(performatives: &[Performative]) -> Vec<u8> {
    on_channel(0, performatives)
}

fn on_channel(channel: u16, performatives: &[Performative]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for performative in performatives {
        let frame = Frame { channel, performative: Some(performative.clone()) };
        encode_frame(&frame, 65_536, &mut bytes).expect("a frame");
    }
    bytes.to_vec()
}
