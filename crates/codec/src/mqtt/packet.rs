//! The fourteen packets (§3) as values.

use std::fmt;

use bytes::Bytes;

/// Any packet of MQTT 3.1.1. Packet identifiers are never 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A client introduces itself (§3.1).
    Connect(Connect),
    /// The server's answer to that (§3.2).
    ConnAck(ConnAck),
    /// A message, in either direction (§3.3).
    Publish(Publish),
    /// A QoS 1 message was received (§3.4).
    PubAck(u16),
    /// A QoS 2 message was received (§3.5).
    PubRec(u16),
    /// A QoS 2 message may be released (§3.6).
    PubRel(u16),
    /// A QoS 2 message is done (§3.7).
    PubComp(u16),
    /// A client asks for messages (§3.8).
    Subscribe(Subscribe),
    /// The server's answer to that (§3.9).
    SubAck(SubAck),
    /// A client asks for no more messages (§3.10).
    Unsubscribe(Unsubscribe),
    /// The server's answer to that (§3.11).
    UnsubAck(u16),
    /// A client asks whether the server is there (§3.12).
    PingReq,
    /// It is (§3.13).
    PingResp,
    /// A client takes leave (§3.14).
    Disconnect,
}

/// CONNECT: protocol name `MQTT`, level 4.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Whether the server shall forget the client's former session (§3.1.2.4).
    pub clean_session: bool,
    /// Longest silence of the client in seconds; 0 means no limit (§3.1.2.10).
    pub keep_alive_secs: u16,
    /// May be empty (§3.1.3.1); whether that is acceptable is the server's decision.
    pub client_id: String,
    /// What to publish when the client is lost.
    pub will: Option<Will>,
    /// The user name, if one was sent.
    pub username: Option<String>,
    /// The password, if one was sent; only ever together with a user name (§3.1.2-22).
    pub password: Option<Bytes>,
}

/// What a server publishes for a client that vanished (§3.1.2.5).
#[derive(Clone, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// With which quality of service.
    pub qos: QoS,
    /// Whether the message is retained.
    pub retain: bool,
}

/// CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server has kept a session of this client.
    pub session_present: bool,
    /// Whether the client is in.
    pub code: ConnectReturnCode,
}

/// The server's verdict on a CONNECT (table 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// Connection accepted.
    Accepted = 0,
    /// The server does not speak this version of the protocol.
    UnacceptableProtocolVersion = 1,
    /// The client identifier is correct UTF-8 but not allowed.
    IdentifierRejected = 2,
    /// The service cannot take connections now.
    ServerUnavailable = 3,
    /// User name or password are malformed.
    BadUserNameOrPassword = 4,
    /// The client may not connect.
    NotAuthorized = 5,
}

/// PUBLISH.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether this may be a repetition; always false with QoS 0.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Whether the message is (to be) retained.
    pub retain: bool,
    /// Where to; a topic name without wildcards.
    pub topic: String,
    /// Present exactly with QoS 1 and 2.
    pub packet_id: Option<u16>,
    /// The message.
    pub payload: Bytes,
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Repeated in the SUBACK.
    pub packet_id: u16,
    /// Topic filters with the highest quality of service wanted; at least one.
    pub filters: Vec<(String, QoS)>,
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// That of the SUBSCRIBE.
    pub packet_id: u16,
    /// One for each filter, in the same order; at least one.
    pub codes: Vec<SubscribeReturn>,
}

/// The verdict on one topic filter (§3.9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeReturn {
    /// Messages come with at most this quality of service.
    Granted(QoS),
    /// No messages will come (0x80).
    Failure,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Repeated in the UNSUBACK.
    pub packet_id: u16,
    /// Topic filters; at least one.
    pub filters: Vec<String>,
}

/// Quality of service (§4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once, never acknowledged.
    AtMostOnce = 0,
    /// QoS 1: repeated until acknowledged.
    AtLeastOnce = 1,
    /// QoS 2: delivered once, with a four-part exchange.
    ExactlyOnce = 2,
}

impl QoS {
    /// The two-bit form; 3 is reserved.
    pub(super) fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

impl ConnectReturnCode {
    pub(super) fn from_byte(byte: u8) -> Option<ConnectReturnCode> {
        Some(match byte {
            0 => ConnectReturnCode::Accepted,
            1 => ConnectReturnCode::UnacceptableProtocolVersion,
            2 => ConnectReturnCode::IdentifierRejected,
            3 => ConnectReturnCode::ServerUnavailable,
            4 => ConnectReturnCode::BadUserNameOrPassword,
            5 => ConnectReturnCode::NotAuthorized,
            _ => return None,
        })
    }
}

/// Shows neither password nor will payload.
impl fmt::Debug for Connect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connect")
            .field("clean_session", &self.clean_session)
            .field("keep_alive_secs", &self.keep_alive_secs)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .finish()
    }
}

/// Shows the payload's length only.
impl fmt::Debug for Will {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish()
    }
}

/// Shows the payload's length only: it may carry keys.
impl fmt::Debug for Publish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Publish")
            .field("dup", &self.dup)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("topic", &self.topic)
            .field("packet_id", &self.packet_id)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}
