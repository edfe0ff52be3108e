//! Tests of the codec: what SDKs send, round trips, hostile bytes.

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::notation::bytes;

pub(super) const LIMIT: usize = 100_000;

/// Returns a frame of a type with this body.
pub(super) fn framed(kind: u8, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&u32::try_from(body.len() + 8).unwrap().to_be_bytes());
    frame.extend_from_slice(&[2, kind, 0, 0]);
    frame.extend_from_slice(body);
    frame
}

/// Returns a message whose value is nested lists.
pub(super) fn nested(depth: usize) -> Vec<u8> {
    let mut value = vec![0x45];
    for _ in 0..depth {
        let mut outer = vec![0xd0];
        outer.extend(u32::try_from(value.len() + 4).unwrap().to_be_bytes());
        outer.extend([0, 0, 0, 1]);
        outer.append(&mut value);
        value = outer;
        if value.len() > 60_000 {
            break; // deep enough for any stack
        }
    }
    [&[0, 0x53, 0x77][..], &value].concat()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(any::<char>(), 0..20).prop_map(|characters| characters.into_iter().collect::<String>()),
        1 => "x{300}",
    ]
}

fn symbol() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ -~]{0,20}", 1 => "x{300}"]
}

fn binary() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 300)].prop_map(Bytes::from)
}

fn simple() -> BoxedStrategy<Value> {
    prop_oneof![
        binary().prop_map(Value::Binary),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::Byte),
        any::<char>().prop_map(Value::Char),
        prop_oneof![Just(4), Just(8), Just(16)].prop_map(|width| Value::Decimal(vec![9; width].into())),
        any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()).prop_map(Value::Double),
        any::<f32>().prop_filter("equal to itself", |number| !number.is_nan()).prop_map(Value::Float),
        prop_oneof![any::<i32>(), -200..200].prop_map(Value::Int),
        prop_oneof![any::<i64>(), -200..200i64].prop_map(Value::Long),
        Just(Value::Null),
        any::<i16>().prop_map(Value::Short),
        text().prop_map(Value::String),
        symbol().prop_map(Value::Symbol),
        any::<i64>().prop_map(Value::Timestamp),
        any::<u8>().prop_map(Value::UByte),
        prop_oneof![any::<u32>(), 0..300u32].prop_map(Value::UInt),
        prop_oneof![any::<u64>(), 0..300u64].prop_map(Value::ULong),
        any::<u16>().prop_map(Value::UShort),
        any::<[u8; 16]>().prop_map(Value::Uuid),
    ]
    .boxed()
}

fn array() -> impl Strategy<Value = Value> {
    prop_oneof![
        vec(symbol().prop_map(Value::Symbol), 0..4),
        vec(any::<u64>().prop_map(Value::ULong), 0..300),
        vec(any::<bool>().prop_map(Value::Bool), 0..4),
    ]
    .prop_map(Value::Array)
}

fn value() -> BoxedStrategy<Value> {
    let compound = |inner: BoxedStrategy<Value>| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Map),
            (inner.clone(), inner).prop_map(|described| Value::Described(Box::new(described))),
        ]
    };
    prop_oneof![4 => simple(), 1 => array()].prop_recursive(4, 40, 6, compound).boxed()
}

fn entries() -> BoxedStrategy<Entries> {
    vec((text(), simple()), 0..4).prop_map(|pairs| pairs.into_iter().collect()).boxed()
}

fn error() -> BoxedStrategy<AmqpError> {
    (text(), option::of(text()), entries())
        .prop_map(|(condition, description, details)| AmqpError { condition, description, details })
        .boxed()
}

fn state() -> BoxedStrategy<DeliveryState> {
    prop_oneof![
        Just(DeliveryState::Accepted),
        Just(DeliveryState::Released),
        option::of(error()).prop_map(DeliveryState::Rejected),
        (any::<u32>(), any::<u64>())
            .prop_map(|(section, offset)| DeliveryState::Received { section, offset }),
        (any::<bool>(), any::<bool>()).prop_map(|(delivery_failed, undeliverable_here)| {
            DeliveryState::Modified { delivery_failed, undeliverable_here }
        }),
    ]
    .boxed()
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Sender), Just(Role::Receiver)]
}

fn terminus() -> impl Strategy<Value = Option<Terminus>> {
    option::of(option::of(text()).prop_map(|address| Terminus { address }))
}

fn attach() -> impl Strategy<Value = Performative> {
    let mode = prop_oneof![Just(SettleMode::Mixed), Just(SettleMode::Settled), Just(SettleMode::Unsettled)];
    let counts = (option::of(any::<u32>()), option::of(any::<u64>()));
    ((text(), any::<u32>(), role(), mode), terminus(), terminus(), counts, entries()).prop_map(
        |((name, handle, role, settle_mode), source, target, counts, properties)| {
            let (initial_delivery_count, max_message_size) = counts;
            Performative::Attach(Attach {
                name,
                handle,
                role,
                settle_mode,
                source,
                target,
                initial_delivery_count,
                max_message_size,
                properties,
            })
        },
    )
}

fn flow() -> impl Strategy<Value = Performative> {
    let link = (any::<u32>(), option::of(any::<u32>()), option::of(any::<u32>()), any::<bool>()).prop_map(
        |(handle, delivery_count, link_credit, drain)| LinkFlow {
            handle,
            delivery_count,
            link_credit,
            available: None,
            drain,
        },
    );
    (option::of(any::<u32>()), any::<[u32; 3]>(), option::of(link), any::<bool>()).prop_map(
        |(next_incoming_id, [incoming_window, next_outgoing_id, outgoing_window], link, echo)| {
            Performative::Flow(Flow {
                next_incoming_id,
                incoming_window,
                next_outgoing_id,
                outgoing_window,
                link,
                echo,
            })
        },
    )
}

fn transfer() -> impl Strategy<Value = Performative> {
    let ids = (any::<u32>(), option::of(any::<u32>()), option::of(binary()), option::of(any::<u32>()));
    let flags = (option::of(any::<bool>()), any::<[bool; 3]>());
    (ids, flags, option::of(state()), binary()).prop_map(
        |((handle, delivery_id, delivery_tag, message_format), (settled, flags), state, payload)| {
            let [more, resume, aborted] = flags;
            Performative::Transfer(Transfer {
                handle,
                delivery_id,
                delivery_tag,
                message_format,
                settled,
                more,
                state,
                resume,
                aborted,
                payload,
            })
        },
    )
}

fn performative() -> BoxedStrategy<Performative> {
    let open = (text(), option::of(text()), any::<u32>(), any::<u16>(), option::of(any::<u32>())).prop_map(
        |(container_id, hostname, max_frame_size, channel_max, idle_timeout_ms)| {
            Performative::Open(Open { container_id, hostname, max_frame_size, channel_max, idle_timeout_ms })
        },
    );
    let begin = (option::of(any::<u16>()), any::<[u32; 4]>()).prop_map(|(remote_channel, numbers)| {
        let [next_outgoing_id, incoming_window, outgoing_window, handle_max] = numbers;
        Performative::Begin(Begin {
            remote_channel,
            next_outgoing_id,
            incoming_window,
            outgoing_window,
            handle_max,
        })
    });
    let disposition = (role(), any::<u32>(), option::of(any::<u32>()), any::<bool>(), option::of(state()))
        .prop_map(|(role, first, last, settled, state)| {
            Performative::Disposition(Disposition { role, first, last, settled, state })
        });
    let error = || option::of(error());
    prop_oneof![
        open,
        begin,
        attach(),
        flow(),
        transfer(),
        disposition,
        (any::<u32>(), any::<bool>(), error())
            .prop_map(|(handle, closed, error)| Performative::Detach(Detach { handle, closed, error })),
        error().prop_map(|error| Performative::End(End { error })),
        error().prop_map(|error| Performative::Close(Close { error })),
    ]
    .boxed()
}

fn frame() -> impl Strategy<Value = Frame> {
    (any::<u16>(), option::weighted(0.9, performative()))
        .prop_map(|(channel, performative)| Frame { channel, performative })
}

fn sasl() -> impl Strategy<Value = SaslFrame> {
    let init = (text(), option::of(binary()), option::of(text())).prop_map(
        |(mechanism, initial_response, hostname)| {
            SaslFrame::Init(SaslInit { mechanism, initial_response, hostname })
        },
    );
    let code = prop_oneof![Just(SaslCode::Ok), Just(SaslCode::Auth), Just(SaslCode::SystemTemporary)];
    prop_oneof![
        init,
        vec(symbol(), 0..4).prop_map(SaslFrame::Mechanisms),
        binary().prop_map(SaslFrame::Challenge),
        binary().prop_map(SaslFrame::Response),
        code.prop_map(SaslFrame::Outcome),
    ]
}

fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        binary().prop_map(MessageId::Binary),
        text().prop_map(MessageId::String),
        any::<u64>().prop_map(MessageId::ULong),
        any::<[u8; 16]>().prop_map(MessageId::Uuid),
    ]
}

fn message() -> BoxedStrategy<Message> {
    let ids = (option::of(message_id()), option::of(message_id()), option::of(binary()));
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let properties = (ids, texts, option::of(any::<i64>())).prop_map(
        |(
            (message_id, correlation_id, user_id),
            (to, reply_to, content_type, content_encoding),
            creation_time_ms,
        )| {
            Properties {
                message_id,
                user_id,
                to,
                subject: None,
                reply_to,
                correlation_id,
                content_type,
                content_encoding,
                absolute_expiry_time_ms: None,
                creation_time_ms,
            }
        },
    );
    let body = prop_oneof![vec(binary(), 1..3).prop_map(Body::Data), value().prop_map(Body::Value)];
    (entries(), properties, entries(), body)
        .prop_map(|(annotations, properties, application, body)| Message {
            annotations,
            properties,
            application,
            body,
        })
        .boxed()
}

proptest! {
    /// Frames are decoded equally, whole or in pieces.
    #[test]
    fn frames_round_trip_in_any_pieces(frames in vec(frame(), 1..4), piece in 1..40usize) {
        let mut sent = BytesMut::new();
        for frame in &frames {
            encode_frame(frame, LIMIT, &mut sent).unwrap();
        }
        let (mut arrived, mut decoded) = (BytesMut::new(), Vec::new());
        for piece in sent.chunks(piece) {
            arrived.extend_from_slice(piece);
            while let Some(frame) = decode_frame(&mut arrived, LIMIT).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
        prop_assert!(arrived.is_empty());
    }

    #[test]
    fn sasl_round_trips(frame in sasl()) {
        let mut sent = BytesMut::new();
        encode_sasl(&frame, LIMIT, &mut sent).unwrap();
        prop_assert_eq!(decode_sasl(&mut sent, LIMIT), Ok(Some(frame)));
        prop_assert!(sent.is_empty());
    }

    #[test]
    fn messages_round_trip(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message));
    }

    /// What hostile bytes decode to is written in the same bytes again and again.
    #[test]
    fn any_bytes(
        descriptor in prop_oneof![0x10..0x19u8, 0x40..0x45u8, 0x70..0x79u8], body in vec(any::<u8>(), 0..120),
    ) {
        let body = [&[0, 0x53, descriptor][..], &body].concat();
        prop_assert!(frame_is_stable(framed(0, &body)));
        prop_assert!(message_is_stable(&body));
        if let Ok(Some(frame)) = decode_sasl(&mut framed(1, &body), LIMIT) {
            let mut again = BytesMut::new();
            encode_sasl(&frame, LIMIT, &mut again).unwrap();
            prop_assert_eq!(decode_sasl(&mut again, LIMIT), Ok(Some(frame)));
        }
    }

    /// So are a good frame and a good message with a changed bit.
    #[test]
    fn flipped_bit(frame in frame(), message in message(), position in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = BytesMut::new();
        encode_frame(&frame, LIMIT, &mut bytes).unwrap();
        let index = position.index(bytes.len());
        bytes[index] ^= 1 << bit;
        prop_assert!(frame_is_stable(bytes));
        let mut payload = message.encode().unwrap().to_vec();
        let index = position.index(payload.len());
        payload[index] ^= 1 << bit;
        prop_assert!(message_is_stable(&payload));
    }
}

/// Whether bytes decode to no frame, or to one that is written in the same bytes after it was read from them. Values are not
/// compared, because a number may be no number, which differs from itself.
fn frame_is_stable(mut bytes: BytesMut) -> bool {
    let written = |frame: &Frame| {
        let mut written = BytesMut::new();
        encode_frame(frame, LIMIT, &mut written).unwrap();
        written
    };
    let Ok(Some(frame)) = decode_frame(&mut bytes, LIMIT) else { return true };
    let once = written(&frame);
    written(&decode_frame(&mut once.clone(), LIMIT).unwrap().unwrap()) == once
}

/// The same for a message.
fn message_is_stable(payload: &[u8]) -> bool {
    let Ok(message) = Message::decode(payload) else { return true };
    let once = message.encode().unwrap();
    Message::decode(&once).unwrap().encode().unwrap() == once
}

fn performed(frame: &str) -> Performative {
    let mut bytes = bytes(frame);
    let frame = decode_frame(&mut bytes, LIMIT).unwrap().unwrap();
    assert!(bytes.is_empty());
    frame.performative.unwrap()
}

/// The C SDK opens a connection, a session and its two links thus.
#[test]
fn what_an_sdk_sends_is_read() {
    let open = performed(
        r#"00 00 00 31 02 00 00 00 00 53 10 c0 24 04 a1 0f "prov_connection" a1 08 "dps.test" 70 ff ff ff ff 60 ff ff"#,
    );
    let expected = Open {
        container_id: "prov_connection".into(),
        hostname: Some("dps.test".into()),
        max_frame_size: u32::MAX,
        channel_max: u16::MAX,
        idle_timeout_ms: None,
    };
    assert_eq!(open, Performative::Open(expected));
    let begin = performed("00 00 00 1a 02 00 00 00 00 53 11 c0 0d 04 40 43 70 7f ff ff ff 70 00 01 00 00");
    let Performative::Begin(begin) = begin else { panic!("{begin:?}") };
    assert_eq!(
        (begin.incoming_window, begin.outgoing_window, begin.handle_max),
        (0x7fff_ffff, 0x1_0000, u32::MAX)
    );
    let attach = performed(concat!(
        r#"00 00 00 5f 02 00 00 00 00 53 12 c0 52 0e a1 04 "recv" 43 41 50 00 50 00 "#,
        r#"00 53 28 c0 05 01 a1 02 "s1" 00 53 29 c0 05 01 a1 02 "t1" 40 40 40 "#,
        r#"80 00 00 00 00 00 01 00 00 40 40 "#,
        r#"c1 21 02 a3 12 "com.microsoft:apiv" a1 0a "2021-06-01""#,
    ));
    let Performative::Attach(attach) = attach else { panic!("{attach:?}") };
    assert_eq!(
        (attach.name.as_str(), attach.role, attach.settle_mode),
        ("recv", Role::Receiver, SettleMode::Unsettled)
    );
    let address = |terminus: Option<Terminus>| terminus.and_then(|terminus| terminus.address);
    assert_eq!(
        (address(attach.source).as_deref(), address(attach.target).as_deref()),
        (Some("s1"), Some("t1"))
    );
    assert_eq!(attach.max_message_size, Some(65_536));
    assert_eq!(attach.properties.text("com.microsoft:apiv"), Some("2021-06-01"));
}

#[test]
fn a_message_is_written_as_sdks_read_it() {
    let message = Message {
        properties: Properties {
            correlation_id: Some(MessageId::Uuid([7; 16])),
            content_type: Some("application/json; charset=utf-8".into()),
            ..Properties::default()
        },
        application: Entries::new().with("retry-after", 3),
        body: Body::of("{}"),
        ..Message::default()
    };
    let expected = concat!(
        r#"00 53 73 c0 38 07 40 40 40 40 40 98 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 "#,
        r#"a3 1f "application/json; charset=utf-8" "#,
        r#"00 53 74 c1 10 02 a1 0b "retry-after" 54 03 "#,
        r#"00 53 75 a0 02 "{}""#,
    );
    assert_eq!(message.encode().unwrap(), bytes(expected));
}

/// Brokers add sections on the way, and some annotations have numbers as names.
#[test]
fn unused_values_are_skipped() {
    let payload = bytes(concat!(
        "00 53 70 c0 02 01 41 ",
        r#"00 53 71 c1 05 02 a3 01 "x" 43 "#,
        r#"00 53 72 c1 08 04 53 07 43 a3 01 "y" 42 "#,
        "00 53 75 a0 01 01 00 53 75 a0 01 02 ",
        "00 53 78 c1 01 00",
    ));
    let message = Message::decode(&payload).unwrap();
    assert_eq!(message.annotations, Entries::new().with("y", false));
    assert_eq!(message.body.bytes().unwrap(), Bytes::from_static(&[1, 2]));
}

#[test]
fn bodies_as_bytes() {
    let text = |body: Body| body.bytes().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    assert_eq!(text(Body::Absent).as_deref(), Some(""));
    assert_eq!(text(Body::of("a")).as_deref(), Some("a"));
    assert_eq!(text(Body::Value(" ".into())).as_deref(), Some(" "));
    assert_eq!(text(Body::Value(Value::Binary(Bytes::from_static(b"b")))).as_deref(), Some("b"));
    assert_eq!(text(Body::Value(Value::Null)), None);
}

#[test]
fn headers() {
    let mut both = bytes(r#""AMQP" 03 01 00 00 "AMQP" 00 01 00 00 "AM""#);
    assert_eq!(decode_protocol(&mut both), Ok(Some(Protocol::Sasl)));
    assert_eq!(decode_protocol(&mut both), Ok(Some(Protocol::Amqp)));
    assert_eq!(decode_protocol(&mut both), Ok(None));
    for protocol in [Protocol::Amqp, Protocol::Sasl] {
        let mut header = BytesMut::new();
        encode_protocol(protocol, &mut header);
        assert_eq!(decode_protocol(&mut header), Ok(Some(protocol)));
    }
}

#[test]
fn the_size_limit_counts_the_whole_frame() {
    let empty = Frame { channel: 0, performative: None };
    let mut bytes = BytesMut::from("before");
    assert_eq!(encode_frame(&empty, 7, &mut bytes), Err(EncodeError::FrameTooLarge { size: 8, limit: 7 }));
    assert_eq!(bytes, "before");
    let mut frame = BytesMut::new();
    encode_frame(&empty, 8, &mut frame).unwrap();
    assert_eq!(decode_frame(&mut frame.clone(), 7), Err(DecodeError::TooLarge { size: 8, limit: 7 }));
    assert_eq!(decode_frame(&mut frame, 8), Ok(Some(empty)));
}

#[test]
fn what_has_no_form_is_not_encoded() {
    let put = |value| Message { body: Body::Value(value), ..Message::default() }.encode();
    assert_eq!(put(Value::Symbol("ä".into())), Err(EncodeError::Symbol));
    assert_eq!(put(Value::Decimal(Bytes::from_static(&[1]))), Err(EncodeError::Decimal));
    assert_eq!(put(Value::Array(vec![Value::Int(1), Value::Long(1)])), Err(EncodeError::Array));
    assert_eq!(put(Value::Array(vec![Value::List(vec![])])), Err(EncodeError::Array));
}

#[test]
fn numbers_of_any_width() {
    for value in [Value::Int(3), Value::Long(3), Value::UByte(3), Value::ULong(3), "3".into()] {
        assert_eq!(value.as_integer(), Some(3), "{value:?}");
    }
    assert_eq!(Value::ULong(u64::MAX).as_integer(), None);
    assert_eq!(Value::Symbol("3".into()).as_integer(), None);
}

#[test]
fn secrets_are_not_printed() {
    let hush = Bytes::from_static(b"hush");
    let init = SaslInit { mechanism: "PLAIN".into(), initial_response: Some(hush.clone()), hostname: None };
    let message = Message { body: Body::of(hush.clone()), ..Message::default() };
    let token = Message { body: Body::Value("hush".into()), ..Message::default() };
    let frames = [SaslFrame::Init(init), SaslFrame::Challenge(hush.clone()), SaslFrame::Response(hush)];
    let printed = format!("{frames:?} {message:?} {token:?}");
    assert!(!printed.contains("hush") && !printed.contains("104"), "{printed}");
}
