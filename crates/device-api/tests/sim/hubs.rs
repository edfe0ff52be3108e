//! The ways to the hubs: slow, and worse.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use model::{Carried, Cleanup, DeviceId, DeviceSpec, HubDeviceRef, HubName, LinkedHub};
use provisioning::ports::{Ensured, HubConnector, HubDevice, HubError, HubVersion, Hubs, Removed};
use testkit::hub::FakeHub;

use crate::{
    finish::finish,
    hostility,
    process::Process,
    rivals,
    weather::{Fate, Flaw},
    world::World,
};

pub struct SimulatedHubs(pub Arc<Process>);

impl Hubs for SimulatedHubs {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        let (process, name) = (Arc::clone(&self.0), hub.name.clone());
        let there = There { hub: process.world.hubs.hub(&name)?, name, world: Arc::clone(&process.world) };
        Some(Arc::new(Way { there: Arc::new(there), process }))
    }
}

/// The way to a hub.
struct Way {
    there: Arc<There>,
    process: Arc<Process>,
}

/// What is at the other end.
struct There {
    name: HubName,
    hub: Arc<FakeHub>,
    world: Arc<World>,
}

impl Way {
    /// Carries a call there and its answer back, as the weather will have it.
    async fn call<T, F>(&self, what: String, act: F) -> Result<T, HubError>
    where
        T: Send + 'static,
        F: Fn(&There) -> Result<T, HubError> + Send + 'static,
    {
        let (world, there) = (&self.process.world, &self.there);
        let _calling = Calling::begin(&self.process, &what);
        self.pass().await;
        let fate = world.weather.fate(&there.name, what.starts_with(REMOVE), &world.dice);
        world.note(format_args!("{}: {what}: {fate:?}", there.name));
        world.count(|figures| figures.faults += u64::from(fate != Fate::Fine));
        let answer = match fate {
            Fate::Fine => act(there),
            Fate::Twice => act(there).and_then(|_| act(there)),
            Fate::LostBefore => Err(there.unavailable("cannot be reached")),
            Fate::LostAfter => act(there).and(Err(there.unavailable("the answer was lost"))),
            Fate::Late => {
                tokio::spawn(Arc::clone(there).do_late(what, act));
                Err(there.unavailable("no answer in time"))
            }
            Fate::Full => Err(HubError::Full(format!("{}: no more devices now", there.name))),
            Fate::Refused => Err(HubError::Refused(format!("{}: no more devices", there.name))),
        };
        self.pass().await;
        answer
    }

    /// Most of the time the network is quick.
    async fn pass(&self) {
        let is_slow = self.process.world.weather.strikes(100, &self.process.world.dice);
        self.process.pass(if is_slow { 1..=6000 } else { 1..=300 }).await;
    }
}

/// One call of an assignment run, from its beginning to its end.
struct Calling {
    process: Arc<Process>,
    /// The device and the operation.
    run: String,
}

impl Calling {
    /// A run is executed by one process at a time: no other one that lives may be calling a hub for it. A run that was replaced
    /// may still be calling at a node that has not noticed, and two nodes may confirm a device at the same time.
    fn begin(process: &Arc<Process>, what: &str) -> Option<Calling> {
        let mut words = what.split(' ');
        let device = words.next().filter(|verb| matches!(*verb, "ensure" | "receive")).and(words.next())?;
        let operation = process.world.unfinished_run_of(device)?;
        let run = format!("{device} {operation}");
        let mut calls = process.world.calls();
        let of_others = calls.iter().filter(|(other, _)| other.number != process.number && other.lives());
        if of_others.clone().any(|(_, called)| *called == run) {
            process.world.violated(format_args!("a run of {device} is executed by two processes"));
        }
        calls.push((Arc::clone(process), run.clone()));
        Some(Calling { process: Arc::clone(process), run })
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let mut calls = self.process.world.calls();
        let is_own = |(process, run): &(Arc<Process>, String)| {
            process.number == self.process.number && *run == self.run
        };
        if let Some(own) = calls.iter().position(is_own) {
            calls.remove(own);
        }
    }
}

impl There {
    /// Whoever asked is dead, or has moved on.
    async fn do_late<T>(
        self: Arc<Self>,
        what: String,
        act: impl Fn(&There) -> Result<T, HubError> + Send + 'static,
    ) {
        tokio::time::sleep(self.world.dice.millis(1..=LATE_MILLIS)).await;
        self.world.note(format_args!("{}: {what}: done late", self.name));
        let _ = act(&self);
    }

    fn unavailable(&self, why: &str) -> HubError {
        HubError::Unavailable(format!("{}: {why}", self.name).into())
    }

    fn refuses_known(&self, device: &DeviceId) -> Result<(), HubError> {
        let is_known = self.hub.device(device).is_some();
        if is_known && self.world.flaw == Flaw::CreatesOnce {
            return Err(HubError::Refused(format!("{}: DeviceAlreadyExists", self.name)));
        }
        Ok(())
    }

    /// `owed` is the cleanup of the place when the removal was sent.
    fn remove(
        &self,
        device: &DeviceId,
        version: &HubVersion,
        owed: Option<&Cleanup>,
    ) -> Result<Removed, HubError> {
        let there = self.hub.device(device);
        let removed = at_once(self.hub.remove_device(device, &self.version_to_remove(device, version)));
        if let Some(there) = there.filter(|_| self.hub.device(device).is_none()) {
            self.world.count(|figures| figures.removals += 1);
            self.watch_removal(device, there.generation, owed);
        }
        removed
    }

    /// Only the very device that was owed is removed, or one that an operator has confirmed where it is not known which one
    /// that was.
    fn watch_removal(&self, device: &DeviceId, generation: u64, owed: Option<&Cleanup>) {
        let named = owed.and_then(|owed| owed.residue.generation.as_ref());
        let is_owed = match (owed, named) {
            (None, _) => self.is_own(generation),
            (_, Some(named)) => named.as_str() == generation.to_string() && self.is_own(generation),
            (Some(owed), None) => owed.confirmed,
        };
        if !is_owed {
            self.world.violated(format_args!(
                "{}: {device} of generation {generation} was removed, and {named:?} was owed",
                self.name
            ));
        }
    }

    fn is_own(&self, generation: u64) -> bool {
        self.world.notes().own.contains(&(self.name.clone(), generation))
    }

    /// From now on the device is the service's, also if another client made it.
    fn take_over(&self, device: &DeviceId) {
        if let Some(there) = self.hub.device(device) {
            self.world.notes().own.insert((self.name.clone(), there.generation));
        }
    }

    fn cleanup(&self, device: &DeviceId) -> Option<Cleanup> {
        let place = HubDeviceRef { hub: self.name.clone(), device_id: device.clone() };
        finish(self.world.disk().cleanup(&self.world.scope(), &place)).unwrap()
    }

    /// Carries an order out, as an honest connector does.
    fn obey<T>(
        &self,
        order: &DeviceSpec,
        act: impl FnOnce(&DeviceSpec) -> Result<T, HubError>,
    ) -> Result<T, HubError> {
        let mut order = order.clone();
        if self.world.flaw == Flaw::FoldsDeviceIds {
            order.device_id = DeviceId::parse(order.device_id.as_str().to_ascii_lowercase()).unwrap();
        }
        self.refuses_known(&order.device_id)?;
        rivals::watch_hub(&self.world, &self.name, &order);
        let done = act(&order)?;
        self.take_over(&order.device_id);
        hostility::watch_disabled(&self.world, &self.name, &order.device_id);
        Ok(done)
    }

    fn find(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        let mut found = at_once(self.hub.find_device(device))?;
        let owed = self.cleanup(device);
        if owed.is_none() {
            self.take_over(device);
        }
        if let (Some(found), Some(owed), Flaw::RemovesAnyGeneration) = (&mut found, owed, self.world.flaw) {
            found.generation = owed.residue.generation;
        }
        if let (Some(found), Flaw::EnablesOnMove) = (&mut found, self.world.flaw) {
            found.carried.disabled = None;
        }
        Ok(found)
    }

    /// What the hub has now, for a connector that does not care what it was when somebody looked.
    fn version_to_remove(&self, device: &DeviceId, version: &HubVersion) -> HubVersion {
        match self.hub.device(device).filter(|_| self.world.flaw == Flaw::RemovesAnyVersion) {
            Some(device) => HubVersion(device.version.to_string()),
            None => version.clone(),
        }
    }
}

/// The hubs in memory answer at once.
fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("nobody holds the hub")
}

#[async_trait]
impl HubConnector for Way {
    async fn ensure_device(&self, order: &DeviceSpec) -> Result<Ensured, HubError> {
        let (what, order) = (format!("ensure {} as {:?}", order.device_id, order.substatus), order.clone());
        self.call(what, move |there| there.obey(&order, |order| at_once(there.hub.ensure_device(order))))
            .await
    }

    async fn receive_device(&self, order: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        let (order, carried) = (order.clone(), carried.clone());
        self.call(format!("receive {}", order.device_id), move |there| {
            there.obey(&order, |order| at_once(there.hub.receive_device(order, &carried)))
        })
        .await
    }

    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        let device = device.clone();
        self.call(format!("find {device}"), move |there| there.find(&device)).await
    }

    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError> {
        let (device, version) = (device.clone(), version.clone());
        let (what, owed) = (format!("{REMOVE} {device}"), self.there.cleanup(&device));
        let act = move |there: &There| there.remove(&device, &version, owed.as_ref());
        self.call(what, act).await
    }
}

/// How late a call may be done: the time that callers here wait for an answer, and some more.
const LATE_MILLIS: u64 = 3000;

/// How a removal is written down.
const REMOVE: &str = "remove";
