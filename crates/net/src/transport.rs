//! What connections speak, and how many of each are open.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What a connection speaks, and over what.
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
    /// All of them.
    pub const ALL: [Transport; 5] =
        [Transport::Https, Transport::Mqtt, Transport::MqttWs, Transport::Amqp, Transport::AmqpWs];

    /// The word for it.
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

/// How many connections of each transport are open. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Open(Arc<[AtomicUsize; Transport::ALL.len()]>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Open, Transport);

impl Open {
    pub(crate) fn one_more(&self, transport: Transport) -> Counted {
        self.0[transport as usize].fetch_add(1, Ordering::Relaxed);
        Counted(self.clone(), transport)
    }

    pub(crate) fn count(&self, transport: Transport) -> usize {
        self.0[transport as usize].load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Counted(open, transport) = self;
        open.0[*transport as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
