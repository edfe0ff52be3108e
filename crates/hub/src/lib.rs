//! The ways to linked hubs: one [`HubConnector`] per kind of hub, and the list of those that can be reached.

mod embedded;

use std::{collections::HashMap, sync::Arc};

use model::{HubName, LinkedHub};
use provisioning::ports::{HubConnector, Hubs};

pub use embedded::EmbeddedConnector;

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
}

impl Hubs for Connectors {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        self.by_name.get(&hub.name).cloned()
    }
}
