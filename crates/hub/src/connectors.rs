//! The ways to linked hubs, made when they are first asked for and kept.
//!
//! A way belongs to what the link says: a link with another key or port has another way, with a new circuit and no kept
//! connections. So a rotated key counts from the next call on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use embedded_hub::Hub;
use model::{Carried, DeviceId, DeviceSpec, HubAccess, HubEndpoint, HubName, LinkedHub, Timestamp};
use provisioning::ports::{
    Clock, Ensured, Entropy, HubConnector, HubDevice, HubError, HubVersion, Hubs, Removed,
};

use crate::{EmbeddedConnector, RestConnector, RestLink};

/// A way that was asked for by nobody for so long goes: a call that was under way while its hub was unlinked has made
/// it again.
const MAX_IDLE: Duration = Duration::from_secs(600);

/// The hubs that this process can reach.
///
/// An embedded hub of this process is always called directly, also when it is linked by a connection string as one hub
/// of many: then its key must be the hub's, as everywhere, because a hub may belong to another tenant than the link.
pub struct Connectors {
    embedded: HashMap<HubName, Hub>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    made: Mutex<HashMap<HubName, Vec<Made>>>,
}

struct Made {
    endpoint: HubEndpoint,
    connector: Arc<dyn HubConnector>,
    used: Timestamp,
}

impl Connectors {
    /// To these embedded hubs, and to any other by its REST API.
    pub fn new(
        embedded: impl IntoIterator<Item = Hub>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let embedded = embedded.into_iter().map(|hub| (hub.name().clone(), hub)).collect();
        Connectors { embedded, clock, entropy, made: Mutex::default() }
    }

    fn make(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        Some(match (self.embedded.get(&hub.name), &hub.endpoint) {
            (Some(embedded), HubEndpoint::Embedded) => Arc::new(EmbeddedConnector::new(embedded.clone())),
            (Some(embedded), HubEndpoint::Access(access)) => {
                Arc::new(EmbeddedConnector::by_key(embedded.clone(), access))
            }
            (None, HubEndpoint::Access(access)) => self.over_rest(&hub.name, access),
            (None, HubEndpoint::Embedded) => return None,
        })
    }

    fn over_rest(&self, name: &HubName, access: &HubAccess) -> Arc<dyn HubConnector> {
        match RestLink::new(name.clone(), access) {
            Ok(link) => {
                Arc::new(RestConnector::new(link, Arc::clone(&self.clock), Arc::clone(&self.entropy)))
            }
            Err(error) => Arc::new(Unreachable(format!("{name}: {error}"))),
        }
    }

    fn made(&self) -> MutexGuard<'_, HashMap<HubName, Vec<Made>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hubs for Connectors {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        let now = self.clock.now();
        let mut all = self.made();
        let known = all
            .get_mut(&hub.name)
            .and_then(|ways| ways.iter_mut().find(|made| made.endpoint == hub.endpoint));
        if let Some(made) = known {
            made.used = now;
            return Some(Arc::clone(&made.connector));
        }
        let connector = self.make(hub)?;
        for ways in all.values_mut() {
            ways.retain(|made| now.since(made.used) < MAX_IDLE);
        }
        all.retain(|_, ways| !ways.is_empty());
        let made = Made { endpoint: hub.endpoint.clone(), connector: Arc::clone(&connector), used: now };
        all.entry(hub.name.clone()).or_default().push(made);
        Some(connector)
    }

    fn forget(&self, hub: &LinkedHub) {
        let mut all = self.made();
        if let Some(ways) = all.get_mut(&hub.name) {
            ways.retain(|made| made.endpoint != hub.endpoint);
        }
    }
}

/// To a hub that cannot be called as its link says, until that is put right.
struct Unreachable(String);

impl Unreachable {
    fn error(&self) -> HubError {
        HubError::Unavailable(self.0.clone().into())
    }
}

#[async_trait]
impl HubConnector for Unreachable {
    async fn ensure_device(&self, _order: &DeviceSpec) -> Result<Ensured, HubError> {
        Err(self.error())
    }

    async fn receive_device(&self, _: &DeviceSpec, _: &Carried) -> Result<Ensured, HubError> {
        Err(self.error())
    }

    async fn find_device(&self, _device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        Err(self.error())
    }

    async fn remove_device(&self, _device: &DeviceId, _version: &HubVersion) -> Result<Removed, HubError> {
        Err(self.error())
    }

    async fn reach(&self) -> Result<Duration, HubError> {
        Err(self.error())
    }

    async fn lacking(&self) -> Result<Vec<provisioning::ports::HubRight>, HubError> {
        Err(self.error())
    }
}
