//! Decodes packets.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    packet::{
        ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, SubAck, Subscribe, SubscribeReturn,
        Unsubscribe, Will,
    },
    topic::{is_filter, is_topic},
};

/// Takes the first packet out of `buf`; returns `None` if it is incomplete.
///
/// `max_packet` limits the whole packet, in bytes. Type, flags and length are checked as soon as the fixed header
/// arrived. After an error the stream cannot be resumed: close it.
pub fn decode(buf: &mut BytesMut, max_packet: usize) -> Result<Option<Packet>, DecodeError> {
    let Some(header) = FixedHeader::parse(buf)? else { return Ok(None) };
    let size = header.len + header.remaining;
    if size > max_packet {
        return Err(DecodeError::TooLarge { size, limit: max_packet });
    }
    let Some(body) = buf.get(header.len..size) else { return Ok(None) };
    let mut body = Body(body);
    let packet = header.kind.decode(header.flags, &mut body)?;
    if !body.0.is_empty() {
        return Err(DecodeError::TrailingBytes);
    }
    buf.advance(size);
    Ok(Some(packet))
}

/// The reasons why bytes are not a valid MQTT 3.1.1 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// CONNACK: reserved flags set, or a session present although refused (§3.2.2).
    #[error("CONNACK with invalid flags")]
    ConnAckFlags,
    /// CONNACK: a return code above 5.
    #[error("CONNACK with an unknown return code")]
    ConnAckCode,
    /// CONNECT: the reserved flag is set (§3.1.2-3).
    #[error("CONNECT with the reserved flag set")]
    ConnectFlags,
    /// PUBLISH: DUP with QoS 0 (§3.3.1-2).
    #[error("DUP on a message of QoS 0")]
    Dup,
    /// A topic filter is empty or has a wildcard in the wrong place (§4.7.1).
    #[error("invalid topic filter")]
    Filter,
    /// The low four bits of the first byte are not what the packet type demands (§2.2.2).
    #[error("reserved flags in the fixed header")]
    HeaderFlags,
    /// SUBSCRIBE, UNSUBSCRIBE or SUBACK without a single entry (§3.8.3-3, §3.10.3-2).
    #[error("empty list of topic filters or return codes")]
    NoFilters,
    /// A string is not UTF-8 (§1.5.3-1).
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A string contains U+0000 (§1.5.3-2).
    #[error("a string contains U+0000")]
    NulCharacter,
    /// A packet identifier is 0 (§2.3.1-1).
    #[error("packet identifier 0")]
    PacketIdZero,
    /// CONNECT: password without a user name (§3.1.2-22).
    #[error("password without user name")]
    PasswordWithoutUserName,
    /// The remaining length takes more than four bytes, more bytes than needed, or does not suit the packet
    /// type.
    #[error("invalid remaining length")]
    RemainingLength,
    /// Quality of service 3, or reserved bits of a SUBSCRIBE's QoS byte (§3.8.3-4).
    #[error("reserved quality of service")]
    ReservedQos,
    /// SUBACK: a code other than 0, 1, 2 and 0x80 (§3.9.3-2).
    #[error("SUBACK with an unknown return code")]
    SubAckCode,
    /// The packet is longer than the receiver takes.
    #[error("packet of {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes announced, fixed header included.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A topic name is empty or has a wildcard (§3.3.2-2).
    #[error("invalid topic name")]
    Topic,
    /// The packet goes on after its last field.
    #[error("trailing bytes")]
    TrailingBytes,
    /// A field goes on after the packet's end.
    #[error("a field is longer than the packet")]
    Truncated,
    /// Packet types 0 and 15 (§2.2.1).
    #[error("reserved packet type")]
    UnknownType,
    /// CONNECT of another protocol or version; to be answered with CONNACK 1 (§3.1.2-2).
    #[error("not MQTT 3.1.1 (protocol level {level})")]
    UnsupportedProtocol {
        /// The protocol level that the client asked for.
        level: u8,
    },
    /// CONNECT: will QoS or retain without a will (§3.1.2-11, -13, -15).
    #[error("will flags without a will")]
    WillFlags,
}

struct FixedHeader {
    kind: Kind,
    flags: u8,
    /// Bytes of the header itself.
    len: usize,
    /// Bytes after it.
    remaining: usize,
}

impl FixedHeader {
    /// `None` when the header is not complete yet; refuses as early as the bytes allow.
    fn parse(bytes: &[u8]) -> Result<Option<FixedHeader>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let kind = Kind::from_bits(first >> 4).ok_or(DecodeError::UnknownType)?;
        let flags = first & 0x0f;
        if kind.flags().is_some_and(|demanded| demanded != flags) {
            return Err(DecodeError::HeaderFlags);
        }
        if matches!(kind, Kind::Publish) && flags & DUP != 0 && flags & QOS == 0 {
            return Err(DecodeError::Dup);
        }
        let mut remaining = 0;
        for (index, &byte) in rest.iter().take(MAX_LENGTH_BYTES).enumerate() {
            remaining |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let padded = byte == 0 && index > 0;
                if padded || kind.length().is_some_and(|demanded| demanded != remaining) {
                    return Err(DecodeError::RemainingLength);
                }
                return Ok(Some(FixedHeader { kind, flags, len: index + 2, remaining }));
            }
        }
        if rest.len() >= MAX_LENGTH_BYTES { Err(DecodeError::RemainingLength) } else { Ok(None) }
    }
}

/// Flags of a PUBLISH (§3.3.1).
const DUP: u8 = 0x08;
const QOS: u8 = 0x06;

/// Packet types (table 2.1).
#[derive(Clone, Copy)]
enum Kind {
    Connect,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
}

impl Kind {
    fn from_bits(bits: u8) -> Option<Kind> {
        Some(match bits {
            1 => Kind::Connect,
            2 => Kind::ConnAck,
            3 => Kind::Publish,
            4 => Kind::PubAck,
            5 => Kind::PubRec,
            6 => Kind::PubRel,
            7 => Kind::PubComp,
            8 => Kind::Subscribe,
            9 => Kind::SubAck,
            10 => Kind::Unsubscribe,
            11 => Kind::UnsubAck,
            12 => Kind::PingReq,
            13 => Kind::PingResp,
            14 => Kind::Disconnect,
            _ => return None,
        })
    }

    /// Returns the flags that the type requires (table 2.2); `None` for PUBLISH, whose flags vary.
    fn flags(self) -> Option<u8> {
        match self {
            Kind::Publish => None,
            Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe => Some(0b0010),
            _ => Some(0),
        }
    }

    /// Returns the remaining length, where the type fixes it.
    fn length(self) -> Option<usize> {
        match self {
            Kind::Connect | Kind::Publish | Kind::Subscribe | Kind::SubAck | Kind::Unsubscribe => None,
            Kind::ConnAck | Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp | Kind::UnsubAck => {
                Some(2)
            }
            Kind::PingReq | Kind::PingResp | Kind::Disconnect => Some(0),
        }
    }

    fn decode(self, flags: u8, body: &mut Body<'_>) -> Result<Packet, DecodeError> {
        Ok(match self {
            Kind::Connect => Packet::Connect(connect(body)?),
            Kind::ConnAck => Packet::ConnAck(conn_ack(body)?),
            Kind::Publish => Packet::Publish(publish(flags, body)?),
            Kind::PubAck => Packet::PubAck(body.packet_id()?),
            Kind::PubRec => Packet::PubRec(body.packet_id()?),
            Kind::PubRel => Packet::PubRel(body.packet_id()?),
            Kind::PubComp => Packet::PubComp(body.packet_id()?),
            Kind::Subscribe => Packet::Subscribe(subscribe(body)?),
            Kind::SubAck => Packet::SubAck(sub_ack(body)?),
            Kind::Unsubscribe => Packet::Unsubscribe(unsubscribe(body)?),
            Kind::UnsubAck => Packet::UnsubAck(body.packet_id()?),
            Kind::PingReq => Packet::PingReq,
            Kind::PingResp => Packet::PingResp,
            Kind::Disconnect => Packet::Disconnect,
        })
    }
}

fn connect(body: &mut Body<'_>) -> Result<Connect, DecodeError> {
    let name = body.binary()?;
    let level = body.byte()?;
    if (name, level) != (b"MQTT", 4) {
        return Err(DecodeError::UnsupportedProtocol { level });
    }
    let flags = body.byte()?;
    if flags & 0x01 != 0 {
        return Err(DecodeError::ConnectFlags);
    }
    let (has_username, has_password) = (flags & 0x80 != 0, flags & 0x40 != 0);
    if has_password && !has_username {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    let keep_alive_secs = body.word()?;
    let client_id = body.string()?.to_owned();
    let will = will(flags, body)?;
    let username = if has_username { Some(body.string()?.to_owned()) } else { None };
    let password = if has_password { Some(Bytes::copy_from_slice(body.binary()?)) } else { None };
    Ok(Connect { clean_session: flags & 0x02 != 0, keep_alive_secs, client_id, will, username, password })
}

fn will(flags: u8, body: &mut Body<'_>) -> Result<Option<Will>, DecodeError> {
    let qos = QoS::from_bits(flags >> 3 & 0x03).ok_or(DecodeError::ReservedQos)?;
    let retain = flags & 0x20 != 0;
    if flags & 0x04 == 0 {
        let none = qos == QoS::AtMostOnce && !retain;
        return if none { Ok(None) } else { Err(DecodeError::WillFlags) };
    }
    let topic = body.topic()?.to_owned();
    Ok(Some(Will { topic, payload: Bytes::copy_from_slice(body.binary()?), qos, retain }))
}

fn conn_ack(body: &mut Body<'_>) -> Result<ConnAck, DecodeError> {
    let flags = body.byte()?;
    let code = ConnectReturnCode::from_byte(body.byte()?).ok_or(DecodeError::ConnAckCode)?;
    match (flags, code) {
        (0, _) => Ok(ConnAck { session_present: false, code }),
        (1, ConnectReturnCode::Accepted) => Ok(ConnAck { session_present: true, code }),
        (_, _) => Err(DecodeError::ConnAckFlags),
    }
}

fn publish(flags: u8, body: &mut Body<'_>) -> Result<Publish, DecodeError> {
    let qos = QoS::from_bits(flags >> 1 & 0x03).ok_or(DecodeError::ReservedQos)?;
    let topic = body.topic()?.to_owned();
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
    let payload = Bytes::copy_from_slice(std::mem::take(&mut body.0)); // a slice would pin the whole read buffer
    let dup = flags & DUP != 0;
    Ok(Publish { dup, qos, retain: flags & 0x01 != 0, topic, packet_id, payload })
}

fn subscribe(body: &mut Body<'_>) -> Result<Subscribe, DecodeError> {
    let packet_id = body.packet_id()?;
    let filters = body.list(|body| {
        let filter = body.filter()?.to_owned();
        Ok((filter, QoS::from_bits(body.byte()?).ok_or(DecodeError::ReservedQos)?))
    })?;
    Ok(Subscribe { packet_id, filters })
}

fn sub_ack(body: &mut Body<'_>) -> Result<SubAck, DecodeError> {
    let packet_id = body.packet_id()?;
    let codes = body.list(|body| match body.byte()? {
        0x80 => Ok(SubscribeReturn::Failure),
        bits => QoS::from_bits(bits).map(SubscribeReturn::Granted).ok_or(DecodeError::SubAckCode),
    })?;
    Ok(SubAck { packet_id, codes })
}

fn unsubscribe(body: &mut Body<'_>) -> Result<Unsubscribe, DecodeError> {
    let packet_id = body.packet_id()?;
    let filters = body.list(|body| body.filter().map(str::to_owned))?;
    Ok(Unsubscribe { packet_id, filters })
}

/// The rest of the packet.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    fn word(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.word()? {
            0 => Err(DecodeError::PacketIdZero),
            id => Ok(id),
        }
    }

    fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.word()?;
        self.take(usize::from(length))
    }

    fn string(&mut self) -> Result<&'a str, DecodeError> {
        let text = str::from_utf8(self.binary()?).map_err(|_| DecodeError::NotUtf8)?;
        if text.contains('\0') { Err(DecodeError::NulCharacter) } else { Ok(text) }
    }

    fn topic(&mut self) -> Result<&'a str, DecodeError> {
        self.string().and_then(|text| if is_topic(text) { Ok(text) } else { Err(DecodeError::Topic) })
    }

    fn filter(&mut self) -> Result<&'a str, DecodeError> {
        self.string().and_then(|text| if is_filter(text) { Ok(text) } else { Err(DecodeError::Filter) })
    }

    /// Reads entries to the end of the packet; at least one.
    fn list<T>(
        &mut self,
        entry: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut entries = Vec::new();
        while !self.0.is_empty() {
            entries.push(entry(self)?);
        }
        if entries.is_empty() { Err(DecodeError::NoFilters) } else { Ok(entries) }
    }
}

/// The longest encoding of the remaining length, in bytes (§2.2.3).
const MAX_LENGTH_BYTES: usize = 4;
