//! Protocol headers and frames (§2.2, §2.3, §5.3.1).

use bytes::{Buf, BufMut, BytesMut};

use super::{
    decode::{DecodeError, Reader},
    encode::EncodeError,
    performative::Performative,
    sasl::SaslFrame,
};

/// The protocol that a protocol header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// AMQP 1.0.0.
    Amqp,
    /// The SASL layer; the header of AMQP follows after it.
    Sasl,
}

/// An AMQP frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The channel of the session; 0 in frames about the connection.
    pub channel: u16,
    /// `None` in an empty frame, which only keeps the connection alive (§2.4.5).
    pub performative: Option<Performative>,
}

/// The frame size that every peer must accept, in bytes (§2.7.1).
pub const MIN_MAX_FRAME: u32 = 512;

/// Takes a protocol header out of `buf`; returns `None` if it is incomplete. A wrong byte is refused as soon as it
/// arrives.
pub fn decode_protocol(buf: &mut BytesMut) -> Result<Option<Protocol>, DecodeError> {
    let arrived = &buf[..buf.len().min(HEADER_BYTES)];
    let fits = |protocol| encoded_protocol(protocol).starts_with(arrived);
    let Some(protocol) = [Protocol::Amqp, Protocol::Sasl].into_iter().find(|protocol| fits(*protocol)) else {
        return Err(DecodeError::Protocol);
    };
    if arrived.len() < HEADER_BYTES {
        return Ok(None);
    }
    buf.advance(HEADER_BYTES);
    Ok(Some(protocol))
}

/// Appends a protocol header.
pub fn encode_protocol(protocol: Protocol, out: &mut BytesMut) {
    out.put_slice(&encoded_protocol(protocol));
}

fn encoded_protocol(protocol: Protocol) -> [u8; HEADER_BYTES] {
    let id = match protocol {
        Protocol::Amqp => 0,
        Protocol::Sasl => 3,
    };
    [b'A', b'M', b'Q', b'P', id, 1, 0, 0]
}

/// Takes the first frame out of `buf`; returns `None` if it is incomplete.
///
/// `max_frame` limits the whole frame, in bytes, and is checked as soon as the header arrived. After an error the stream
/// cannot be resumed: close it.
pub fn decode_frame(buf: &mut BytesMut, max_frame: usize) -> Result<Option<Frame>, DecodeError> {
    let Some(Raw { channel, size, body }) = Raw::of(buf, AMQP_FRAME, max_frame)? else { return Ok(None) };
    let performative = if body.is_empty() {
        None
    } else {
        let mut reader = Reader::new(body);
        let performative = Performative::read(&mut reader)?;
        at_end(&reader)?;
        Some(performative)
    };
    buf.advance(size);
    Ok(Some(Frame { channel, performative }))
}

/// Takes the first frame of the SASL layer out of `buf`, as [`decode_frame`] does.
pub fn decode_sasl(buf: &mut BytesMut, max_frame: usize) -> Result<Option<SaslFrame>, DecodeError> {
    let Some(Raw { size, body, .. }) = Raw::of(buf, SASL_FRAME, max_frame)? else { return Ok(None) };
    let mut reader = Reader::new(body);
    let frame = SaslFrame::read(&mut reader)?;
    at_end(&reader)?;
    buf.advance(size);
    Ok(Some(frame))
}

fn at_end(reader: &Reader<'_>) -> Result<(), DecodeError> {
    if reader.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
}

/// A frame whose body is not decoded yet.
struct Raw<'a> {
    channel: u16,
    size: usize,
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    fn of(buf: &'a BytesMut, kind: u8, max_frame: usize) -> Result<Option<Raw<'a>>, DecodeError> {
        let Some(size) = buf.first_chunk() else { return Ok(None) };
        let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|_| DecodeError::FrameHeader)?;
        if size < HEADER_BYTES {
            return Err(DecodeError::FrameHeader);
        }
        if size > max_frame {
            return Err(DecodeError::TooLarge { size, limit: max_frame });
        }
        let Some(&[_, _, _, _, offset, found, high, low]) = buf.first_chunk() else { return Ok(None) };
        let offset = usize::from(offset) * 4;
        if found != kind || offset < HEADER_BYTES || offset > size {
            return Err(DecodeError::FrameHeader);
        }
        let body = buf.get(offset..size); // between header and body may be an extended header, to be ignored
        Ok(body.map(|body| Raw { channel: u16::from_be_bytes([high, low]), size, body }))
    }
}

/// Appends a frame; an error leaves `out` unchanged. [`decode_frame`] returns an equal frame.
pub fn encode_frame(frame: &Frame, max_frame: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    framed(AMQP_FRAME, frame.channel, max_frame, out, |out| match &frame.performative {
        Some(performative) => performative.put(out),
        None => Ok(()),
    })
}

/// Appends a frame of the SASL layer; an error leaves `out` unchanged. SASL frames have at most [`MIN_MAX_FRAME`]
/// bytes (§5.3.1).
pub fn encode_sasl(frame: &SaslFrame, max_frame: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    framed(SASL_FRAME, 0, max_frame, out, |out| frame.put(out))
}

fn framed(
    kind: u8,
    channel: u16,
    max_frame: usize,
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let before = out.len();
    out.put_slice(&[0, 0, 0, 0, DATA_OFFSET, kind]);
    out.put_u16(channel);
    let written = body(out).and_then(|()| {
        let size = out.len() - before;
        if size > max_frame {
            return Err(EncodeError::FrameTooLarge { size, limit: max_frame });
        }
        u32::try_from(size).map_err(|_| EncodeError::TooLarge)
    });
    match written {
        Ok(size) => {
            out[before..before + 4].copy_from_slice(&size.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(before);
            Err(error)
        }
    }
}

/// Returns an upper bound of the bytes in a transfer's frame besides its payload, for delivery tags of at most 8 bytes.
pub const fn transfer_overhead() -> usize {
    HEADER_BYTES + 64
}

/// The size of a protocol header, and of a frame header.
const HEADER_BYTES: usize = 8;

/// The data offset in words of four bytes: frames have no extended header.
const DATA_OFFSET: u8 = 2;

const AMQP_FRAME: u8 = 0;
const SASL_FRAME: u8 = 1;
