//! Outbound calls: a [`HubConnector`](provisioning::ports::HubConnector) for each kind of linked hub, the topology of hubs,
//! and the client of allocation webhooks.

mod connectors;
mod embedded;
mod found;
mod rest;
mod topology;
pub mod webhook;

pub use connectors::Connectors;
pub use embedded::EmbeddedConnector;
pub use rest::{RestConnector, RestLink};
pub use topology::{GeoIp, GeoIpError, HubProber, HubProberPorts, KnownTopology, LatencyTable, TableError};
