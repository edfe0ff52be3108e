//! Hubs in memory, which can be told to fail, to lose their answer, or to take their time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use model::{DeviceId, HubCredentials, HubName, InitialTwin, LinkedHub, Order, TwinOrder};
use provisioning::ports::{HubConnector, HubError, HubRight, Hubs};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// The hubs that can be reached, by name.
#[derive(Debug, Default)]
pub struct FakeHubs {
    hubs: BTreeMap<HubName, Arc<FakeHub>>,
}

impl FakeHubs {
    /// Hubs with these names.
    pub fn new(names: impl IntoIterator<Item = HubName>) -> FakeHubs {
        FakeHubs { hubs: names.into_iter().map(|name| (name, Arc::default())).collect() }
    }

    /// The hub with this name, if it is one of them.
    pub fn hub(&self, name: &HubName) -> Option<Arc<FakeHub>> {
        self.hubs.get(name).cloned()
    }

    /// The hubs that have this device.
    pub fn hubs_with(&self, device: &DeviceId) -> Vec<HubName> {
        let with = self.hubs.iter().filter(|(_, hub)| hub.device(device).is_some());
        with.map(|(name, _)| name.clone()).collect()
    }
}

impl Hubs for FakeHubs {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        Some(self.hub(&hub.name)? as Arc<dyn HubConnector>)
    }
}

/// One hub. It does what it is told, unless a failure was scripted for the call.
#[derive(Debug, Default)]
pub struct FakeHub {
    state: Mutex<State>,
    gate: Arc<RwLock<()>>,
}

/// A device as a hub has it.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeDevice {
    /// What it connects with.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
    /// Its twin, as last seeded.
    pub twin: InitialTwin,
    /// How often its twin was seeded.
    pub seeds: u32,
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was done.
    Before(HubError),
    /// It was done, but the caller is told that it failed: an answer lost on its way.
    After(HubError),
}

/// A call that arrived, failed or not.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// [`HubConnector::ensure_device`].
    Ensure(Order),
    /// [`HubConnector::remove_device`].
    Remove(DeviceId),
}

/// What a hub says of the key that it is called with.
pub type Rights = Result<Vec<HubRight>, HubError>;

#[derive(Debug, Default)]
struct State {
    lacking: Option<Rights>,
    devices: BTreeMap<DeviceId, FakeDevice>,
    failures: VecDeque<Failure>,
    calls: Vec<Call>,
}

impl FakeHub {
    /// Lets the next call that is not spoken for fail like this; several queue up.
    pub fn fail_next(&self, failure: Failure) {
        self.state().failures.push_back(failure);
    }

    /// Says this of the key that it is called with, from now on.
    pub fn lack(&self, rights: Rights) {
        self.state().lacking = Some(rights);
    }

    /// Forgets the failures that are queued still.
    pub fn fail_no_more(&self) {
        self.state().failures.clear();
    }

    /// Keeps calls waiting until the guard is dropped.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// A device, if the hub has it.
    pub fn device(&self, id: &DeviceId) -> Option<FakeDevice> {
        self.state().devices.get(id).cloned()
    }

    /// All devices.
    pub fn devices(&self) -> BTreeMap<DeviceId, FakeDevice> {
        self.state().devices.clone()
    }

    /// The calls so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    async fn serve(&self, call: Call) -> Result<(), HubError> {
        let _open = self.gate.read().await;
        let mut state = self.state();
        state.calls.push(call.clone());
        match state.failures.pop_front() {
            Some(Failure::Before(error)) => Err(error),
            Some(Failure::After(error)) => {
                state.carry_out(call);
                Err(error)
            }
            None => {
                state.carry_out(call);
                Ok(())
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn carry_out(&mut self, call: Call) {
        match call {
            Call::Ensure(order) => self.ensure(order),
            Call::Remove(device) => drop(self.devices.remove(&device)),
        }
    }

    fn ensure(&mut self, order: Order) {
        let Order { device_id, credentials, iot_edge, twin, hub: _, substatus: _ } = order;
        let device = self.devices.entry(device_id).or_insert_with(|| FakeDevice {
            credentials: credentials.clone(),
            iot_edge,
            twin: InitialTwin::default(),
            seeds: 0,
        });
        (device.credentials, device.iot_edge) = (credentials, iot_edge);
        let is_new = device.seeds == 0;
        if is_new || matches!(twin, TwinOrder::Seed(_)) {
            device.twin = twin.start().clone();
            device.seeds += 1;
        }
    }
}

#[async_trait]
impl HubConnector for FakeHub {
    async fn ensure_device(&self, order: &Order) -> Result<(), HubError> {
        self.serve(Call::Ensure(order.clone())).await
    }

    async fn remove_device(&self, device: &DeviceId) -> Result<(), HubError> {
        self.serve(Call::Remove(device.clone())).await
    }

    async fn lacking(&self) -> Rights {
        self.state().lacking.clone().unwrap_or(Ok(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample;

    #[tokio::test]
    async fn fails_as_it_is_told_and_then_no_more() {
        let hub = FakeHub::default();
        let order = sample::order("dev-1");
        let id = order.device_id.clone();
        let down = HubError::Unavailable("down".into());
        hub.fail_next(Failure::Before(down.clone()));
        hub.fail_next(Failure::After(down.clone()));

        assert_eq!(hub.ensure_device(&order).await, Err(down.clone()));
        assert_eq!(hub.device(&id), None);
        assert_eq!(hub.ensure_device(&order).await, Err(down));
        assert_eq!(hub.device(&id).map(|device| device.seeds), Some(1));
        hub.fail_next(Failure::Before(HubError::Refused("forgotten".to_owned())));
        hub.fail_no_more();
        assert_eq!(hub.remove_device(&id).await, Ok(()));
        assert_eq!(hub.remove_device(&id).await, Ok(()));
        assert_eq!(hub.devices().len(), 0);
        assert_eq!(hub.calls().len(), 4);
    }

    #[tokio::test]
    async fn holds_calls_back() {
        let hub = Arc::new(FakeHub::default());
        let held = hub.hold().await;
        let order = sample::order("dev-1");
        let mut call = Box::pin(hub.ensure_device(&order));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut call).await.is_err());
        drop(held);
        assert_eq!(call.await, Ok(()));
    }
}
