//! The fourteen packets (§3) as values.

use std::fmt;

use bytes::Bytes;

/// Any packet of MQTT 3.1.1. Packet identifiers are never 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Opens a connection (§3.1).
    Connect(Connect),
    /// Answers a CONNECT (§3.2).
    ConnAck(ConnAck),
    /// Carries a message, in either direction (§3.3).
    Publish(Publish),
    /// Acknowledges a QoS 1 message (§3.4).
    PubAck(u16),
    /// Reports the receipt of a QoS 2 message (§3.5).
    PubRec(u16),
    /// Releases a QoS 2 message (§3.6).
    PubRel(u16),
    /// Completes a QoS 2 message (§3.7).
    PubComp(u16),
    /// Subscribes to topics (§3.8).
    Subscribe(Subscribe),
    /// Answers a SUBSCRIBE (§3.9).
    SubAck(SubAck),
    /// Ends subscriptions (§3.10).
    Unsubscribe(Unsubscribe),
    /// Answers an UNSUBSCRIBE (§3.11).
    UnsubAck(u16),
    /// Checks that the server is alive (§3.12).
    PingReq,
    /// Answers a PINGREQ (§3.13).
    PingResp,
    /// Closes the connection in order (§3.14).
    Disconnect,
}

/// CONNECT: protocol name `MQTT`, level 4.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Whether the server discards the client's previous session (§3.1.2.4).
    pub clean_session: bool,
    /// The longest interval between two packets of the client, in seconds; 0 means no limit (§3.1.2.10).
    pub keep_alive_secs: u16,
    /// May be empty (§3.1.3.1); whether that is acceptable is the server's decision.
    pub client_id: String,
    /// The message to publish if the connection is lost.
    pub will: Option<Will>,
    /// The user name, if one was sent.
    pub username: Option<String>,
    /// The password, if one was sent; only ever together with a user name (§3.1.2-22).
    pub password: Option<Bytes>,
}

/// The message that a server publishes when a client's connection is lost (§3.1.2.5).
#[derive(Clone, PartialEq, Eq)]
pub struct Will {
    /// The topic name.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// The quality of service.
    pub qos: QoS,
    /// Whether the message is retained.
    pub retain: bool,
}

/// CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server has stored a session of this client.
    pub session_present: bool,
    /// The verdict.
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
    /// Whether this may be a re-delivery; always false with QoS 0.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic name, without wildcards.
    pub topic: String,
    /// Present if and only if the QoS is 1 or 2.
    pub packet_id: Option<u16>,
    /// The payload.
    pub payload: Bytes,
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The identifier that the SUBACK repeats.
    pub packet_id: u16,
    /// Topic filters, each with the highest quality of service requested; at least one.
    pub filters: Vec<(String, QoS)>,
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The identifier of the SUBSCRIBE.
    pub packet_id: u16,
    /// One return code for each filter, in the same order; at least one.
    pub codes: Vec<SubscribeReturn>,
}

/// The verdict on one topic filter (§3.9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeReturn {
    /// The subscription was granted with this maximum quality of service.
    Granted(QoS),
    /// The subscription was refused (0x80).
    Failure,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The identifier that the UNSUBACK repeats.
    pub packet_id: u16,
    /// Topic filters; at least one.
    pub filters: Vec<String>,
}

/// Quality of service (§4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once and not acknowledged.
    AtMostOnce = 0,
    /// QoS 1: re-sent until acknowledged.
    AtLeastOnce = 1,
    /// QoS 2: delivered exactly once, by an exchange of four packets.
    ExactlyOnce = 2,
}

impl QoS {
    /// Reads the two-bit form; 3 is reserved.
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
