//! The ways to linked hubs: one [`HubConnector`] per kind of hub, and the list of those that can be reached.

mod embedded;
mod rest;
mod surroundings;

use std::{collections::HashMap, sync::Arc};

use model::{HubName, LinkedHub};
use provisioning::ports::{HubConnector, Hubs};

pub use embedded::EmbeddedConnector;
pub use rest::{LinkError, LinkRight, RestConnector, RestLink};
pub use surroundings::{GeoIp, GeoIpError, KnownSurroundings, LatencyTable, Survey, SurveyPorts, TableError};

/// The hubs that this process can reach, by name.
#[derive(Default)]
pub struct Connectors {
    by_name: HashMap<HubName, Arc<dyn HubConnector>>,
}

impl Connectors {
    /// These embedded hubs.
    pub fn to_embedded(hubs: impl IntoIterator<Item = embedded_hub::Hub>) -> Self {
        let connectors = hubs.into_iter().map(|hub| {
            let name = hub.name().clone();
            (name, Arc::new(EmbeddedConnector::new(hub)) as Arc<dyn HubConnector>)
        });
        Connectors { by_name: connectors.collect() }
    }

    /// These and hubs that are called by their REST API. No two of all may have the same name.
    pub fn and_over_rest(mut self, connectors: impl IntoIterator<Item = Arc<RestConnector>>) -> Self {
        for connector in connectors {
            self.by_name.insert(connector.hub().clone(), connector);
        }
        self
    }
}

impl Hubs for Connectors {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        self.by_name.get(&hub.name).cloned()
    }
}
