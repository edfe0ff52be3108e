//! Frames that the standard forbids or a limit excludes, each with the reason of its refusal.

use crate::notation::bytes;

use super::{
    DecodeError::{self, *},
    Message, decode_frame, decode_protocol, decode_sasl,
    tests::{LIMIT, framed, nested},
};

/// Whole frames, in the notation of [`bytes`].
const FRAMES: &[(&str, DecodeError)] = &[
    ("00 00 00 07", FrameHeader),
    ("00 00 00 00", FrameHeader),
    ("7f ff ff ff", TooLarge { size: 0x7fff_ffff, limit: LIMIT }),
    ("ff ff ff ff", TooLarge { size: 0xffff_ffff, limit: LIMIT }),
    ("00 00 00 08 01 00 00 00", FrameHeader),
    ("00 00 00 08 03 00 00 00", FrameHeader),
    ("00 00 00 08 02 01 00 00", FrameHeader),
    ("00 00 00 08 02 02 00 00", FrameHeader),
];

/// Bodies of AMQP frames.
const BODIES: &[(&str, DecodeError)] = &[
    ("40", Descriptor),
    ("00", Truncated),
    (r#"00 a3 09 "amqp:open""#, Descriptor),
    ("00 53 19 45", Descriptor),
    ("00 53 41 45", Descriptor), // a SASL frame
    ("00 80 00 00 00 01 00 00 00 10 45", Descriptor),
    ("00 53 10", Truncated),
    ("00 53 10 40", Code(0x40)),
    ("00 53 10 c1 01 00", Code(0xc1)),
    ("00 53 10 45", Missing("container-id")),
    ("00 53 10 c0 02 01 40", Missing("container-id")),
    ("00 53 10 c0 03 01 a3 00", Code(0xa3)),
    (r#"00 53 10 c0 04 02 a1 01 "c""#, Truncated), // fewer fields than announced
    (r#"00 53 10 c0 05 01 a1 01 "c" 40"#, Count),
    (r#"00 53 10 c0 05 01 a1 02 "c" 40 40"#, TrailingBytes),
    ("00 53 10 c0 05 01 a1 02 c3 28", NotText),
    (r#"00 53 10 c0 ff 01 a1 01 "c""#, Truncated),
    (r#"00 53 10 d0 ff ff ff ff 00 00 00 01 a1 01 "c""#, Truncated),
    (r#"00 53 10 d0 00 00 00 07 ff ff ff ff a1 01 "c""#, Count),
    (r#"00 53 10 c0 0f 0c a1 01 "c" 40 40 40 40 40 40 40 40 40 40 40"#, Count),
    (r#"00 53 10 c0 05 01 a1 01 "c" 00"#, Count),
    (r#"00 53 10 c0 04 01 a1 01 "c" 00"#, TrailingBytes),
    ("00 53 11 c0 05 04 40 43 43 40", Missing("outgoing-window")),
    (r#"00 53 12 c0 07 03 a1 01 "l" 43 56 02"#, Range("boolean")),
    (r#"00 53 12 c0 08 04 a1 01 "l" 43 41 50 03"#, Range("snd-settle-mode")),
    (r#"00 53 12 c0 0c 06 a1 01 "l" 43 41 40 40 00 53 29 45"#, Descriptor), // a target for a source
    ("00 53 15 c0 09 05 41 43 40 41 00 53 34 45", Descriptor),              // a transactional state
    ("00 53 14 45", Missing("handle")),
    ("00 53 18 c0 05 01 00 53 25 45", Descriptor),
    ("00 53 18 c0 05 01 00 53 1d 45", Missing("condition")),
];

/// Payloads of messages.
const MESSAGES: &[(&str, DecodeError)] = &[
    ("75", Descriptor),
    ("00 53 6f 45", Descriptor),
    ("00 53 76 45", Descriptor), // a sequence
    ("00 53 79 45", Descriptor),
    ("00 53 75 a0 00 00 53 74 c1 01 00", Section),
    ("00 53 73 45 00 53 73 45", Section),
    ("00 53 77 40 00 53 77 40", Section),
    ("00 53 75 a0 00 00 53 77 40", Descriptor),
    ("00 53 75 a1 00", Code(0xa1)),
    ("00 53 75 a0 02 00", Truncated),
    ("00 53 74 c0 01 00", Code(0xc0)),
    ("00 53 74 45", Code(0x45)),
    (r#"00 53 74 c1 04 01 a1 01 "k""#, Count),
    (r#"00 53 74 c1 05 02 a1 01 "k" 7f"#, Code(0x7f)),
    ("00 53 73 c0 02 01 41", Range("message-id")),
    ("00 53 77 e0 06 04 43 00 00 00 00", ArrayOf),
    ("00 53 77 f0 00 00 00 05 7f ff ff ff 43", Count),
    ("00 53 77 e0 02 01 45", ArrayOf),
    ("00 53 77 e0 03 01 a1 00 00", Truncated),
    ("00 53 77 e0 01 01", Count),
    ("00 53 77 73 00 11 00 00", NotText), // a character that there is not
    ("00 53 77 a3 02 c3 a4", NotText),
    ("00 53 77 3f", Code(0x3f)),
];

#[test]
fn malformed_frames_are_refused_with_the_reason() {
    for (frame, reason) in FRAMES {
        assert_eq!(decode_frame(&mut bytes(frame), LIMIT), Err(*reason), "{frame}");
    }
    for (body, reason) in BODIES {
        assert_eq!(decode_frame(&mut framed(0, &bytes(body)), LIMIT), Err(*reason), "{body}");
    }
}

#[test]
fn malformed_sasl_is_refused_with_the_reason() {
    for (body, reason) in [
        ("00 53 10 45", Descriptor),
        ("00 53 40 45", Missing("sasl-server-mechanisms")),
        ("00 53 40 c0 04 01 a1 01 41", ArrayOf),
        ("00 53 41 45", Missing("mechanism")),
        ("00 53 43 45", Missing("response")),
        ("00 53 44 c0 03 01 50 05", Range("SASL code")),
        ("00 53 42 c0 04 01 a0 02 00", Truncated),
    ] {
        assert_eq!(decode_sasl(&mut framed(1, &bytes(body)), LIMIT), Err(reason), "{body}");
    }
    assert_eq!(decode_sasl(&mut framed(0, &bytes("00 53 43 45")), LIMIT), Err(FrameHeader));
}

#[test]
fn malformed_messages_are_refused_with_the_reason() {
    for (payload, reason) in MESSAGES {
        assert_eq!(Message::decode(&bytes(payload)), Err(*reason), "{payload}");
    }
}

#[test]
fn other_protocols_are_refused_at_the_first_wrong_byte() {
    for header in ["G", "AMQQ", "AMQP\x01", "AMQP\x00\x00", "AMQP\x00\x01\x01", "\x16\x03\x01"] {
        assert_eq!(decode_protocol(&mut header.as_bytes().into()), Err(Protocol), "{header:?}");
    }
}

/// Deeply nested values in a skipped field made another implementation overflow its stack.
#[test]
fn values_nest_only_so_deep() {
    assert!(Message::decode(&nested(7)).is_ok());
    assert_eq!(Message::decode(&nested(8)), Err(Depth));
    assert_eq!(Message::decode(&nested(20_000)), Err(Depth));
    let mut described = bytes("00 53 77").to_vec();
    described.extend([0; 50_000]);
    assert_eq!(Message::decode(&described), Err(Depth));
    // Skipped without recursion.
    let mut header = bytes("00 53 70").to_vec();
    header.extend([0; 50_000]);
    assert_eq!(Message::decode(&header), Err(Truncated));
}

#[test]
fn values_are_counted() {
    let list = |count: u32| {
        let mut payload = bytes("00 53 77 d0").to_vec();
        payload.extend((count + 4).to_be_bytes());
        payload.extend(count.to_be_bytes());
        payload.resize(payload.len() + count as usize, 0x40);
        payload
    };
    assert!(Message::decode(&list(4095)).is_ok());
    assert_eq!(Message::decode(&list(4096)), Err(TooMany));
}
