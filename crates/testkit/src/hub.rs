//! Fake hubs in memory, with scripted failures, lost replies and delays.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use model::{
    Carried, DeviceId, DeviceSpec, Generation, HubCredentials, HubName, InitialTwin, LinkedHub, Properties,
    TwinCollection, TwinSpec,
};
use provisioning::ports::{
    Before, Ensured, HubConnector, HubDevice, HubError, HubRight, HubVersion, Hubs, Removed,
};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Fake hubs by name.
#[derive(Debug, Default)]
pub struct FakeHubs {
    hubs: BTreeMap<HubName, Arc<FakeHub>>,
}

impl FakeHubs {
    /// Creates hubs with these names.
    pub fn new(names: impl IntoIterator<Item = HubName>) -> FakeHubs {
        FakeHubs { hubs: names.into_iter().map(|name| (name, Arc::default())).collect() }
    }

    /// Returns the hub with this name, if there is one.
    pub fn hub(&self, name: &HubName) -> Option<Arc<FakeHub>> {
        self.hubs.get(name).cloned()
    }

    /// Returns the names of the hubs that have this device.
    pub fn hubs_with(&self, device: &DeviceId) -> Vec<HubName> {
        let with = self.hubs.iter().filter(|(_, hub)| hub.device(device).is_some());
        with.map(|(name, _)| name.clone()).collect()
    }
}

impl FakeHubs {
    /// Returns the devices of all hubs.
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

/// A fake hub. Its calls succeed unless a failure is scripted.
#[derive(Debug, Default)]
pub struct FakeHub {
    state: Mutex<State>,
    /// Held for reading by each call, and for writing by the guard of [`FakeHub::hold`].
    hold: Arc<RwLock<()>>,
}

/// A device at a fake hub.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeDevice {
    /// The credentials.
    pub credentials: HubCredentials,
    /// Whether the device is an IoT Edge device.
    pub iot_edge: bool,
    /// The tags and desired properties.
    pub twin: InitialTwin,
    /// The reported properties.
    pub reported: Properties,
    /// The number of times that the initial twin was written.
    pub seeds: u32,
    /// The reason for which an operator disabled the device; `None` if it is enabled.
    pub disabled: Option<String>,
    /// The version of the identity, which is unique at the hub.
    pub version: u64,
    /// The generation of the identity, which is new for each creation, and unique at the hub.
    pub generation: u64,
}

/// The outcome of a call in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The call succeeds.
    None,
    /// The call fails and changes nothing.
    Before(HubError),
    /// The call takes effect, but returns an error, like a lost reply.
    After(HubError),
}

/// A recorded call, successful or not.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// [`HubConnector::ensure_device`].
    Ensure(DeviceSpec),
    /// [`HubConnector::receive_device`].
    Receive(DeviceSpec, Box<Carried>),
    /// [`HubConnector::find_device`].
    Find(DeviceId),
    /// [`HubConnector::remove_device`].
    Remove(DeviceId, HubVersion),
}

/// The rights that the key of the link lacks, or the error of the check.
pub type Rights = Result<Vec<HubRight>, HubError>;

#[derive(Debug, Default)]
struct State {
    lacking: Option<Rights>,
    devices: BTreeMap<DeviceId, FakeDevice>,
    failures: VecDeque<Failure>,
    calls: Vec<Call>,
    versions: u64,
    /// Whether replies omit the generation.
    names_no_generation: bool,
}

impl FakeHub {
    /// Appends a failure to the script. Each call consumes one.
    pub fn fail_next(&self, failure: Failure) {
        self.state().failures.push_back(failure);
    }

    /// Sets the rights that the key lacks.
    pub fn lack(&self, rights: Rights) {
        self.state().lacking = Some(rights);
    }

    /// Clears the script of failures.
    pub fn clear_failures(&self) {
        self.state().failures.clear();
    }

    /// Delays all calls until the returned guard is dropped.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.hold).write_owned().await
    }

    /// Returns a device, if the hub has it.
    pub fn device(&self, id: &DeviceId) -> Option<FakeDevice> {
        self.state().devices.get(id).cloned()
    }

    /// Returns all devices.
    pub fn devices(&self) -> BTreeMap<DeviceId, FakeDevice> {
        self.state().devices.clone()
    }

    /// Returns the calls so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Changes a device without a call, as the device itself or an operator might.
    pub fn change(&self, id: &DeviceId, change: impl FnOnce(&mut FakeDevice)) {
        if let Some(device) = self.state().devices.get_mut(id) {
            change(device);
        }
    }

    /// Removes a device without a call, as an operator might.
    pub fn lose(&self, id: &DeviceId) {
        self.state().devices.remove(id);
    }

    /// Deletes a device and creates it again, as an operator might: only generation and version change.
    pub fn recreate(&self, id: &DeviceId) {
        let mut state = self.state();
        state.versions += 1;
        let generation = state.versions;
        if let Some(device) = state.devices.get_mut(id) {
            (device.generation, device.version) = (generation, generation);
        }
    }

    /// Sets whether replies omit the generation, as those of Azure IoT Hub do.
    pub fn keep_generations_secret(&self, secret: bool) {
        self.state().names_no_generation = secret;
    }

    async fn serve<T>(&self, call: Call, execute: impl FnOnce(&mut State) -> T) -> Result<T, HubError> {
        let _not_held = self.hold.read().await;
        let mut state = self.state();
        state.calls.push(call);
        match state.failures.pop_front() {
            Some(Failure::Before(error)) => Err(error),
            Some(Failure::After(error)) => {
                execute(&mut state);
                Err(error)
            }
            Some(Failure::None) | None => Ok(execute(&mut state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Creates or updates the device with the credentials and capabilities of the spec; returns it, and whether it is
    /// new.
    fn device(&mut self, spec: &DeviceSpec) -> (&mut FakeDevice, bool) {
        self.versions += 1;
        let DeviceSpec { device_id, credentials, iot_edge, .. } = spec;
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
        if !spec.twin.is_kept() || device.credentials != *credentials || device.iot_edge != *iot_edge {
            device.version = self.versions;
        }
        (device.credentials, device.iot_edge) = (credentials.clone(), *iot_edge);
        (device, is_new)
    }

    /// Returns whose device the hub has under the device ID of a spec.
    fn before(&self, spec: &DeviceSpec) -> Result<Before, HubError> {
        match self.devices.get(&spec.device_id) {
            None => Ok(Before::Own),
            Some(there) => Before::judge(spec, Some(&there.credentials)),
        }
    }

    /// Returns the generation of a device, unless replies omit it.
    fn generation(&self, id: &DeviceId) -> Option<Generation> {
        let device = self.devices.get(id).filter(|_| !self.names_no_generation)?;
        Generation::parse(device.generation.to_string()).ok()
    }

    fn ensure(&mut self, spec: &DeviceSpec) -> Result<Ensured, HubError> {
        let before = self.before(spec)?;
        let (device, is_new) = self.device(spec);
        if is_new || matches!(spec.twin, TwinSpec::Initialize(_)) {
            device.twin = spec.twin.initial().clone();
            device.reported = Properties::default();
            device.seeds += 1;
        }
        Ok(before.then(self.generation(&spec.device_id)))
    }

    fn receive(&mut self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        let before = self.before(spec)?;
        let (device, _) = self.device(spec);
        let part =
            |part: &serde_json::Map<_, _>| (!part.is_empty()).then(|| TwinCollection::from(part.clone()));
        device.twin = InitialTwin { tags: part(&carried.tags), desired: part(&carried.desired.value) };
        device.reported = carried.reported.clone();
        if carried.disabled.is_some() {
            device.disabled = carried.disabled.clone();
        }
        Ok(before.then(self.generation(&spec.device_id)))
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
    async fn ensure_device(&self, spec: &DeviceSpec) -> Result<Ensured, HubError> {
        self.serve(Call::Ensure(spec.clone()), |hub| hub.ensure(spec)).await?
    }

    async fn receive_device(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        self.serve(Call::Receive(spec.clone(), Box::new(carried.clone())), |hub| hub.receive(spec, carried))
            .await?
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
    async fn scripted_failures_are_consumed_in_order() {
        let hub = FakeHub::default();
        let spec = sample::device_spec("dev-1");
        let id = spec.device_id.clone();
        let down = HubError::Unavailable("down".into());
        hub.fail_next(Failure::Before(down.clone()));
        hub.fail_next(Failure::After(down.clone()));

        assert_eq!(hub.ensure_device(&spec).await, Err(down.clone()));
        assert_eq!(hub.device(&id), None);
        assert_eq!(hub.ensure_device(&spec).await, Err(down));
        assert_eq!(hub.device(&id).map(|device| device.seeds), Some(1));
        hub.fail_next(Failure::Before(HubError::Refused("forgotten".to_owned())));
        hub.clear_failures();
        let version = hub.find_device(&id).await.unwrap().unwrap().version;
        for _ in 0..2 {
            assert_eq!(hub.remove_device(&id, &version).await, Ok(Removed::Gone));
        }
        assert_eq!(hub.devices().len(), 0);
        assert_eq!(hub.calls().len(), 5);
    }

    #[tokio::test]
    async fn held_calls_wait_for_the_guard() {
        let hub = Arc::new(FakeHub::default());
        let held = hub.hold().await;
        let spec = sample::device_spec("dev-1");
        let mut call = Box::pin(hub.ensure_device(&spec));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut call).await.is_err());
        drop(held);
        let generation = Some(Generation::parse("1").unwrap());
        assert_eq!(call.await, Ok(Ensured { generation, took_over: false }));
    }
}
