//! Hubs that run in this process.

use std::net::SocketAddr;

use model::HubName;
use serde::Deserialize;

use super::Secret;

/// One embedded hub: a small IoT hub with its own listeners and its own database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedHubConfig {
    /// What instances link it by; also the name of its database file.
    pub name: String,
    /// What devices are told, a dotted name without a port. The server's certificate must cover it.
    pub host_name: HubName,
    /// Where its REST API listens.
    pub https: SocketAddr,
    /// Where its devices connect.
    pub mqtts: SocketAddr,
    /// The key of its policy `iothubowner`.
    pub owner_key: Secret,
}
