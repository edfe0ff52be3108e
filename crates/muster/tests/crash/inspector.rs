//! Compares the replies that devices got with the records of the service and of the hubs.

use std::time::Duration;

use fleet::{HubClient, HubEndpoint, HubRegistry, ServiceClient};
use model::{DeviceId, HubName};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    deployment::Deployment,
    scene,
    worker::{Assignment, Entry},
};

/// The time within which interrupted registrations finish by themselves. After a restart they take milliseconds; another node takes
/// them over when the lease of the lost one has ended, 15 seconds later.
const TIMEOUT: Duration = Duration::from_secs(45);

/// A client of the service and of its hubs, with all rights.
pub struct Inspector {
    service: ServiceClient,
    hubs: Vec<Hub>,
}

struct Hub {
    endpoint: HubEndpoint,
    registry: HubRegistry,
}

impl Inspector {
    pub fn new(deployment: &Deployment) -> Inspector {
        let hubs = deployment
            .hubs
            .iter()
            .map(|hub| Hub { endpoint: hub.endpoint.clone(), registry: hub.registry() });
        Inspector { service: deployment.service(), hubs: hubs.collect() }
    }

    /// Examines all devices, and checks that the hubs have no others. Returns the number of those that are assigned.
    ///
    /// A request whose client has gone may wait for the database still, and is carried out after its device was examined.
    pub async fn examine_all(&mut self, entries: &mut [Entry]) -> u64 {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let mut assigned = 0;
            for entry in &mut *entries {
                assigned += u64::from(self.examine(entry).await);
            }
            let devices = self.count_devices().await;
            if devices == assigned {
                return assigned;
            }
            assert!(Instant::now() < deadline, "{devices} devices at hubs, but {assigned} assigned");
        }
    }

    /// Checks that an acknowledged device is at its hub alone, with its twin, and that any other device is at one hub or at
    /// none. Returns whether the device is assigned.
    pub async fn examine(&mut self, entry: &mut Entry) -> bool {
        let id = entry.device.registration_id.to_string();
        match self.settled(&id).await {
            Some(state) => {
                assert_eq!(state["status"], "assigned", "{state}");
                let text = |name: &str| state[name].as_str().unwrap_or_default().to_owned();
                let hub = HubName::parse(text("assignedHub")).unwrap();
                let device_id = DeviceId::parse(text("deviceId")).unwrap();
                assert_eq!(device_id.as_str(), scene::device_id(entry.kind, &id));
                entry.check_assignment(Assignment { hub, device_id });
            }
            None => assert_eq!(entry.assignment, None, "the registration of {id} is lost"),
        }
        self.examine_hubs(entry).await;
        entry.assignment.is_some()
    }

    /// Waits until the registration is not `assigning`, and returns it.
    async fn settled(&mut self, id: &str) -> Option<Value> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let state = self.service.registration(id).await.unwrap()?;
            if state["status"] != "assigning" {
                return Some(state);
            }
            assert!(Instant::now() < deadline, "{id} was interrupted and is not resumed: {state}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn examine_hubs(&mut self, entry: &Entry) {
        let id = entry.device.registration_id.as_str();
        let device_id = DeviceId::parse(scene::device_id(entry.kind, id)).unwrap();
        for hub in &mut self.hubs {
            let twin = hub.registry.twin(&device_id).await.unwrap();
            let belongs =
                entry.assignment.as_ref().is_some_and(|assignment| assignment.hub == hub.endpoint.name);
            assert_eq!(twin.is_some(), belongs, "{id} at {}: {twin:?}", hub.endpoint.name);
            if let Some(mut twin) = twin {
                assert_eq!(twin["tags"], scene::tags(entry.kind, id), "{twin}");
                let mut desired = twin["properties"]["desired"].take();
                let desired = desired.as_object_mut().unwrap();
                desired.shift_remove("$metadata");
                assert_eq!(desired.shift_remove("$version"), Some(2.into()), "seeded once");
                assert_eq!(Value::Object(desired.clone()), scene::desired(entry.kind, id));
                let identity = hub.registry.device(&device_id).await.unwrap().unwrap();
                assert_eq!(identity["status"], "enabled", "{identity}");
            }
        }
    }

    /// Returns the number of devices at all hubs.
    async fn count_devices(&mut self) -> u64 {
        let mut devices = 0;
        for hub in &mut self.hubs {
            devices += hub.registry.device_count().await.unwrap();
        }
        devices
    }

    /// Checks the metering. Each assigned device counts as one registration. Each further acknowledgment counts as one
    /// re-registration, and so may each attempt whose reply was lost.
    pub async fn audit(&mut self, entries: &[Entry], assigned: u64) {
        let usage = self.service.usage(None, None).await.unwrap();
        let of_kind = |kind: &str| -> u64 {
            let rows = usage["usage"].as_array().unwrap().iter().filter(|row| row["kind"] == kind);
            rows.map(|row| row["count"].as_u64().unwrap()).sum()
        };
        let (registrations, again) = (of_kind("registration"), of_kind("reregistration"));
        let acknowledged = entries.iter().filter(|entry| entry.acknowledged > 0).count() as u64;
        let acknowledged_again: u64 = entries.iter().map(|entry| entry.acknowledged.saturating_sub(1)).sum();
        let asked: u64 = entries.iter().map(|entry| entry.attempts).sum();
        println!(
            "end: {registrations} registrations counted, {acknowledged} acknowledged; {again} re-registrations counted, \
             {acknowledged_again} to {} due",
            asked - registrations
        );
        assert_eq!(registrations, assigned);
        assert!(acknowledged <= registrations);
        assert!(acknowledged_again <= again && again <= asked - registrations);
    }

    /// Connects the device to its hub with the credentials of its registration, and reads its twin.
    pub async fn connect(&self, entry: &Entry) {
        let assignment = entry.assignment.as_ref().unwrap();
        let hub = self.hubs.iter().find(|hub| hub.endpoint.name == assignment.hub).unwrap();
        let mut client =
            HubClient::connect(&hub.endpoint, &entry.device, &assignment.device_id).await.unwrap();
        let twin = client.twin().await.unwrap();
        assert_eq!(twin["desired"]["$version"], 2, "{twin}");
        client.disconnect().await;
    }
}
