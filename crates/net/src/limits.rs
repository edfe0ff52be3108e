//! What one peer, and all peers together, can cost.

use std::time::Duration;

/// Bounds of every listener that shares a [`crate::Gate`]. The defaults suit the public internet.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once, over all listeners of the gate. At the limit new ones wait before their
    /// handshake, all but one per listener in the kernel's queue. Default 50,000: about 2 GB at 40 KB for a
    /// TLS connection.
    pub max_connections: usize,
    /// Of these, how many may come from one address, or from one IPv6 network of 64 bits; what comes beyond it is closed.
    /// Default: half of them, so that no single machine can take all, and a fleet behind one address translator still
    /// fits.
    pub max_connections_per_address: Option<usize>,
    /// From TCP accept to the end of the TLS handshake. Default 15 s: two round trips over the slowest radio
    /// links.
    pub handshake_timeout: Duration,
    /// From the first byte of an HTTP request (the handshake's end for the first) to the end of its header.
    /// Default 15 s.
    pub header_timeout: Duration,
    /// From the end of an HTTP request's header to the response, the body's arrival included. Default 60 s.
    pub request_timeout: Duration,
    /// Silence between HTTP requests on a kept connection, and the longest a response may take to be read.
    /// Default 330 s: two SDKs fail when the server closes a connection while they wait for a Retry-After.
    pub http_idle_timeout: Duration,
    /// Bytes of an HTTP request's header, and of buffering per connection; beyond it the answer is 431.
    /// Default 16 KiB, at least 8 KiB.
    pub max_header_bytes: usize,
    /// From the shutdown signal until open connections are dropped. Default 10 s.
    pub shutdown_grace: Duration,
    /// Bounds of AMQP connections.
    pub amqp: AmqpLimits,
    /// Bounds of MQTT connections.
    pub mqtt: MqttLimits,
}

/// Bounds of one AMQP connection.
#[derive(Debug, Clone)]
pub struct AmqpLimits {
    /// From the TLS handshake to an open connection, the endpoint's own time included. Default 30 s: a TPM takes seconds
    /// for each of its answers.
    pub login_timeout: Duration,
    /// Bytes of a SASL frame. Default 1 KiB: the standard's 512 (§5.3.1) are too few for the longest registration ID,
    /// which stands in the user name and again in the token.
    pub max_sasl_frame: usize,
    /// Bytes of the frame that opens the connection; before it no size is agreed upon. Default 4 KiB: clients tell their
    /// versions and capabilities in it.
    pub max_frame_before_open: usize,
    /// Bytes of any frame afterwards, at least 512. Default 16 KiB: one TLS record.
    pub max_frame: usize,
    /// Bytes of a message, and of all messages of a connection together of which a part has arrived. Default 132 KiB, as
    /// for MQTT.
    pub max_message: usize,
    /// Longest time from the first transfer of a message to its last. Default 60 s.
    pub delivery_timeout: Duration,
    /// Longest silence of a client; it is told half of that. Default 600 s, as for MQTT.
    pub idle_timeout: Duration,
    /// Longest time that writing to the client may take; a client that does not read is closed. Default 15 s.
    pub write_timeout: Duration,
    /// Sessions at once. Default 8: SDKs use one, or one for each kind of link.
    pub sessions: u16,
    /// Links at once, over all sessions. Default 24: a device at its hub has at most 9.
    pub links: u32,
    /// Messages that the client may send over a link before it hears of one of them. Default 16; one SDK wants 10.
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
    /// How many connections one address may have.
    pub(crate) fn per_address(&self) -> usize {
        self.max_connections_per_address.unwrap_or(self.max_connections.div_ceil(2))
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 50_000,
            max_connections_per_address: None,
            handshake_timeout: Duration::from_secs(15),
            header_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(60),
            http_idle_timeout: Duration::from_secs(330),
            max_header_bytes: 16 * 1024,
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
            max_frame: 16 * 1024,
            max_message: 132 * 1024,
            delivery_timeout: Duration::from_secs(60),
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
