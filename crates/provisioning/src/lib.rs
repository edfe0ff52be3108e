//! The verbs of Muster: prove who a device is, choose its hub, carry the assignment out, keep the enrollments.
//!
//! Read it in this order: [`ports`] says what is needed from outside; [`attest`] turns evidence into proof;
//! [`allocate`] chooses a hub; [`register`] plans and carries out a registration; [`enroll`] keeps the enrollments, and
//! [`trust`] and [`link`] what is known of CAs and of hubs.
//! Decisions are plain functions over values; the methods of [`Provisioning`] load what a decision needs, and do what
//! it says. There is no socket, no clock and no randomness here but through the ports, and nothing sleeps.

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
mod record;
pub mod register;
pub mod trust;

use std::sync::{Arc, Mutex, PoisonError};

use attest::tpm::NamedKeys;
pub use error::{Error, RecordKind};
use model::{Actor, Attribution, HostName, IdScope, Instance, Job, LogOperation};
use ports::{AllocationWebhook, Clock, Compute, ComputeInPlace, Entropy, HubTopology, Hubs, Store};

/// The verbs, over the ports that they need, storage root keys that were named, the refusals not yet written, and what came of
/// fetching revocation lists.
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
}

/// What [`Provisioning`] stands on.
pub struct Ports {
    /// Durable memory.
    pub store: Arc<dyn Store>,
    /// The hubs that can be reached.
    pub hubs: Arc<dyn Hubs>,
    /// The webhooks of custom allocation.
    pub webhook: Arc<dyn AllocationWebhook>,
    /// What is known of the hubs' whereabouts and health.
    pub topology: Arc<dyn HubTopology>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
}

impl Provisioning {
    /// Over these ports.
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
        }
    }

    /// The same with certificates judged elsewhere than where a device asks.
    pub fn computing_on(mut self, compute: Arc<dyn Compute>) -> Self {
        self.compute = compute;
        self
    }

    /// Runs a computation that holds up no other request.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let result = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&result);
        let work = move || *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(work());
        self.compute.run(Box::new(work)).await;
        let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.ok_or_else(|| Error::Broken("a computation was not carried out".into()))
    }

    /// What the change log is to say of a change that is made now.
    pub(crate) fn by(&self, actor: &Actor, operation: LogOperation) -> Attribution {
        Attribution { actor: actor.clone(), operation, at: self.clock.now() }
    }

    /// The same of what no request asked for.
    pub(crate) fn by_job(&self, job: Job, operation: LogOperation) -> Attribution {
        Attribution::by_job(job, operation, self.clock.now())
    }

    /// All instances.
    pub async fn instances(&self) -> Result<Vec<Arc<Instance>>, Error> {
        Ok(self.store.snapshot().await?.instances())
    }

    /// The instance that a client means which named no ID scope: the one whose host name it asked for in the TLS handshake,
    /// be that a name of its service endpoint or one that begins with its ID scope; or the only one that there is.
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

    /// The instance with this ID scope.
    pub async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, Error> {
        Ok(self.store.instance(scope).await?)
    }
}
