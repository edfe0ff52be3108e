//! Encodes packets.

use bytes::{BufMut, BytesMut};

use super::{
    packet::{
        ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, SubAck, Subscribe, SubscribeReturn,
        Unsubscribe,
    },
    topic::{is_filter, is_topic},
};

/// Appends `packet` to `out`; after an error `out` is as before. What this writes, [`super::decode()`] reads
/// back equal.
pub fn encode(packet: &Packet, out: &mut BytesMut) -> Result<(), EncodeError> {
    let before = out.len();
    let written = match packet {
        Packet::Connect(connect) => encode_connect(connect, out),
        Packet::ConnAck(ack) => encode_conn_ack(*ack, out),
        Packet::Publish(publish) => encode_publish(publish, out),
        Packet::PubAck(id) => encode_id(0x40, *id, out),
        Packet::PubRec(id) => encode_id(0x50, *id, out),
        Packet::PubRel(id) => encode_id(0x62, *id, out),
        Packet::PubComp(id) => encode_id(0x70, *id, out),
        Packet::Subscribe(subscribe) => encode_subscribe(subscribe, out),
        Packet::SubAck(ack) => encode_sub_ack(ack, out),
        Packet::Unsubscribe(unsubscribe) => encode_unsubscribe(unsubscribe, out),
        Packet::UnsubAck(id) => encode_id(0xb0, *id, out),
        Packet::PingReq => put_header(0xc0, 0, out),
        Packet::PingResp => put_header(0xd0, 0, out),
        Packet::Disconnect => put_header(0xe0, 0, out),
    };
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// The reasons why a packet cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A session is present only when the client is accepted (§3.2.2-4).
    #[error("session present although refused")]
    ConnAck,
    /// A topic filter is empty or has a wildcard in the wrong place.
    #[error("invalid topic filter")]
    Filter,
    /// No topic filter or return code at all.
    #[error("empty list of topic filters or return codes")]
    NoFilters,
    /// A string contains U+0000.
    #[error("a string contains U+0000")]
    NulCharacter,
    /// A packet identifier is 0, is missing with QoS 1 or 2, or present with QoS 0.
    #[error("packet identifier missing, 0 or out of place")]
    PacketId,
    /// A password without a user name.
    #[error("password without user name")]
    PasswordWithoutUserName,
    /// A string or binary field of more than 65,535 bytes.
    #[error("a string is longer than 65535 bytes")]
    StringTooLong,
    /// A packet of more than 256 MiB.
    #[error("the packet is longer than MQTT allows")]
    TooLarge,
    /// A topic name is empty or has a wildcard.
    #[error("invalid topic name")]
    Topic,
}

fn encode_connect(connect: &Connect, out: &mut BytesMut) -> Result<(), EncodeError> {
    if connect.password.is_some() && connect.username.is_none() {
        return Err(EncodeError::PasswordWithoutUserName);
    }
    let will = connect.will.as_ref();
    let remaining = PROTOCOL.len()
        + 3
        + field_len(connect.client_id.as_bytes())
        + will.map_or(0, |will| field_len(will.topic.as_bytes()) + field_len(&will.payload))
        + connect.username.as_ref().map_or(0, |username| field_len(username.as_bytes()))
        + connect.password.as_ref().map_or(0, |password| field_len(password));
    put_header(0x10, remaining, out)?;
    out.put_slice(PROTOCOL);
    out.put_u8(connect_flags(connect));
    out.put_u16(connect.keep_alive_secs);
    put_string(&connect.client_id, out)?;
    if let Some(will) = will {
        put_topic(&will.topic, out)?;
        put_binary(&will.payload, out)?;
    }
    if let Some(username) = &connect.username {
        put_string(username, out)?;
    }
    connect.password.as_ref().map_or(Ok(()), |password| put_binary(password, out))
}

fn connect_flags(connect: &Connect) -> u8 {
    let will =
        connect.will.as_ref().map_or(0, |will| 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    u8::from(connect.username.is_some()) << 7
        | u8::from(connect.password.is_some()) << 6
        | will
        | u8::from(connect.clean_session) << 1
}

fn encode_conn_ack(ack: ConnAck, out: &mut BytesMut) -> Result<(), EncodeError> {
    if ack.session_present && ack.code != ConnectReturnCode::Accepted {
        return Err(EncodeError::ConnAck);
    }
    put_header(0x20, 2, out)?;
    out.put_slice(&[u8::from(ack.session_present), ack.code as u8]);
    Ok(())
}

fn encode_publish(publish: &Publish, out: &mut BytesMut) -> Result<(), EncodeError> {
    let acknowledged = publish.qos != QoS::AtMostOnce;
    if acknowledged != publish.packet_id.is_some() {
        return Err(EncodeError::PacketId);
    }
    let flags =
        u8::from(publish.dup && acknowledged) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    let id_len = if acknowledged { 2 } else { 0 };
    put_header(0x30 | flags, field_len(publish.topic.as_bytes()) + id_len + publish.payload.len(), out)?;
    put_topic(&publish.topic, out)?;
    if let Some(id) = publish.packet_id {
        put_id(id, out)?;
    }
    out.put_slice(&publish.payload);
    Ok(())
}

fn encode_subscribe(subscribe: &Subscribe, out: &mut BytesMut) -> Result<(), EncodeError> {
    let filters: usize = subscribe.filters.iter().map(|(filter, _)| field_len(filter.as_bytes()) + 1).sum();
    put_list_header(0x82, subscribe.packet_id, filters, out)?;
    for (filter, qos) in &subscribe.filters {
        put_filter(filter, out)?;
        out.put_u8(*qos as u8);
    }
    Ok(())
}

fn encode_sub_ack(ack: &SubAck, out: &mut BytesMut) -> Result<(), EncodeError> {
    put_list_header(0x90, ack.packet_id, ack.codes.len(), out)?;
    for code in &ack.codes {
        out.put_u8(match code {
            SubscribeReturn::Granted(qos) => *qos as u8,
            SubscribeReturn::Failure => 0x80,
        });
    }
    Ok(())
}

fn encode_unsubscribe(unsubscribe: &Unsubscribe, out: &mut BytesMut) -> Result<(), EncodeError> {
    let filters: usize = unsubscribe.filters.iter().map(|filter| field_len(filter.as_bytes())).sum();
    put_list_header(0xa2, unsubscribe.packet_id, filters, out)?;
    unsubscribe.filters.iter().try_for_each(|filter| put_filter(filter, out))
}

fn encode_id(first: u8, id: u16, out: &mut BytesMut) -> Result<(), EncodeError> {
    put_header(first, 2, out)?;
    put_id(id, out)
}

/// Appends the header and the packet identifier of a packet whose list takes `entries` bytes.
fn put_list_header(first: u8, id: u16, entries: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    if entries == 0 {
        return Err(EncodeError::NoFilters);
    }
    put_header(first, 2 + entries, out)?;
    put_id(id, out)
}

fn put_header(first: u8, remaining: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    if remaining > MAX_REMAINING {
        return Err(EncodeError::TooLarge);
    }
    out.reserve(5 + remaining);
    out.put_u8(first);
    let mut left = remaining;
    while left > 0x7f {
        out.put_u8(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.put_u8(left as u8);
    Ok(())
}

fn put_id(id: u16, out: &mut BytesMut) -> Result<(), EncodeError> {
    if id == 0 {
        return Err(EncodeError::PacketId);
    }
    out.put_u16(id);
    Ok(())
}

fn put_topic(topic: &str, out: &mut BytesMut) -> Result<(), EncodeError> {
    if !is_topic(topic) {
        return Err(EncodeError::Topic);
    }
    put_binary(topic.as_bytes(), out)
}

fn put_filter(filter: &str, out: &mut BytesMut) -> Result<(), EncodeError> {
    if !is_filter(filter) {
        return Err(EncodeError::Filter);
    }
    put_binary(filter.as_bytes(), out)
}

fn put_string(text: &str, out: &mut BytesMut) -> Result<(), EncodeError> {
    if text.contains('\0') {
        return Err(EncodeError::NulCharacter);
    }
    put_binary(text.as_bytes(), out)
}

fn put_binary(bytes: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    out.put_u16(u16::try_from(bytes.len()).map_err(|_| EncodeError::StringTooLong)?);
    out.put_slice(bytes);
    Ok(())
}

fn field_len(bytes: &[u8]) -> usize {
    2 + bytes.len()
}

/// The protocol name and level of MQTT 3.1.1 (§3.1.2).
const PROTOCOL: &[u8] = b"\x00\x04MQTT\x04";

/// The largest value of the remaining length (§2.2.3).
const MAX_REMAINING: usize = 0x0fff_ffff;
