//! AMQP: frames, the SASL layer and messages, in one piece and in many.

use bytes::{Bytes, BytesMut};
use codec::amqp::{
    DecodeError, Frame, Message, Protocol, SaslFrame, decode_frame, decode_protocol, decode_sasl,
    encode_frame, encode_protocol, encode_sasl,
};

use crate::packets::MAX_PACKET;

/// What came of a stream of bytes; an error ends it.
#[derive(Debug, PartialEq)]
struct Stream {
    /// Encoded again: numbers that are none are not equal to themselves.
    frames: Vec<BytesMut>,
    end: Result<Bytes, DecodeError>,
}

/// Protocol headers and frames decode to the same however they arrive, and again when they are encoded.
pub fn run_frames(input: &[u8]) {
    cut_anyhow(input, |buffer| {
        if buffer.starts_with(b"AMQP") {
            return Ok(decode_protocol(buffer)?.map(again_protocol));
        }
        Ok(decode_frame(buffer, MAX_PACKET)?.map(|frame| again_frame(&frame)))
    });
}

/// The same for the SASL layer.
pub fn run_sasl(input: &[u8]) {
    cut_anyhow(input, |buffer| Ok(decode_sasl(buffer, MAX_PACKET)?.map(|frame| again_sasl(&frame))));
}

/// A message that decodes means the same when it is encoded again.
pub fn run_message(input: &[u8]) {
    let Ok(message) = Message::decode(input) else { return };
    let bytes = message.encode().expect("what was decoded can be encoded");
    let again = Message::decode(&bytes).expect("what was encoded can be decoded");
    assert_eq!(again.encode().expect("twice"), bytes);
    assert_eq!(again.body.bytes(), message.body.bytes());
}

fn cut_anyhow(input: &[u8], decode: impl Fn(&mut BytesMut) -> Result<Option<BytesMut>, DecodeError> + Copy) {
    let whole = read([input], decode);
    assert_eq!(read(input.chunks(1), decode), whole, "byte by byte");
    assert_eq!(read(input.chunks(7), decode), whole, "in pieces");
}

fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    decode: impl Fn(&mut BytesMut) -> Result<Option<BytesMut>, DecodeError>,
) -> Stream {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return Stream { frames, end: Err(error) },
            }
        }
    }
    Stream { frames, end: Ok(buffer.freeze()) }
}

fn again_protocol(protocol: Protocol) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_protocol(protocol, &mut bytes);
    bytes
}

fn again_frame(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(frame, usize::MAX, &mut bytes).expect("what was decoded can be encoded");
    let mut twice = BytesMut::new();
    let again = decode_frame(&mut bytes.clone(), usize::MAX).expect("a frame").expect("whole");
    encode_frame(&again, usize::MAX, &mut twice).expect("once more");
    assert_eq!(twice, bytes);
    bytes
}

fn again_sasl(frame: &SaslFrame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_sasl(frame, usize::MAX, &mut bytes).expect("what was decoded can be encoded");
    assert_eq!(decode_sasl(&mut bytes.clone(), usize::MAX).as_ref(), Ok(&Some(frame.clone())));
    bytes
}
