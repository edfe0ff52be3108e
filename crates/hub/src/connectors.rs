//! Creates the connectors of linked hubs when they are first needed, and keeps them.
//!
//! Connectors are keyed by the link's settings. So a link with a rotated key gets a new connector at the next call, with a new
//! circuit breaker and no kept connections.

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

/// Connectors idle for this long are evicted: a call that was in flight while its hub was unlinked may have created one
/// again.
const MAX_IDLE: Duration = Duration::from_secs(600);

/// The connectors of all hubs that this process can reach.
///
/// An embedded hub of this process is always called directly. If it is linked by a connection string, its key must be valid
/// all the same, because the hub may belong to another tenant than the link.
pub struct Connectors {
    embedded: HashMap<HubName, Hub>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// By hub, one for each endpoint that links give it.
    created: Mutex<HashMap<HubName, Vec<Created>>>,
}

struct Created {
    endpoint: HubEndpoint,
    connector: Arc<dyn HubConnector>,
    last_used: Timestamp,
}

impl Connectors {
    /// Creates connectors for these embedded hubs, and on demand for any other by its REST API.
    pub fn new(
        embedded: impl IntoIterator<Item = Hub>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let embedded = embedded.into_iter().map(|hub| (hub.name().clone(), hub)).collect();
        Connectors { embedded, clock, entropy, created: Mutex::default() }
    }

    fn create(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
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

    fn created(&self) -> MutexGuard<'_, HashMap<HubName, Vec<Created>>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hubs for Connectors {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        let now = self.clock.now();
        let mut all = self.created();
        let existing = all
            .get_mut(&hub.name)
            .and_then(|created| created.iter_mut().find(|it| it.endpoint == hub.endpoint));
        if let Some(existing) = existing {
            existing.last_used = now;
            return Some(Arc::clone(&existing.connector));
        }
        let connector = self.create(hub)?;
        for created in all.values_mut() {
            created.retain(|it| now.since(it.last_used) < MAX_IDLE);
        }
        all.retain(|_, created| !created.is_empty());
        let created =
            Created { endpoint: hub.endpoint.clone(), connector: Arc::clone(&connector), last_used: now };
        all.entry(hub.name.clone()).or_default().push(created);
        Some(connector)
    }

    fn forget(&self, hub: &LinkedHub) {
        let mut all = self.created();
        if let Some(created) = all.get_mut(&hub.name) {
            created.retain(|it| it.endpoint != hub.endpoint);
        }
    }
}

/// The connector of a link whose settings are unusable: every call fails until the link is corrected.
struct Unreachable(String);

impl Unreachable {
    fn error(&self) -> HubError {
        HubError::Unavailable(self.0.clone().into())
    }
}

#[async_trait]
impl HubConnector for Unreachable {
    async fn ensure_device(&self, _: &DeviceSpec) -> Result<Ensured, HubError> {
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
