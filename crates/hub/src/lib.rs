//! The ways to linked hubs: one [`HubConnector`](provisioning::ports::HubConnector) per kind of hub, and the list of those
//! that can be reached.

mod connectors;
mod embedded;
mod found;
mod rest;
mod surroundings;

pub use connectors::Connectors;
pub use embedded::EmbeddedConnector;
pub use rest::{RestConnector, RestLink};
pub use surroundings::{GeoIp, GeoIpError, KnownSurroundings, LatencyTable, Survey, SurveyPorts, TableError};
