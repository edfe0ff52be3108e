//! Packets that MQTT 3.1.1 forbids, each with the reason it is refused for.

use crate::notation::bytes;

use super::{
    DecodeError::{self, *},
    decode,
    tests::LIMIT,
};

/// In the notation of [`bytes`].
const MALFORMED: &[(&str, DecodeError)] = &[
    ("00 00", UnknownType),
    ("f0 00", UnknownType),
    ("00", UnknownType),
    // Fixed header: judged before the rest arrives.
    ("11", HeaderFlags),
    ("60 02 00 01", HeaderFlags),
    ("80 06", HeaderFlags),
    ("83 06", HeaderFlags),
    ("a0 05", HeaderFlags),
    ("c1 00", HeaderFlags),
    ("e8 00", HeaderFlags),
    // Refused by the first two bytes; QoS 1 with DUP waits for more.
    ("38 03", Dup),
    ("39 05 00 01", Dup),
    ("30 ff ff ff ff", RemainingLength),
    ("30 80 80 80 80 01", RemainingLength),
    ("30 80 00", RemainingLength),
    ("30 85 80 00", RemainingLength),
    ("c0 01", RemainingLength),
    ("e0 02 00 00", RemainingLength),
    ("40 03", RemainingLength),
    ("20 01", RemainingLength),
    ("30 ff ff ff 7f", TooLarge { size: 268_435_455 + 5, limit: LIMIT }),
    // CONNECT.
    (r#"10 0c 00 04 "MQTT" 05 02 00 3c 00 00"#, UnsupportedProtocol { level: 5 }),
    (r#"10 0e 00 06 "MQIsdp" 03 02 00 3c 00 00"#, UnsupportedProtocol { level: 3 }),
    (r#"10 0c 00 04 "mqtt" 04 02 00 3c 00 00"#, UnsupportedProtocol { level: 4 }),
    (r#"10 0e 00 06 "MQTTxx" 04 02 00 3c 00 00"#, UnsupportedProtocol { level: 4 }),
    ("10 00", Truncated),
    (r#"10 06 00 04 "MQTT""#, Truncated),
    (r#"10 0c 00 04 "MQTT" 04 03 00 3c 00 00"#, ConnectFlags),
    (r#"10 10 00 04 "MQTT" 04 42 00 3c 00 00 00 02 "pw""#, PasswordWithoutUserName),
    (r#"10 0c 00 04 "MQTT" 04 0a 00 3c 00 00"#, WillFlags),
    (r#"10 0c 00 04 "MQTT" 04 22 00 3c 00 00"#, WillFlags),
    (r#"10 0c 00 04 "MQTT" 04 1e 00 3c 00 00"#, ReservedQos),
    (r#"10 11 00 04 "MQTT" 04 06 00 3c 00 00 00 01 "+" 00 00"#, Topic),
    (r#"10 0d 00 04 "MQTT" 04 02 00 3c 00 00 00"#, TrailingBytes),
    (r#"10 0d 00 04 "MQTT" 04 02 00 3c 00 05 "c""#, Truncated),
    (r#"10 0c 00 04 "MQTT" 04 82 00 3c 00 00"#, Truncated),
    (r#"10 0d 00 04 "MQTT" 04 02 00 3c 00 01 ff"#, NotUtf8),
    (r#"10 0f 00 04 "MQTT" 04 02 00 3c 00 03 ed a0 80"#, NotUtf8), // U+D800
    (r#"10 0d 00 04 "MQTT" 04 02 00 3c 00 01 00"#, NulCharacter),
    (r#"10 10 00 04 "MQTT" 04 82 00 3c 00 00 00 02 "u" 00"#, NulCharacter),
    // CONNACK.
    ("20 02 02 00", ConnAckFlags),
    ("20 02 01 05", ConnAckFlags),
    ("20 02 00 06", ConnAckCode),
    // PUBLISH.
    (r#"36 05 00 01 "a" 00 01"#, ReservedQos),
    ("30 02 00 00", Topic),
    (r#"30 05 00 03 "a/#""#, Topic),
    (r#"30 05 00 03 "a/+""#, Topic),
    ("30 03 00 01 00", NulCharacter),
    ("30 00", Truncated),
    (r#"32 03 00 01 "a""#, Truncated),
    (r#"32 05 00 01 "a" 00 00"#, PacketIdZero),
    (r#"30 04 00 09 "ab""#, Truncated),
    // Acknowledgements.
    ("40 02 00 00", PacketIdZero),
    ("50 02 00 00", PacketIdZero),
    ("62 02 00 00", PacketIdZero),
    ("70 02 00 00", PacketIdZero),
    ("b0 02 00 00", PacketIdZero),
    // SUBSCRIBE, SUBACK, UNSUBSCRIBE.
    ("82 02 00 01", NoFilters),
    (r#"82 06 00 00 00 01 "a" 00"#, PacketIdZero),
    (r#"82 06 00 01 00 01 "a" 03"#, ReservedQos),
    (r#"82 06 00 01 00 01 "a" 04"#, ReservedQos),
    (r#"82 05 00 01 00 01 "a""#, Truncated),
    ("82 05 00 01 00 00 00", Filter),
    (r#"82 0a 00 01 00 05 "a/#/b" 00"#, Filter),
    (r#"82 07 00 01 00 02 "a+" 00"#, Filter),
    ("82 06 00 01 00 01 00 00", NulCharacter),
    ("82 01 00", Truncated),
    ("90 02 00 01", NoFilters),
    ("90 03 00 01 03", SubAckCode),
    ("90 03 00 01 81", SubAckCode),
    ("a2 02 00 01", NoFilters),
    ("a2 04 00 01 00 00", Filter),
    (r##"a2 06 00 01 00 02 "#a""##, Filter),
];

#[test]
fn malformed_packets_are_refused_with_the_reason() {
    for (packet, reason) in MALFORMED {
        assert_eq!(decode(&mut bytes(packet), LIMIT), Err(*reason), "{packet}");
    }
}
