//! Configuration of embedded hubs.

use std::net::SocketAddr;

use model::HubName;
use serde::{Deserialize, Deserializer, de::Error};

use super::{ListenConfig, ProxyConfig, Secret, TlsOptionsConfig};

/// One embedded hub: a small IoT hub with its own listeners and its own database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedHubConfig {
    /// The name by which instances link the hub; also the name of its database file.
    #[serde(deserialize_with = "file_name")]
    pub name: String,
    /// The host name that devices get, a dotted name without a port. The server certificate must cover it.
    pub host_name: HubName,
    /// The address of the REST API.
    pub https: SocketAddr,
    /// The address for devices over MQTT.
    pub mqtts: SocketAddr,
    /// The address for devices over AMQP.
    pub amqps: SocketAddr,
    /// The proxies in front of each listener.
    #[serde(default)]
    pub proxy: ProxyConfig,
    /// The TLS options.
    #[serde(default)]
    pub tls: TlsOptionsConfig,
    /// The key of the policy `iothubowner`.
    pub owner_key: Secret,
}

impl EmbeddedHubConfig {
    /// Returns the addresses of the listeners.
    pub fn listen(&self) -> ListenConfig {
        ListenConfig {
            https: self.https,
            mqtts: self.mqtts,
            amqps: self.amqps,
            proxy: self.proxy.clone(),
            tls: self.tls,
        }
    }
}

fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        Ok(name)
    } else {
        Err(D::Error::custom("must be 1 to 64 letters, digits, hyphens and underscores"))
    }
}
