//! Longer lives of devices. Each test is one story.

mod crashes;
mod deleted;
mod disputes;
mod existing;
mod full;
mod generations;
mod lives;
mod moving;
mod webhook;

pub use model::ReprovisionPolicy as Policy;
use model::{Cleanup, DeviceId, HubName, IndividualEnrollment, Properties};
use provisioning::{ports::PageRequest, register::CleanupOutcome};
use serde_json::json;
use testkit::{hub::FakeDevice, sample};

use super::world::{Device, HUBS, SCOPE, World, individual};

/// The policy by which a device stays at its hub.
pub const STAY: Policy = Policy::Stay { migrate_device_data: false };

/// Returns an enrollment with a policy and these hubs.
pub fn wanting(id: &str, policy: Policy, hubs: &[&str]) -> IndividualEnrollment {
    let mut enrollment = individual(id);
    enrollment.settings.reprovision_policy = Some(policy);
    enrollment.settings.hubs = hubs.iter().map(|hub| sample::hub_name(hub)).collect();
    enrollment
}

impl World {
    /// Returns the pending cleanups.
    pub async fn cleanups(&self) -> Vec<Cleanup> {
        let page = PageRequest { after: None, limit: 100 };
        self.store.cleanups(&sample::scope(SCOPE), page).await.unwrap().items
    }

    /// Tries each pending cleanup once.
    pub async fn clean_up(&self) -> Vec<CleanupOutcome> {
        let mut all = Vec::new();
        for cleanup in self.cleanups().await {
            all.push(self.provisioning.clean_up(&sample::scope(SCOPE), &cleanup, None).await.unwrap());
        }
        all
    }

    /// Tries the cleanups of runs without an answer, which an operator must confirm first.
    pub async fn clean_up_confirmed(&self) -> Vec<CleanupOutcome> {
        let held = self.clean_up().await;
        assert!(held.iter().all(|it| matches!(it, CleanupOutcome::Held { .. })), "{held:?}");
        self.provisioning.confirm_cleanups(&*self.instance(SCOPE).await, &sample::operator()).await.unwrap();
        self.clean_up().await
    }

    /// Returns the hubs that have the device.
    pub fn hubs_of(&self, id: &str) -> Vec<HubName> {
        self.hubs.hubs_with(&DeviceId::parse(id).unwrap())
    }

    pub fn at(&self, hub: &str, id: &str) -> FakeDevice {
        self.hub(hub).device(&DeviceId::parse(id).unwrap()).unwrap()
    }

    /// Uses the device: it reports, and an operator changes a desired property.
    pub fn used(&self, hub: &str, id: &str) {
        self.hub(hub).change(&DeviceId::parse(id).unwrap(), |device| {
            device.reported = reported();
            device.twin.desired = Some(object(json!({"rate": 9})).into());
        });
    }
}

/// Returns a device that is assigned to the first hub and was used there.
pub async fn at_home(policy: Policy) -> (World, Device) {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", policy, &HUBS[..1])).await;
    world.register(&device).await;
    world.used(HUBS[0], "dev-1");
    (world, device)
}

/// Returns such a device whose enrollment names the second hub now.
pub async fn about_to_move(policy: Policy) -> (World, Device) {
    let (world, device) = at_home(policy).await;
    world.enroll(wanting("dev-1", policy, &HUBS[1..2])).await;
    (world, device)
}

/// Returns the reported properties of a device that was used.
pub fn reported() -> Properties {
    Properties { value: object(json!({"firmware": "1.2"})), version: 2 }
}

pub fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}
