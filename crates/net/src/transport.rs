//! The transports, and how many connections of each are open.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The protocol of a connection, and what carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// HTTP over TLS.
    Https,
    /// MQTT over TLS.
    Mqtt,
    /// MQTT over WebSockets, on the port of HTTPS.
    MqttWs,
    /// AMQP over TLS.
    Amqp,
    /// AMQP over WebSockets, on the port of HTTPS.
    AmqpWs,
}

impl Transport {
    /// All transports.
    pub const ALL: [Transport; 5] =
        [Transport::Https, Transport::Mqtt, Transport::MqttWs, Transport::Amqp, Transport::AmqpWs];

    /// Returns its name in logs, metrics and settings.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Https => "https",
            Transport::Mqtt => "mqtt",
            Transport::MqttWs => "mqtt-ws",
            Transport::Amqp => "amqp",
            Transport::AmqpWs => "amqp-ws",
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Transport, String> {
        let found = Transport::ALL.into_iter().find(|transport| transport.name() == text);
        found.ok_or_else(|| format!("must be one of {}", Transport::ALL.map(Transport::name).join(", ")))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Counts the open connections of each transport. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenConnections(Arc<[AtomicUsize; Transport::ALL.len()]>);

/// One counted connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionCount(OpenConnections, Transport);

impl OpenConnections {
    pub(crate) fn add(&self, transport: Transport) -> ConnectionCount {
        self.0[transport as usize].fetch_add(1, Ordering::Relaxed);
        ConnectionCount(self.clone(), transport)
    }

    pub(crate) fn count(&self, transport: Transport) -> usize {
        self.0[transport as usize].load(Ordering::Relaxed)
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let ConnectionCount(open, transport) = self;
        open.0[*transport as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
