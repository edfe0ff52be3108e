//! Outbound calls: a [`HubConnector`](provisioning::ports::HubConnector) for each kind of linked hub, the topology of hubs,
//! and the clients of allocation webhooks and of servers with revocation lists.

mod connectors;
mod embedded;
mod found;
mod rest;
mod revocation_lists;
mod topology;
pub mod webhook;

pub use connectors::Connectors;
pub use embedded::EmbeddedConnector;
pub use rest::{RestConnector, RestLink};
pub use revocation_lists::RevocationListClient;
pub use topology::{GeoIp, GeoIpError, HubProber, HubProberPorts, KnownTopology};
