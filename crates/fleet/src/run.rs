//! A fleet at work: many devices, a bounded number of them at the same time.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::{DeviceId, HubName};
use net::Transport;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::device::Device;
use crate::endpoint::Endpoint;
use crate::hub::{HubClient, HubError, HubSite};
use crate::register::register;

/// One device of a fleet.
#[derive(Clone, Debug)]
pub struct Member {
    /// The device.
    pub device: Device,
    /// What it is counted under: the enrollment it comes through.
    pub enrollment: Arc<str>,
    /// How it speaks to the endpoint.
    pub transport: Transport,
    /// The twin that its hub must have for it; any when absent.
    pub twin: Option<Arc<ExpectedTwin>>,
}

/// The initial twin of an enrollment.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedTwin {
    /// What operators see.
    pub tags: Map<String, Value>,
    /// What the device sees.
    pub desired: Map<String, Value>,
}

/// What the fleet does.
#[derive(Clone, Debug)]
pub struct Run {
    /// Where the devices register.
    pub endpoint: Endpoint,
    /// What they do at their hub.
    pub hub_visit: HubVisit,
    /// How many are at work at the same time.
    pub concurrency: NonZeroUsize,
}

/// What an assigned device does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubVisit {
    /// Nothing.
    Skip,
    /// It connects to its hub over MQTT and reads its twin.
    ReadTwin {
        /// The hub's port of MQTT over TLS.
        mqtts_port: u16,
    },
}

/// What became of one device.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The device.
    pub member: Arc<Member>,
    /// Where it was assigned to, if it was.
    pub landed: Option<Landed>,
    /// Why it is not where it should be; `None` when all went well.
    pub failure: Option<Failure>,
}

/// Where a device was assigned to.
#[derive(Clone, Debug)]
pub struct Landed {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// From the first byte of the TCP connection.
    pub time_to_assigned: Duration,
}

/// Why a device is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// How far it came.
    pub stage: Stage,
    /// The reason, equal for devices that failed alike.
    pub reason: String,
}

/// What a device was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Registering at the endpoint.
    Register,
    /// Connecting to its hub.
    Connect,
    /// Reading its twin.
    Twin,
    /// Being looked up in the hub's registry.
    Registry,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Register => "register",
            Stage::Connect => "connect to the hub",
            Stage::Twin => "twin",
            Stage::Registry => "registry",
        })
    }
}

impl Outcome {
    /// Whether the device is where it should be.
    pub fn is_success(&self) -> bool {
        self.failure.is_none()
    }
}

impl Run {
    /// Sets all devices to work and returns when the last is done; `on_outcome` hears of each as it is done.
    pub async fn start(self, members: Vec<Member>, mut on_outcome: impl FnMut(&Outcome)) -> Vec<Outcome> {
        let members: Arc<[Arc<Member>]> = members.into_iter().map(Arc::new).collect();
        let workers = self.concurrency.get().min(members.len());
        let (next, run) = (Arc::new(AtomicUsize::new(0)), Arc::new(self));
        // Full when the receiver is slower than all workers together.
        let (sender, mut outcomes) = mpsc::channel(workers.max(1));
        for _ in 0..workers {
            let (members, next) = (Arc::clone(&members), Arc::clone(&next));
            let (run, sender) = (Arc::clone(&run), sender.clone());
            tokio::spawn(async move {
                while let Some(member) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(run.one(Arc::clone(member)).await).await.is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut done = Vec::with_capacity(members.len());
        while let Some(outcome) = outcomes.recv().await {
            on_outcome(&outcome);
            done.push(outcome);
        }
        done
    }

    async fn one(&self, member: Arc<Member>) -> Outcome {
        let registered = register(&self.endpoint, &member.device, member.transport, None).await;
        let landed = match registered {
            Ok(registered) => Landed {
                hub: registered.hub,
                device_id: registered.device_id,
                time_to_assigned: registered.time_to_assigned,
            },
            Err(error) => {
                let failure = Failure { stage: Stage::Register, reason: error.to_string() };
                return Outcome { member, landed: None, failure: Some(failure) };
            }
        };
        let failure = match self.hub_visit {
            HubVisit::Skip => None,
            HubVisit::ReadTwin { mqtts_port } => self.visit(&member, &landed, mqtts_port).await.err(),
        };
        Outcome { member, landed: Some(landed), failure }
    }

    async fn visit(&self, member: &Member, landed: &Landed, mqtts_port: u16) -> Result<(), Failure> {
        let at = |stage| move |error: HubError| Failure { stage, reason: error.to_string() };
        let site = HubSite { name: landed.hub.clone(), mqtts_port, trust: self.endpoint.trust.clone() };
        let mut client =
            HubClient::connect(&site, &member.device, &landed.device_id).await.map_err(at(Stage::Connect))?;
        let twin = client.twin().await;
        client.disconnect().await;
        let twin = twin.map_err(at(Stage::Twin))?;
        match &member.twin {
            Some(expected) => {
                shows(&twin, &expected.desired).map_err(|reason| Failure { stage: Stage::Twin, reason })
            }
            None => Ok(()),
        }
    }
}

/// Whether the twin has exactly these desired properties; the hub adds members that begin with `$`.
fn shows(twin: &Value, desired: &Map<String, Value>) -> Result<(), String> {
    let Some(shown) = twin.get("desired").and_then(Value::as_object) else {
        return Err("the twin has no desired properties".to_owned());
    };
    let own: Map<String, Value> = shown
        .iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if own == *desired {
        return Ok(());
    }
    let differing = desired.keys().chain(own.keys()).find(|name| own.get(*name) != desired.get(*name));
    Err(format!("desired property {} is not what it should be", differing.map_or("?", String::as_str)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(twin: &Value, expected: Result<(), &str>) {
        let desired = json!({"a": 1, "b": {"c": [1, 2]}});
        let found = shows(twin, desired.as_object().unwrap());
        assert_eq!(found.as_ref().map_err(String::as_str).copied(), expected, "{twin}");
    }

    #[test]
    fn twins_are_compared_without_what_the_hub_adds() {
        check(&json!({"desired": {"b": {"c": [1, 2]}, "a": 1, "$version": 1, "$metadata": {}}}), Ok(()));
        let a = Err("desired property a is not what it should be");
        check(&json!({"desired": {"a": 2, "b": {"c": [1, 2]}}}), a);
        check(&json!({"desired": {"b": {"c": [1, 2]}}}), a);
        check(
            &json!({"desired": {"a": 1, "b": {"c": [2, 1]}}}),
            Err("desired property b is not what it should be"),
        );
        check(
            &json!({"desired": {"a": 1, "b": {"c": [1, 2]}, "x": null}}),
            Err("desired property x is not what it should be"),
        );
        check(&json!({"reported": {}}), Err("the twin has no desired properties"));
    }
}
