//! Tests of the codec: round trips, hostile bytes, and a table of malformed packets.

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::notation::bytes;

pub(super) const LIMIT: usize = 100_000;

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn packet_id() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("no U+0000", |character| *character != '\0'), 0..20)
        .prop_map(|characters| characters.into_iter().collect())
}

fn topic() -> impl Strategy<Value = String> {
    text().prop_filter("a topic", |text| is_topic(text))
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![topic(), Just("+".to_owned())];
    (level.clone(), vec(level, 0..3), any::<bool>()).prop_map(|(first, more, open)| {
        let mut levels = vec![first];
        levels.extend(more);
        levels.extend(open.then(|| "#".to_owned()));
        levels.join("/")
    })
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn will() -> impl Strategy<Value = Will> {
    (topic(), binary(), qos(), any::<bool>()).prop_map(|(topic, payload, qos, retain)| Will {
        topic,
        payload,
        qos,
        retain,
    })
}

fn connect() -> impl Strategy<Value = Connect> {
    let credentials = option::of((text(), option::of(binary())));
    (any::<bool>(), any::<u16>(), text(), option::of(will()), credentials).prop_map(
        |(clean_session, keep_alive_secs, client_id, will, credentials)| {
            let (username, password) = credentials.unzip();
            Connect {
                clean_session,
                keep_alive_secs,
                client_id,
                will,
                username,
                password: password.flatten(),
            }
        },
    )
}

fn publish() -> impl Strategy<Value = Publish> {
    (any::<bool>(), qos(), any::<bool>(), topic(), packet_id(), binary()).prop_map(
        |(dup, qos, retain, topic, id, payload)| {
            let acknowledged = qos != QoS::AtMostOnce;
            let packet_id = acknowledged.then_some(id);
            Publish { dup: dup && acknowledged, qos, retain, topic, packet_id, payload }
        },
    )
}

fn conn_ack() -> impl Strategy<Value = ConnAck> {
    (any::<bool>(), 0..=5u8).prop_map(|(present, code)| ConnAck {
        session_present: present && code == 0,
        code: ConnectReturnCode::from_byte(code).unwrap(),
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let code = prop_oneof![qos().prop_map(SubscribeReturn::Granted), Just(SubscribeReturn::Failure)];
    prop_oneof![
        connect().prop_map(Packet::Connect),
        conn_ack().prop_map(Packet::ConnAck),
        publish().prop_map(Packet::Publish),
        packet_id().prop_map(Packet::PubAck),
        packet_id().prop_map(Packet::PubRec),
        packet_id().prop_map(Packet::PubRel),
        packet_id().prop_map(Packet::PubComp),
        (packet_id(), vec((filter(), qos()), 1..4))
            .prop_map(|(packet_id, filters)| Packet::Subscribe(Subscribe { packet_id, filters })),
        (packet_id(), vec(code, 1..4))
            .prop_map(|(packet_id, codes)| Packet::SubAck(SubAck { packet_id, codes })),
        (packet_id(), vec(filter(), 1..4))
            .prop_map(|(packet_id, filters)| Packet::Unsubscribe(Unsubscribe { packet_id, filters })),
        packet_id().prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::Disconnect),
    ]
}

fn encoded(packets: &[Packet]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        encode(packet, &mut bytes).unwrap();
    }
    bytes
}

proptest! {
    /// Packets are decoded equally, whole or in pieces.
    #[test]
    fn round_trip_in_pieces(packets in vec(packet(), 1..5), piece in 1..50usize) {
        let bytes = encoded(&packets);
        let mut arrived = BytesMut::new();
        let mut decoded = Vec::new();
        for chunk in bytes.chunks(piece) {
            arrived.extend_from_slice(chunk);
            while let Some(packet) = decode(&mut arrived, LIMIT).unwrap() {
                decoded.push(packet);
            }
        }
        prop_assert_eq!(decoded, packets);
        prop_assert!(arrived.is_empty());
    }

    /// A packet that hostile bytes decode to means the same when it is encoded again.
    #[test]
    fn any_bytes(first in any::<u8>(), body in vec(any::<u8>(), 0..120), fit in any::<bool>()) {
        let mut bytes = BytesMut::from(&[first][..]);
        if fit {
            bytes.extend_from_slice(&[body.len() as u8]);
        }
        bytes.extend_from_slice(&body);
        prop_assert!(means_the_same_again(bytes));
    }

    /// So does a good packet with a changed bit.
    #[test]
    fn flipped_bit(packet in packet(), position in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = encoded(&[packet]);
        let index = position.index(bytes.len());
        bytes[index] ^= 1 << bit;
        prop_assert!(means_the_same_again(bytes));
    }
}

/// Whether bytes decode to no packet, or to one that is the same after it was encoded again.
fn means_the_same_again(mut bytes: BytesMut) -> bool {
    match decode(&mut bytes, LIMIT) {
        Ok(Some(packet)) => decode(&mut encoded(std::slice::from_ref(&packet)), LIMIT) == Ok(Some(packet)),
        Ok(None) | Err(_) => true,
    }
}

#[test]
fn unusual_but_valid_packets_are_taken() {
    // A user name may be empty, and a client identifier missing.
    let connect = r#"10 0e 00 04 "MQTT" 04 82 00 00 00 00 00 00"#;
    let Some(Packet::Connect(connect)) = decode(&mut bytes(connect), LIMIT).unwrap() else {
        panic!("no CONNECT")
    };
    assert_eq!((connect.client_id.as_str(), connect.username.as_deref()), ("", Some("")));
}

#[test]
fn the_size_limit_counts_the_whole_packet() {
    let exact = encoded(&[Packet::PubAck(1)]);
    assert_eq!(decode(&mut exact.clone(), 4), Ok(Some(Packet::PubAck(1))));
    assert_eq!(decode(&mut exact.clone(), 3), Err(DecodeError::TooLarge { size: 4, limit: 3 }));
    // Known from the first bytes, long before the packet is there.
    assert_eq!(
        decode(&mut bytes("30 80 80 04"), 65_000),
        Err(DecodeError::TooLarge { size: 65_540, limit: 65_000 })
    );
    assert_eq!(decode(&mut bytes("30 80 80"), 65_000), Ok(None));
}

#[test]
fn lengths_at_the_edges_of_their_encoding() {
    for (payload, header) in [(124, 2), (125, 3), (16_380, 3), (16_381, 4), (2_097_148, 4), (2_097_149, 5)] {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t".to_owned(),
            packet_id: None,
            payload: Bytes::from(vec![7; payload]),
        };
        let mut bytes = encoded(&[Packet::Publish(publish.clone())]);
        assert_eq!(bytes.len(), header + 3 + payload);
        assert_eq!(decode(&mut bytes, usize::MAX), Ok(Some(Packet::Publish(publish))));
    }
}

#[test]
fn what_has_no_form_is_not_encoded() {
    let publish = |topic: &str, qos, packet_id| {
        let (topic, payload) = (topic.to_owned(), Bytes::new());
        Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, payload })
    };
    let connect = |client_id: &str, password: Option<&'static [u8]>| {
        Packet::Connect(Connect {
            clean_session: true,
            keep_alive_secs: 0,
            client_id: client_id.to_owned(),
            will: None,
            username: None,
            password: password.map(Bytes::from_static),
        })
    };
    let subscribe = |filters: &[&str]| {
        let filters = filters.iter().map(|filter| ((*filter).to_owned(), QoS::AtMostOnce)).collect();
        Packet::Subscribe(Subscribe { packet_id: 1, filters })
    };
    for (packet, reason) in [
        (publish("a/#", QoS::AtMostOnce, None), EncodeError::Topic),
        (publish("a", QoS::AtMostOnce, Some(1)), EncodeError::PacketId),
        (publish("a", QoS::AtLeastOnce, None), EncodeError::PacketId),
        (publish("a", QoS::AtLeastOnce, Some(0)), EncodeError::PacketId),
        (publish(&"a".repeat(65_536), QoS::AtMostOnce, None), EncodeError::StringTooLong),
        (connect("a\0", None), EncodeError::NulCharacter),
        (connect("a", Some(b"pw")), EncodeError::PasswordWithoutUserName),
        (subscribe(&[]), EncodeError::NoFilters),
        (subscribe(&["a", "b+"]), EncodeError::Filter),
        (Packet::PubAck(0), EncodeError::PacketId),
        (
            Packet::ConnAck(ConnAck { session_present: true, code: ConnectReturnCode::NotAuthorized }),
            EncodeError::ConnAck,
        ),
    ] {
        let mut out = BytesMut::from("before");
        assert_eq!(encode(&packet, &mut out), Err(reason), "{packet:?}");
        assert_eq!(out, "before");
    }
}

#[test]
fn secrets_are_not_printed() {
    let connect = Connect {
        clean_session: true,
        keep_alive_secs: 1,
        client_id: "c".to_owned(),
        will: Some(Will {
            topic: "t".to_owned(),
            payload: Bytes::from_static(b"hush"),
            qos: QoS::AtMostOnce,
            retain: false,
        }),
        username: Some("u".to_owned()),
        password: Some(Bytes::from_static(b"hush")),
    };
    let printed = format!("{:?}", Packet::Connect(connect));
    assert!(!printed.contains("hush") && !printed.contains("104"), "{printed}");
}
