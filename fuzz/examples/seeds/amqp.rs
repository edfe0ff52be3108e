//! Seeds of AMQP: what devices send, and what servers answer.

use bytes::{Bytes, BytesMut};
use muster_fuzz::service::{SCOPE, device_token};
use wire::amqp::{
    AmqpError, Attach, Begin, Body, Close, DeliveryState, Detach, Disposition, End, Entries, Flow, Frame,
    LinkFlow, Message, MessageId, Open, Performative, Properties, Protocol, Role, SaslCode, SaslFrame,
    SaslInit, SettleMode, Terminus, Transfer, Value, encode_frame, encode_protocol, encode_sasl,
};

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
    let mut bytes = BytesMut::new();
    for performative in performatives {
        let frame = Frame { channel: 0, performative: Some(performative.clone()) };
        encode_frame(&frame, 65_536, &mut bytes).expect("a frame");
    }
    bytes.to_vec()
}
