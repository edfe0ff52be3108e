//! Compares what devices were told with what the service and the hubs say.

use std::time::Duration;

use fleet::{HubClient, HubEndpoint, HubRegistry, ServiceClient};
use model::{DeviceId, HubName};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use wire::sas::ConnectionString;

use crate::{
    process::Muster,
    scene,
    worker::{Entry, Place},
};

/// An operator with all rights.
pub struct Inspector {
    service: ServiceClient,
    hubs: Vec<Hub>,
}

struct Hub {
    site: HubEndpoint,
    registry: HubRegistry,
}

/// Registrations that were cut off finish by themselves within this time; they take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

impl Inspector {
    pub fn new(muster: &Muster) -> Inspector {
        let ports = muster.info.ports;
        let hubs = muster.info.hubs.iter().map(|hub| {
            let connection = ConnectionString::parse(&hub.connection_string).unwrap();
            let name = HubName::parse(&hub.host_name).unwrap();
            Hub {
                site: HubEndpoint { name, mqtts_port: ports.mqtts, trust: muster.trust() },
                registry: HubRegistry::new(&connection, ports.https, muster.trust()).unwrap(),
            }
        });
        Inspector { service: scene::service(muster), hubs: hubs.collect() }
    }

    /// A device that was told its place is there and nowhere else, with its twin; one that was told nothing is in one
    /// place or in none. Whether it is assigned.
    pub async fn examine(&mut self, entry: &mut Entry) -> bool {
        let id = entry.device.registration_id.to_string();
        match self.settled(&id).await {
            Some(state) => {
                assert_eq!(state["status"], "assigned", "{state}");
                let text = |name: &str| state[name].as_str().unwrap_or_default().to_owned();
                let hub = HubName::parse(text("assignedHub")).unwrap();
                let device_id = DeviceId::parse(text("deviceId")).unwrap();
                assert_eq!(device_id.as_str(), scene::device_id(entry.kind, &id));
                entry.found_at(Place { hub, device_id });
            }
            None => assert_eq!(entry.place, None, "the registration of {id} is lost"),
        }
        self.examine_hubs(entry).await;
        entry.place.is_some()
    }

    /// The registration, once nothing is under way.
    async fn settled(&mut self, id: &str) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.service.registration(id).await.unwrap()?;
            if state["status"] != "assigning" {
                return Some(state);
            }
            assert!(Instant::now() < deadline, "{id} was cut off and is not taken up: {state}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn examine_hubs(&mut self, entry: &Entry) {
        let id = entry.device.registration_id.as_str();
        let device_id = DeviceId::parse(scene::device_id(entry.kind, id)).unwrap();
        for hub in &mut self.hubs {
            let twin = hub.registry.twin(&device_id).await.unwrap();
            let belongs = entry.place.as_ref().is_some_and(|place| place.hub == hub.site.name);
            assert_eq!(twin.is_some(), belongs, "{id} at {}: {twin:?}", hub.site.name);
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

    /// The hubs have the devices that are assigned and no others.
    pub async fn count_devices(&mut self, assigned: u64) {
        let mut devices = 0;
        for hub in &mut self.hubs {
            devices += hub.registry.device_count().await.unwrap();
        }
        assert_eq!(devices, assigned);
    }

    /// Each assigned device was counted as one registration. Every further time that a device was told its place was
    /// counted; so may have been those times when it asked and the answer was lost.
    pub async fn audit(&mut self, entries: &[Entry], assigned: u64) {
        let usage = self.service.usage(None, None).await.unwrap();
        let of_kind = |kind: &str| -> u64 {
            let rows = usage["usage"].as_array().unwrap().iter().filter(|row| row["kind"] == kind);
            rows.map(|row| row["count"].as_u64().unwrap()).sum()
        };
        let (registrations, again) = (of_kind("registration"), of_kind("reregistration"));
        let told = entries.iter().filter(|entry| entry.acknowledged > 0).count() as u64;
        let told_again: u64 = entries.iter().map(|entry| entry.acknowledged.saturating_sub(1)).sum();
        let asked: u64 = entries.iter().map(|entry| entry.attempts).sum();
        println!(
            "end: {registrations} registrations counted, {told} acknowledged; {again} re-registrations counted, \
             {told_again} to {} due",
            asked - registrations
        );
        assert_eq!(registrations, assigned);
        assert!(told <= registrations);
        assert!(told_again <= again && again <= asked - registrations);
    }

    /// The device connects to its hub with what it registered with, and reads its twin.
    pub async fn connect(&self, entry: &Entry) {
        let place = entry.place.as_ref().unwrap();
        let hub = self.hubs.iter().find(|hub| hub.site.name == place.hub).unwrap();
        let mut client = HubClient::connect(&hub.site, &entry.device, &place.device_id).await.unwrap();
        let twin = client.twin().await.unwrap();
        assert_eq!(twin["desired"]["$version"], 2, "{twin}");
        client.disconnect().await;
    }
}
