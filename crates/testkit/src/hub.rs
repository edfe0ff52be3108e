//! Hubs in memory, which can be told to fail, to lose their answer, or to take their time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use model::{
    Carried, DeviceId, Generation, HubCredentials, HubName, InitialTwin, LinkedHub, Order, Properties,
    TwinCollection, TwinOrder,
};
use provisioning::ports::{HubConnector, HubDevice, HubError, HubRight, HubVersion, Hubs, Removed};
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

impl FakeHubs {
    /// All devices of all hubs.
    pub fn everything(&self) -> Vec<(DeviceId, HubName)> {
        let of = |(name, hub): (&HubName, &Arc<FakeHub>)| {
            hub.devices().into_keys().map(|id| (id, name.clone())).collect::<Vec<_>>()
        };
        self.hubs.iter().flat_map(of).collect()
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
    /// The operators' half of its twin.
    pub twin: InitialTwin,
    /// What it reported.
    pub reported: Properties,
    /// How often its twin was seeded.
    pub seeds: u32,
    /// Set when an operator disabled it, with the reason.
    pub disabled: Option<String>,
    /// Changes with its identity; no two of a hub are the same.
    pub version: u64,
    /// Which creation it is; no two of a hub are the same.
    pub generation: u64,
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It does not: the failures that are queued after this are for later calls.
    None,
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
    /// [`HubConnector::receive_device`].
    Receive(Order, Box<Carried>),
    /// [`HubConnector::find_device`].
    Find(DeviceId),
    /// [`HubConnector::remove_device`].
    Remove(DeviceId, HubVersion),
}

/// What a hub says of the key that it is called with.
pub type Rights = Result<Vec<HubRight>, HubError>;

#[derive(Debug, Default)]
struct State {
    lacking: Option<Rights>,
    devices: BTreeMap<DeviceId, FakeDevice>,
    failures: VecDeque<Failure>,
    calls: Vec<Call>,
    versions: u64,
    /// Whether it keeps its generations to itself.
    names_no_generation: bool,
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

    /// Changes a device behind the service's back, as the device itself or an operator would.
    pub fn change(&self, id: &DeviceId, change: impl FnOnce(&mut FakeDevice)) {
        if let Some(device) = self.state().devices.get_mut(id) {
            change(device);
        }
    }

    /// Loses a device, as when an operator deletes it.
    pub fn lose(&self, id: &DeviceId) {
        self.state().devices.remove(id);
    }

    /// Deletes a device and makes it anew, as when an operator does so: with all that it had, but for generation and version.
    pub fn recreate(&self, id: &DeviceId) {
        let mut state = self.state();
        state.versions += 1;
        let generation = state.versions;
        if let Some(device) = state.devices.get_mut(id) {
            (device.generation, device.version) = (generation, generation);
        }
    }

    /// Names no generation from now on, as no hub of Azure does, or names them again.
    pub fn keep_generations_secret(&self, secret: bool) {
        self.state().names_no_generation = secret;
    }

    async fn serve<T>(&self, call: Call, carry_out: impl FnOnce(&mut State) -> T) -> Result<T, HubError> {
        let _open = self.gate.read().await;
        let mut state = self.state();
        state.calls.push(call);
        match state.failures.pop_front() {
            Some(Failure::Before(error)) => Err(error),
            Some(Failure::After(error)) => {
                carry_out(&mut state);
                Err(error)
            }
            Some(Failure::None) | None => Ok(carry_out(&mut state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The device, with the order's credentials and capabilities; and whether it is new.
    fn device(&mut self, order: &Order) -> (&mut FakeDevice, bool) {
        self.versions += 1;
        let Order { device_id, credentials, iot_edge, .. } = order;
        let is_new = !self.devices.contains_key(device_id);
        let device = self.devices.entry(device_id.clone()).or_insert_with(|| FakeDevice {
            credentials: credentials.clone(),
            iot_edge: *iot_edge,
            twin: InitialTwin::default(),
            reported: Properties::default(),
            seeds: 0,
            disabled: None,
            version: self.versions,
            generation: self.versions,
        });
        if !order.twin.keeps() || device.credentials != *credentials || device.iot_edge != *iot_edge {
            device.version = self.versions;
        }
        (device.credentials, device.iot_edge) = (credentials.clone(), *iot_edge);
        (device, is_new)
    }

    /// The generation of a device, if the hub names it.
    fn generation(&self, id: &DeviceId) -> Option<Generation> {
        let device = self.devices.get(id).filter(|_| !self.names_no_generation)?;
        Generation::parse(device.generation.to_string()).ok()
    }

    fn ensure(&mut self, order: &Order) -> Option<Generation> {
        let (device, is_new) = self.device(order);
        if is_new || matches!(order.twin, TwinOrder::Seed(_)) {
            device.twin = order.twin.start().clone();
            device.reported = Properties::default();
            device.seeds += 1;
        }
        self.generation(&order.device_id)
    }

    fn receive(&mut self, order: &Order, carried: &Carried) -> Option<Generation> {
        let (device, _) = self.device(order);
        let part =
            |part: &serde_json::Map<_, _>| (!part.is_empty()).then(|| TwinCollection::from(part.clone()));
        device.twin = InitialTwin { tags: part(&carried.tags), desired: part(&carried.desired.value) };
        device.reported = carried.reported.clone();
        if carried.disabled.is_some() {
            device.disabled = carried.disabled.clone();
        }
        self.generation(&order.device_id)
    }

    fn find(&self, id: &DeviceId) -> Option<HubDevice> {
        let device = self.devices.get(id)?;
        let part =
            |part: &Option<TwinCollection>| part.as_ref().map(|it| it.as_map().clone()).unwrap_or_default();
        Some(HubDevice {
            version: HubVersion(device.version.to_string()),
            generation: self.generation(id),
            credentials: Some(device.credentials.clone()),
            carried: Carried {
                tags: part(&device.twin.tags),
                desired: Properties { value: part(&device.twin.desired), version: 1 },
                reported: device.reported.clone(),
                disabled: device.disabled.clone(),
            },
        })
    }

    fn remove(&mut self, id: &DeviceId, version: &HubVersion) -> Removed {
        match self.devices.get(id) {
            Some(device) if device.version.to_string() != version.0 => Removed::Changed,
            _ => {
                self.devices.remove(id);
                Removed::Gone
            }
        }
    }
}

#[async_trait]
impl HubConnector for FakeHub {
    async fn ensure_device(&self, order: &Order) -> Result<Option<Generation>, HubError> {
        self.serve(Call::Ensure(order.clone()), |hub| hub.ensure(order)).await
    }

    async fn receive_device(&self, order: &Order, carried: &Carried) -> Result<Option<Generation>, HubError> {
        self.serve(Call::Receive(order.clone(), Box::new(carried.clone())), |hub| hub.receive(order, carried))
            .await
    }

    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        self.serve(Call::Find(device.clone()), |hub| hub.find(device)).await
    }

    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError> {
        let call = Call::Remove(device.clone(), version.clone());
        self.serve(call, |hub| hub.remove(device, version)).await
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
        let version = hub.find_device(&id).await.unwrap().unwrap().version;
        for _ in 0..2 {
            assert_eq!(hub.remove_device(&id, &version).await, Ok(Removed::Gone));
        }
        assert_eq!(hub.devices().len(), 0);
        assert_eq!(hub.calls().len(), 5);
    }

    #[tokio::test]
    async fn holds_calls_back() {
        let hub = Arc::new(FakeHub::default());
        let held = hub.hold().await;
        let order = sample::order("dev-1");
        let mut call = Box::pin(hub.ensure_device(&order));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut call).await.is_err());
        drop(held);
        assert_eq!(call.await, Ok(Some(Generation::parse("1").unwrap())));
    }
}
