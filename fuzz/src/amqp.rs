//! AMQP: frames, the SASL layer and messages, in one piece and in many.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use net::{
    CancellationToken, Entrance, Limits, Peer,
    amqp::{AmqpEndpoint, drive},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use wire::amqp::{
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

fn cut_anyhow(
    input: &[u8],
    decode: impl Fn(&mut BytesMut) -> Result<Option<BytesMut>, DecodeError> + Copy,
) {
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

/// Sends `input` to the endpoint, then hangs up. Whatever comes back is headers and frames, all of them whole.
pub async fn converse(endpoint: Arc<dyn AmqpEndpoint>, input: &[u8]) {
    let (mut near, far) = tokio::io::duplex(MAX_PACKET);
    let entrance =
        Entrance { endpoint, limits: Arc::new(Limits::default()), shutdown: CancellationToken::new() };
    let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), certificates: Arc::default() };
    let talk = async {
        // An error means that the server has hung up.
        let _ = near.write_all(input).await;
        let mut heard = BytesMut::new();
        while let Ok(Ok(1..)) = timeout(SILENCE, near.read_buf(&mut heard)).await {}
        drop(near);
        heard
    };
    let ((), heard) = tokio::join!(drive(far, peer, entrance), talk);
    check(heard);
}

fn check(mut heard: BytesMut) {
    let mut protocol = Protocol::Amqp;
    while !heard.is_empty() {
        let whole = if heard.starts_with(b"AMQP") {
            let found = decode_protocol(&mut heard).expect("a header");
            protocol = found.unwrap_or(protocol);
            found.is_some()
        } else if protocol == Protocol::Sasl {
            let frame = decode_sasl(&mut heard, 512).expect("the server speaks SASL");
            assert!(!matches!(frame, Some(SaslFrame::Init(_) | SaslFrame::Response(_))), "{frame:?}");
            frame.is_some()
        } else {
            decode_frame(&mut heard, 16 * 1024).expect("the server speaks AMQP").is_some()
        };
        assert!(whole, "half a frame: {heard:?}");
    }
}

/// A server that works has an answer ready in a fraction of this.
const SILENCE: Duration = Duration::from_millis(2);
