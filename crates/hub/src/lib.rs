//! Outbound calls: a [`HubConnector`](provisioning::ports::HubConnector) for each kind of linked hub, the list of those
//! that can be reached, and the client of allocation webhooks.

mod connectors;
mod embedded;
mod found;
mod rest;
mod surroundings;
pub mod webhook;

pub use connectors::Connectors;
pub use embedded::EmbeddedConnector;
pub use rest::{RestConnector, RestLink};
pub use surroundings::{GeoIp, GeoIpError, KnownSurroundings, LatencyTable, Survey, SurveyPorts, TableError};
