//! Configuration of listeners, TLS, replies to devices, and limits.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use device_api::{FirstReply, Timing};
use ipnetwork::IpNetwork;
use net::{Limits, Reserved, tls::ServerOptions};
use serde::{Deserialize, Deserializer, de::Error};

/// The addresses of the endpoints. SDKs connect only to the standard ports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// Both endpoints over HTTPS, and devices over MQTT and AMQP on WebSockets.
    pub https: SocketAddr,
    /// The device provisioning endpoint over MQTT.
    pub mqtts: SocketAddr,
    /// The device provisioning endpoint over AMQP.
    pub amqps: SocketAddr,
    /// The proxies in front of each listener.
    pub proxy: ProxyConfig,
    /// The TLS options.
    pub tls: TlsOptionsConfig,
}

/// The TLS options of an endpoint's listeners.
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
    /// Converts to the type of the listeners.
    pub fn options(self) -> ServerOptions {
        let tls12_only = self.max_version == TlsVersion::Tls12;
        ServerOptions { session_tickets: self.session_tickets, tls12_only }
    }
}

/// Load balancers that send PROXY protocol headers, version 1 or 2. A header is required of connections from these networks,
/// and rejected from others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// The proxies in front of HTTPS.
    pub https: Vec<IpNetwork>,
    /// The proxies in front of MQTT.
    pub mqtts: Vec<IpNetwork>,
    /// The proxies in front of AMQP.
    pub amqps: Vec<IpNetwork>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let on_port = |port| ([0, 0, 0, 0], port).into();
        let (proxy, tls) = (ProxyConfig::default(), TlsOptionsConfig::default());
        ListenConfig { https: on_port(443), mqtts: on_port(8883), amqps: on_port(5671), proxy, tls }
    }
}

/// The listener for metrics, with plain HTTP and without authentication.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// The address; no listener when absent.
    pub listen: Option<SocketAddr>,
}

/// A server certificate. With several, old clients get RSA and all others ECDSA.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentityConfig {
    /// The certificate chain, a PEM file with the leaf first.
    pub certificate: PathBuf,
    /// The private key, a PEM file.
    pub key: PathBuf,
}

/// The replies to devices.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// How long a register call waits for its result, in milliseconds; at most 10,000.
    #[serde(deserialize_with = "within::<0, 10_000, _>")]
    pub answer_within_ms: u32,
    /// The Retry-After of `assigning`, in seconds: 2 to 5, the range that every SDK respects.
    #[serde(deserialize_with = "within::<2, 5, _>")]
    pub retry_after_secs: u32,
    /// The first reply over MQTT and AMQP: `"by-client"`, `"assigning"` or `"result"`.
    pub first_reply: FirstReplyConfig,
}

/// The first reply over MQTT and AMQP.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstReplyConfig {
    /// Always `assigning`, as in Azure.
    Assigning,
    /// The result for clients that are known to accept it.
    #[default]
    ByClient,
    /// Always the result.
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
    /// Converts to the type of the endpoint.
    pub fn timing(&self) -> Timing {
        Timing {
            answer_within: Duration::from_millis(u64::from(self.answer_within_ms)),
            retry_after_secs: self.retry_after_secs,
            first_reply: self.first_reply.into(),
            ..Timing::default()
        }
    }
}

/// The limits for peers. Times are in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The concurrent connections over all listeners, including those of embedded hubs.
    #[serde(deserialize_with = "within::<1, 1_000_000, _>")]
    pub max_connections: u32,
    /// The unproven connections of one address (of one /64 network for IPv6), including refusals of the last minute. Default:
    /// half of `max_connections`.
    #[serde(alias = "max_connections_per_address", deserialize_with = "optional_within::<1, 1_000_000, _>")]
    pub max_unproven_per_address: Option<u32>,
    /// The reserved connections.
    pub reserved: ReservedConfig,
    /// The time from the start of a connection to its first accepted request; until then it is unproven.
    #[serde(deserialize_with = "within::<5, 600, _>")]
    pub unproven_lifetime_secs: u32,
    /// The time from the first to the last byte of a packet, frame, message or body.
    #[serde(deserialize_with = "within::<1, 600, _>")]
    pub packet_timeout_secs: u32,
    /// The time from the start of a connection to the end of its TLS handshake.
    #[serde(deserialize_with = "within::<1, 300, _>")]
    pub handshake_timeout_secs: u32,
    /// The time from the start of a request to the end of its header, and from a handshake to the end of CONNECT.
    #[serde(deserialize_with = "within::<1, 300, _>")]
    pub header_timeout_secs: u32,
    /// The idle time of an HTTPS connection. SDKs fail if the server closes first, so keep it over 300.
    #[serde(deserialize_with = "within::<5, 86_400, _>")]
    pub http_idle_timeout_secs: u32,
    /// The idle time of an MQTT client without keep-alive.
    #[serde(deserialize_with = "within::<5, 86_400, _>")]
    pub mqtt_idle_timeout_secs: u32,
    /// The idle time of an AMQP client, which gets half of it as the idle time-out.
    #[serde(deserialize_with = "within::<5, 86_400, _>")]
    pub amqp_idle_timeout_secs: u32,
    /// The time for requests in progress after the signal to stop.
    #[serde(deserialize_with = "within::<0, 300, _>")]
    pub shutdown_grace_secs: u32,
}

/// Connections that are reserved for one kind each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReservedConfig {
    /// For unproven connections. Default: a tenth of `max_connections`.
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
    /// Converts to the type of the listeners.
    pub fn limits(&self) -> Limits {
        let seconds = |number: u32| Duration::from_secs(u64::from(number));
        let connections = |number: Option<u32>| number.map(|number| number as usize);
        let mut limits = Limits {
            max_connections: self.max_connections as usize,
            max_unproven_per_address: connections(self.max_unproven_per_address),
            reserved: Reserved {
                unproven: connections(self.reserved.unproven),
                provisioning: connections(self.reserved.provisioning),
                operations: connections(self.reserved.operations),
                hubs: connections(self.reserved.hubs),
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

/// Deserializes a number from `FROM` to `TO`, inclusive.
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

/// Deserializes an optional number from `FROM` to `TO`, inclusive.
fn optional_within<'de, const FROM: u32, const TO: u32, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    within::<FROM, TO, D>(deserializer).map(Some)
}
