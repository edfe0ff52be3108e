//! MQTT packets, in one piece and in many.

use bytes::{Bytes, BytesMut};
use codec::mqtt::{DecodeError, Packet, decode, encode, filter_matches, is_filter};

/// More than any input has.
pub const MAX_PACKET: usize = 1 << 20;

/// What came of a stream of bytes.
#[derive(Debug, PartialEq)]
struct Stream {
    packets: Vec<Packet>,
    end: Result<Bytes, DecodeError>,
}

/// The bytes decode to the same packets however they arrive, and what was decoded encodes to a packet that is equal.
pub fn run(input: &[u8]) {
    let whole = read([input]);
    assert_eq!(read(input.chunks(1)), whole, "byte by byte");
    assert_eq!(read(input.chunks(7)), whole, "in pieces");
    for packet in &whole.packets {
        let mut bytes = BytesMut::new();
        encode(packet, &mut bytes).expect("what was decoded can be encoded");
        assert_eq!(decode(&mut bytes, MAX_PACKET).as_ref(), Ok(&Some(packet.clone())));
        assert!(bytes.is_empty());
        if let Packet::Subscribe(subscribe) = packet {
            for (filter, _) in &subscribe.filters {
                assert!(is_filter(filter) && filter_matches(filter, filter));
            }
        }
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Stream {
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decode(&mut buffer, MAX_PACKET) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return Stream { packets, end: Err(error) },
            }
        }
    }
    Stream { packets, end: Ok(buffer.freeze()) }
}
