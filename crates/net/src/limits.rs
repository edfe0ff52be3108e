//! The resources that one peer, and all peers together, can use.

use std::time::Duration;

use crate::connection_table::Capacity;

/// Bounds of every listener that shares a [`crate::ConnectionLimiter`]. The defaults suit the public internet.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once, over all listeners of the limiter. At the limit, an unproven connection is evicted for a new
    /// one. Default 50,000.
    pub max_connections: usize,
    /// Unproven connections from one address, or from one IPv6 network of 64 bits: beyond it one that was refused is
    /// evicted for a new one, and if there is none, the new one is closed. Also the refusals of it in a minute that are
    /// answered at once; those beyond are answered at this rate, and other requests of the address are not delayed. Proven connections
    /// are not counted: the devices of a factory behind one address translator reconnect all at once. Default: half of `max_connections`.
    pub max_unproven_per_address: Option<usize>,
    /// Permits that are kept free. Default: shares of `max_connections`.
    pub reserved: Reserved,
    /// Bounds of a connection until a service accepts a request of it.
    pub unproven: UnprovenLimits,
    /// From the first byte to the last of an MQTT packet, an AMQP frame, a WebSocket message or an HTTP body, for proven
    /// connections too. Default 60 s: 128 KiB over the slowest radio links take most of it.
    pub packet_timeout: Duration,
    /// From TCP accept to the end of the TLS handshake. Default 15 s: two round trips over the slowest radio
    /// links.
    pub handshake_timeout: Duration,
    /// From the first byte of an HTTP request (the handshake's end for the first) to the end of its header.
    /// Default 15 s.
    pub header_timeout: Duration,
    /// From the end of an HTTP request's header to the response, the body's arrival included. Default 60 s.
    pub request_timeout: Duration,
    /// Silence between HTTP requests on a connection, and the longest a response may take to be read.
    /// Default 330 s: two SDKs fail when the server closes a connection while they wait for a Retry-After.
    pub http_idle_timeout: Duration,
    /// Bytes of an HTTP request's header, and of buffering per connection; beyond it the answer is 431.
    /// Default 8 KiB, and not less: SDKs send less than 2 KiB.
    pub max_header_bytes: usize,
    /// From the shutdown signal until open connections are dropped. Default 10 s.
    pub shutdown_grace: Duration,
    /// Bounds of AMQP connections.
    pub amqp: AmqpLimits,
    /// Bounds of MQTT connections.
    pub mqtt: MqttLimits,
}

/// Permits that are kept free, so that no kind of connection takes all of them. The others are for all kinds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reserved {
    /// For unproven connections; at least one is. Default: a tenth of all.
    pub unproven: Option<usize>,
    /// For devices at the provisioning endpoint. Default: a fifth.
    pub provisioning: Option<usize>,
    /// For operators at the service operations endpoint. Default: a fiftieth.
    pub operations: Option<usize>,
    /// For embedded hubs. Default: a fifth.
    pub hubs: Option<usize>,
}

/// Bounds of a connection that is unproven. Besides what they bound, a connection holds its TLS session, one record of at most
/// 16 KiB, and its certificates twice. Over WebSockets the framing also reserves room for the message that was announced.
#[derive(Debug, Clone)]
pub struct UnprovenLimits {
    /// From TCP accept to the first accepted request. Default 45 s: a TPM takes seconds for each of its answers.
    pub lifetime: Duration,
    /// Bytes that the client may send for its TLS handshake. Default 24 KiB: a hello, and the longest chain that is taken.
    pub handshake_bytes: usize,
    /// Bytes of a packet, message or HTTP body. Default 8 KiB: a registration with its token and a payload of usual size.
    /// A client that sends more must prove who it is first.
    pub max_bytes: usize,
}

/// Bounds of one AMQP connection.
#[derive(Debug, Clone)]
pub struct AmqpLimits {
    /// From the TLS handshake to an open connection, the endpoint's own time included. Default 30 s: a TPM takes seconds
    /// for each of its answers.
    pub login_timeout: Duration,
    /// Bytes of a SASL frame. Default 1 KiB: the standard's 512 (§5.3.1) are too few for the longest registration ID,
    /// which is in the user name and again in the token.
    pub max_sasl_frame: usize,
    /// Bytes of the frame that opens the connection; before it no size is agreed upon. Default 4 KiB: it has the
    /// versions and capabilities of the client.
    pub max_frame_before_open: usize,
    /// Bytes of any frame afterwards, at least 512. Default 8 KiB: an unproven client may send one.
    pub max_frame: usize,
    /// Bytes of a message, and of all messages of a connection together of which a part has arrived. Default 132 KiB, as
    /// for MQTT.
    pub max_message: usize,
    /// Longest silence of a client; its open announces half of that. Default 600 s, as for MQTT.
    pub idle_timeout: Duration,
    /// Longest time that writing to the client may take; a client that does not read is closed. Default 15 s.
    pub write_timeout: Duration,
    /// Sessions at once. Default 8: SDKs use one, or one for each kind of link.
    pub sessions: u16,
    /// Links at once, over all sessions. Default 24: a device at its hub has at most 9.
    pub links: u32,
    /// Messages that the client may send over a link before one of them is settled. Default 16; one SDK wants 10.
    pub credit: u32,
    /// Messages to the client that wait to be sent; beyond it [`crate::amqp::OutboxError::Full`]. Default 32.
    pub outbox: usize,
    /// Messages to the client that it has not settled, in one session; the next ones stay in the outbox. Default 64: the
    /// messages that a hub keeps for a device.
    pub unsettled: usize,
}

/// Bounds of one MQTT connection.
#[derive(Debug, Clone)]
pub struct MqttLimits {
    /// From the TLS handshake to a complete CONNECT (§3.1: "a reasonable amount of time"). Default 10 s.
    pub connect_timeout: Duration,
    /// Bytes of the CONNECT packet. Default 8 KiB: user name and SAS token take about 500 bytes.
    pub max_packet_before_connect: usize,
    /// Bytes of any packet afterwards. Default 132 KiB: a 128 KiB registration payload and its topic.
    pub max_packet: usize,
    /// Longest silence of a client with keep-alive 0; others have one and a half keep-alives, of at most 1767 s each.
    /// Default 600 s: clients with keep-alive 0 poll every few seconds or are done.
    pub idle_timeout: Duration,
    /// Longest time that writing to the client may take; a client that does not read is closed. Default 15 s.
    pub write_timeout: Duration,
    /// Messages to the client that wait to be written; beyond it [`crate::mqtt::OutboxError::Full`]. Default
    /// 32.
    pub outbox: usize,
    /// QoS 1 messages to the client that wait for its PUBACK; the next ones stay in the outbox. Default 16.
    pub in_flight: usize,
}

impl Limits {
    /// Returns how many permits there are, and for which kinds of connections.
    pub(crate) fn capacity(&self) -> Capacity {
        let total = self.max_connections;
        let Reserved { unproven, provisioning, operations, hubs } = self.reserved;
        Capacity {
            total,
            per_network: self.max_unproven_per_address.unwrap_or(total.div_ceil(2)),
            unproven: unproven.unwrap_or(total / 10).max(1),
            services: [
                provisioning.unwrap_or(total / 5),
                operations.unwrap_or(total / 50),
                hubs.unwrap_or(total / 5),
            ],
        }
    }
}

impl Default for UnprovenLimits {
    fn default() -> UnprovenLimits {
        UnprovenLimits { lifetime: Duration::from_secs(45), handshake_bytes: 24 * 1024, max_bytes: 8 * 1024 }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 50_000,
            max_unproven_per_address: None,
            reserved: Reserved::default(),
            unproven: UnprovenLimits::default(),
            packet_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(15),
            header_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(60),
            http_idle_timeout: Duration::from_secs(330),
            max_header_bytes: 8 * 1024,
            shutdown_grace: Duration::from_secs(10),
            amqp: AmqpLimits::default(),
            mqtt: MqttLimits::default(),
        }
    }
}

impl Default for AmqpLimits {
    fn default() -> AmqpLimits {
        AmqpLimits {
            login_timeout: Duration::from_secs(30),
            max_sasl_frame: 1024,
            max_frame_before_open: 4 * 1024,
            max_frame: 8 * 1024,
            max_message: 132 * 1024,
            idle_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(15),
            sessions: 8,
            links: 24,
            credit: 16,
            outbox: 32,
            unsettled: 64,
        }
    }
}

impl Default for MqttLimits {
    fn default() -> MqttLimits {
        MqttLimits {
            connect_timeout: Duration::from_secs(10),
            max_packet_before_connect: 8 * 1024,
            max_packet: 132 * 1024,
            idle_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(15),
            outbox: 32,
            in_flight: 16,
        }
    }
}
