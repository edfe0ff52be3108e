//! Listeners, TLS, and what peers can cost.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use device_api::{FirstReply, Timing};
use net::Limits;
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
}

impl Default for ListenConfig {
    fn default() -> Self {
        let on_port = |port| ([0, 0, 0, 0], port).into();
        ListenConfig { https: on_port(443), mqtts: on_port(8883), amqps: on_port(5671) }
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
    /// Of these, how many may come from one address (IPv6: one network of 64 bits). Default: half of them. Raise it where
    /// a proxy or an address translator stands in front of the whole fleet.
    #[serde(deserialize_with = "given_within::<1, 1_000_000, _>")]
    pub max_connections_per_address: Option<u32>,
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

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            max_connections: 50_000,
            max_connections_per_address: None,
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
        let mut limits = Limits {
            max_connections: self.max_connections as usize,
            max_connections_per_address: self.max_connections_per_address.map(|most| most as usize),
            handshake_timeout: seconds(self.handshake_timeout_secs),
            header_timeout: seconds(self.header_timeout_secs),
            http_idle_timeout: seconds(self.http_idle_timeout_secs),
            shutdown_grace: seconds(self.shutdown_grace_secs),
            ..Limits::default()
        };
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
