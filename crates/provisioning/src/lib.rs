//! The verbs of Muster: verify who a device is, choose its hub, execute the assignment, and keep enrollments.
//!
//! Read in this order: [`ports`] declares what is needed from outside; [`attest`] turns evidence into proof; [`allocate`] chooses a
//! hub; [`register`] plans and executes a registration; [`enroll`] keeps enrollments, [`trust`] CAs, and [`link`] linked hubs.
//! Decisions are pure functions over values; the methods of [`Provisioning`] load what a decision needs, and apply it. Sockets,
//! clock and randomness are behind the ports, and nothing sleeps.

pub mod allocate;
pub mod attest;
pub mod configuration;
mod damage;
pub mod enroll;
mod error;
mod hub_health;
mod latency;
pub mod link;
pub mod ports;
mod quotas;
mod record;
pub mod register;
pub mod resource;
pub mod search;
pub mod trust;

use std::sync::{Arc, Mutex, PoisonError};

use attest::tpm::NamedKeys;
pub use error::{Error, RecordKind};
use model::{Actor, Attribution, HostName, IdScope, Instance, Job, LogOperation, RegistrationId};
use ports::{
    AllocationWebhook, Clock, Compute, ComputeInPlace, DeviceRecords, Entropy, HubTopology, Hubs, Store,
};
pub use quotas::QuotaUse;

/// The verbs, over their ports. Its only memory is bounded: storage root keys that devices named, refusals that are not written
/// yet, the last fetches of revocation lists, and the last counts of records.
pub struct Provisioning {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hubs: Arc<dyn Hubs>,
    pub(crate) webhook: Arc<dyn AllocationWebhook>,
    pub(crate) topology: Arc<dyn HubTopology>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    compute: Arc<dyn Compute>,
    pub(crate) named_keys: NamedKeys,
    pub(crate) refused: register::RefusalBuffer,
    pub(crate) fetches: trust::Fetches,
    pub(crate) record_tally: quotas::RecordTally,
    pub(crate) search: Option<search::SearchSettings>,
}

/// The ports that [`Provisioning`] needs.
pub struct Ports {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The connectors of linked hubs.
    pub hubs: Arc<dyn Hubs>,
    /// The webhooks of custom allocation.
    pub webhook: Arc<dyn AllocationWebhook>,
    /// Latencies to hubs, and their health.
    pub topology: Arc<dyn HubTopology>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes.
    pub entropy: Arc<dyn Entropy>,
}

impl Provisioning {
    /// Creates the verbs over these ports.
    pub fn new(ports: Ports) -> Self {
        let Ports { store, hubs, webhook, topology, clock, entropy } = ports;
        Provisioning {
            store,
            hubs,
            webhook,
            topology,
            clock,
            entropy,
            compute: Arc::new(ComputeInPlace),
            named_keys: NamedKeys::default(),
            refused: register::RefusalBuffer::default(),
            fetches: trust::Fetches::default(),
            record_tally: quotas::RecordTally::default(),
            search: None,
        }
    }

    /// Has certificates verified by this port, instead of on the thread of the request.
    pub fn computing_on(mut self, compute: Arc<dyn Compute>) -> Self {
        self.compute = compute;
        self
    }

    /// Runs a computation without blocking other requests.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let result = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&result);
        let work = move || *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(work());
        self.compute.run(Box::new(work)).await;
        let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.ok_or_else(|| Error::Broken("a computation was not run".into()))
    }

    /// Returns the attribution of a change that is made now.
    pub(crate) fn by(&self, actor: &Actor, operation: LogOperation) -> Attribution {
        Attribution { actor: actor.clone(), operation, at: self.clock.now() }
    }

    /// Returns the attribution of a change by a job of the service.
    pub(crate) fn by_job(&self, job: Job, operation: LogOperation) -> Attribution {
        Attribution::by_job(job, operation, self.clock.now())
    }

    /// Returns all instances.
    pub async fn instances(&self) -> Result<Vec<Arc<Instance>>, Error> {
        Ok(self.store.snapshot().await?.instances())
    }

    /// Returns the instance of a client that named no ID scope: by the server name of its TLS handshake, which is a host name of the
    /// service endpoint or begins with the ID scope, or else the only instance that exists.
    pub async fn instance_meant(&self, server_name: Option<&str>) -> Result<Option<Arc<Instance>>, Error> {
        let snapshot = self.store.snapshot().await?;
        if let Some(host) = server_name.and_then(|name| HostName::parse(name).ok())
            && let Some(instance) = snapshot.instance_by_host(&host)?
        {
            return Ok(Some(Arc::clone(instance)));
        }
        let label = server_name.and_then(|name| name.split('.').next());
        if let Some(scope) = label.and_then(|label| IdScope::parse(label).ok())
            && let Some(instance) = snapshot.instance(&scope)?
        {
            return Ok(Some(Arc::clone(instance)));
        }
        Ok(<[_; 1]>::try_from(snapshot.instances()).ok().map(|[only]| only))
    }

    /// Returns the instance with this ID scope.
    pub async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, Error> {
        Ok(self.store.instance(scope).await?)
    }

    /// Returns what is stored of a device, by which its requests are judged; `None` if there is no such instance.
    pub async fn device(&self, scope: &IdScope, id: &RegistrationId) -> Result<Option<DeviceRecords>, Error> {
        Ok(self.store.device(scope, id).await?)
    }

    /// Returns what is stored of a device of an instance that existed a moment ago.
    pub(crate) async fn device_of(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<DeviceRecords, Error> {
        self.device(scope, id).await?.ok_or_else(|| Error::Broken(format!("instance {scope} is gone")))
    }
}
