//! Listeners, TLS, and what peers can cost.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use device_api::{FirstReply, Timing};
use ipnetwork::IpNetwork;
use net::{Limits, Reserved, tls::ServerOptions};
use serde::{Deserialize, Deserializer, de::Error};

/// Where the endpoints listen. SDKs dial the standard ports and no others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// Device provisioning endpoint and service operations endpoint over HTTPS; devices over MQTT and AMQP on WebSockets.
    pub https: SocketAddr,
    /// Device provisioning endpoint over MQTT.
    pub mqtts: SocketAddr,
    /// Device provisioning endpoint over AMQP.
    pub amqps: SocketAddr,
    /// The proxies in front of each listener.
    pub proxy: ProxyConfig,
    /// How TLS is spoken.
    pub tls: TlsOptionsConfig,
}

/// How TLS is spoken on an endpoint's listeners.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptionsConfig {
    /// Whether clients may resume sessions by tickets.
    pub session_tickets: bool,
    /// The newest version: `1.2` or `1.3`.
    pub max_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3, with 1.2 for older clients.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsOptionsConfig {
    /// As the listeners want it.
    pub fn options(self) -> ServerOptions {
        let tls12_only = self.max_version == TlsVersion::Tls12;
        ServerOptions { session_tickets: self.session_tickets, tls12_only }
    }
}

/// Load balancers that name their clients by the PROXY protocol, version 1 or 2. It is required of connections from these
/// networks, and not taken from others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// In front of HTTPS.
    pub https: Vec<IpNetwork>,
    /// In front of MQTT.
    pub mqtts: Vec<IpNetwork>,
    /// In front of AMQP.
    pub amqps: Vec<IpNetwork>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let on_port = |port| ([0, 0, 0, 0], port).into();
        let (proxy, tls) = (ProxyConfig::default(), TlsOptionsConfig::default());
        ListenConfig { https: on_port(443), mqtts: on_port(8883), amqps: on_port(5671), proxy, tls }
    }
}

/// Where monitoring reads: in clear, and whoever can reach it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// The address; nowhere when absent.
    pub listen: Option<SocketAddr>,
}

/// One certificate of the server. Several let old clients have RSA and all others ECDSA.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentityConfig {
    /// PEM file: leaf first, then its issuers.
    pub certificate: PathBuf,
    /// PEM file.
    pub key: PathBuf,
}

/// How devices are answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// How long the reply to a register waits for the result, in milliseconds; at most 10,000.
    #[serde(deserialize_with = "within::<0, 10_000, _>")]
    pub answer_within_ms: u32,
    /// When a device is told to ask again, in seconds: 2 to 5, which is what every SDK honours.
    #[serde(deserialize_with = "within::<2, 5, _>")]
    pub retry_after_secs: u32,
    /// What the reply to a register says over MQTT and AMQP: `"by-client"`, `"assigning"` or `"result"`.
    pub first_reply: FirstReplyConfig,
}

/// What the first reply over MQTT and AMQP says.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstReplyConfig {
    /// Always `assigning`, as the hosted service.
    Assigning,
    /// The result for clients that are known to read it.
    #[default]
    ByClient,
    /// The result.
    Result,
}

impl From<FirstReplyConfig> for FirstReply {
    fn from(config: FirstReplyConfig) -> FirstReply {
        match config {
            FirstReplyConfig::Assigning => FirstReply::Assigning,
            FirstReplyConfig::ByClient => FirstReply::ByClient,
            FirstReplyConfig::Result => FirstReply::Result,
        }
    }
}

impl Default for DeviceConfig {
    fn default() -> Self {
        DeviceConfig { answer_within_ms: 250, retry_after_secs: 3, first_reply: FirstReplyConfig::default() }
    }
}

impl DeviceConfig {
    /// As the endpoint wants it.
    pub fn timing(&self) -> Timing {
        Timing {
            answer_within: Duration::from_millis(u64::from(self.answer_within_ms)),
            retry_after_secs: self.retry_after_secs,
            first_reply: self.first_reply.into(),
            ..Timing::default()
        }
    }
}

/// What peers can cost. Times in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections open at once over all listeners, those of embedded hubs included.
    #[serde(deserialize_with = "within::<1, 1_000_000, _>")]
    pub max_connections: u32,
    /// Of one address (IPv6: one network of 64 bits), how many may be unproven, refusals of the last minute included.
    /// Default: half of `max_connections`. Connections with an accepted request are not counted.
    #[serde(alias = "max_connections_per_address", deserialize_with = "given_within::<1, 1_000_000, _>")]
    pub max_unproven_per_address: Option<u32>,
    /// Places that are kept free.
    pub reserved: ReservedConfig,
    /// From the start of a connection to its first accepted request; until then it is unproven.
    #[serde(deserialize_with = "within::<5, 600, _>")]
    pub unproven_lifetime_secs: u32,
    /// From the first byte to the last of a packet, frame, message or body.
    #[serde(deserialize_with = "within::<1, 600, _>")]
    pub packet_timeout_secs: u32,
    /// From the start of a connection to the end of its TLS handshake.
    #[serde(deserialize_with = "within::<1, 300, _>")]
    pub handshake_timeout_secs: u32,
    /// From the start of a request to the end of its header; from a handshake to the end of CONNECT.
    #[serde(deserialize_with = "within::<1, 300, _>")]
    pub header_timeout_secs: u32,
    /// Silence on a kept HTTPS connection. SDKs fail when the server closes first: keep it over 300.
    #[serde(deserialize_with = "within::<5, 86_400, _>")]
    pub http_idle_timeout_secs: u32,
    /// Silence of an MQTT client that asked for no keep-alive.
    #[serde(deserialize_with = "within::<5, 86_400, _>")]
    pub mqtt_idle_timeout_secs: u32,
    /// Silence of an AMQP client; it is told half of that.
    #[serde(deserialize_with = "within::<5, 86_400, _>")]
    pub amqp_idle_timeout_secs: u32,
    /// How long requests in progress may take after the signal to stop.
    #[serde(deserialize_with = "within::<0, 300, _>")]
    pub shutdown_grace_secs: u32,
}

/// Places for connections that are kept free, so that no kind of connection takes all of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReservedConfig {
    /// For connections without an accepted request yet. Default: a tenth of `max_connections`.
    pub unproven: Option<u32>,
    /// For devices at the provisioning endpoint. Default: a fifth.
    pub provisioning: Option<u32>,
    /// For operators. Default: a fiftieth.
    pub operations: Option<u32>,
    /// For embedded hubs. Default: a fifth.
    pub hubs: Option<u32>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            max_connections: 50_000,
            max_unproven_per_address: None,
            reserved: ReservedConfig::default(),
            unproven_lifetime_secs: 45,
            packet_timeout_secs: 60,
            handshake_timeout_secs: 15,
            header_timeout_secs: 15,
            http_idle_timeout_secs: 330,
            mqtt_idle_timeout_secs: 600,
            amqp_idle_timeout_secs: 600,
            shutdown_grace_secs: 10,
        }
    }
}

impl LimitsConfig {
    /// As the listeners want it.
    pub fn limits(&self) -> Limits {
        let seconds = |number: u32| Duration::from_secs(u64::from(number));
        let places = |number: Option<u32>| number.map(|number| number as usize);
        let mut limits = Limits {
            max_connections: self.max_connections as usize,
            max_unproven_per_address: places(self.max_unproven_per_address),
            reserved: Reserved {
                unproven: places(self.reserved.unproven),
                provisioning: places(self.reserved.provisioning),
                operations: places(self.reserved.operations),
                hubs: places(self.reserved.hubs),
            },
            packet_timeout: seconds(self.packet_timeout_secs),
            handshake_timeout: seconds(self.handshake_timeout_secs),
            header_timeout: seconds(self.header_timeout_secs),
            http_idle_timeout: seconds(self.http_idle_timeout_secs),
            shutdown_grace: seconds(self.shutdown_grace_secs),
            ..Limits::default()
        };
        limits.unproven.lifetime = seconds(self.unproven_lifetime_secs);
        limits.mqtt.connect_timeout = limits.header_timeout;
        limits.mqtt.idle_timeout = seconds(self.mqtt_idle_timeout_secs);
        limits.amqp.idle_timeout = seconds(self.amqp_idle_timeout_secs);
        limits
    }
}

/// A number between two others, both included.
pub(super) fn within<'de, const FROM: u32, const TO: u32, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u32, D::Error> {
    let number = u32::deserialize(deserializer)?;
    if (FROM..=TO).contains(&number) {
        Ok(number)
    } else {
        Err(D::Error::custom(format!("must be {FROM} to {TO}")))
    }
}

/// The same for a number that may be left out.
fn given_within<'de, const FROM: u32, const TO: u32, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    within::<FROM, TO, D>(deserializer).map(Some)
}
