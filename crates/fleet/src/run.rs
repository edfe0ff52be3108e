//! Runs of a fleet: many devices, of which a bounded number registers concurrently.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use model::{DeviceId, HubName};
use net::Transport;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::{
    device::Device,
    endpoint::Endpoint,
    hub::{HubClient, HubEndpoint, HubError},
    register::register,
};

/// One device of a fleet.
#[derive(Clone, Debug)]
pub struct Member {
    /// The device.
    pub device: Device,
    /// The name of the enrollment in the report.
    pub enrollment: Arc<str>,
    /// The transport to the endpoint.
    pub transport: Transport,
    /// The expected twin at the hub; not checked if `None`.
    pub twin: Option<Arc<ExpectedTwin>>,
}

/// The initial twin of an enrollment, which the hub must have.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedTwin {
    /// The tags.
    pub tags: Map<String, Value>,
    /// The desired properties.
    pub desired: Map<String, Value>,
}

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The endpoint that the devices register at.
    pub endpoint: Endpoint,
    /// The step after the assignment.
    pub hub_visit: HubVisit,
    /// The maximum number of devices that register at the same time.
    pub concurrency: NonZeroUsize,
}

/// The step of a device after its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubVisit {
    /// No step: the device does not connect to its hub.
    Skip,
    /// A connection to the hub over MQTT, to read the twin.
    ReadTwin {
        /// The hub's port of MQTT over TLS.
        mqtts_port: u16,
    },
}

/// The outcome of a run for one device.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The device.
    pub member: Arc<Member>,
    /// The assignment; `None` if the registration failed.
    pub assignment: Option<Assignment>,
    /// The first failure; `None` if every step succeeded.
    pub failure: Option<Failure>,
}

/// The assignment of a device.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The assigned hub.
    pub hub: HubName,
    /// The device ID at the hub.
    pub device_id: DeviceId,
    /// The time from the start of the TCP connection until the reply `assigned`.
    pub time_to_assigned: Duration,
}

/// The failure of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The stage that failed.
    pub stage: Stage,
    /// The reason, without details of the device, so that failures can be grouped.
    pub reason: String,
}

/// The stages of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The registration at the endpoint.
    Register,
    /// The connection to the hub.
    Connect,
    /// The reading of the twin.
    Twin,
    /// The check in the hub's registry.
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
    /// Returns whether every step succeeded.
    pub fn is_success(&self) -> bool {
        self.failure.is_none()
    }
}

impl Run {
    /// Runs all devices, and returns when the last one is done. Calls `on_outcome` for each device when it is done.
    pub async fn start(self, members: Vec<Member>, mut on_outcome: impl FnMut(&Outcome)) -> Vec<Outcome> {
        let members: Arc<[Arc<Member>]> = members.into_iter().map(Arc::new).collect();
        let workers = self.concurrency.get().min(members.len());
        let (next, run) = (Arc::new(AtomicUsize::new(0)), Arc::new(self));
        // Bounded, so that workers wait for a slow receiver.
        let (sender, mut outcomes) = mpsc::channel(workers.max(1));
        for _ in 0..workers {
            let (members, next) = (Arc::clone(&members), Arc::clone(&next));
            let (run, sender) = (Arc::clone(&run), sender.clone());
            tokio::spawn(async move {
                while let Some(member) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(run.register(Arc::clone(member)).await).await.is_err() {
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

    async fn register(&self, member: Arc<Member>) -> Outcome {
        let registered = register(&self.endpoint, &member.device, member.transport, None).await;
        let assignment = match registered {
            Ok(registered) => Assignment {
                hub: registered.hub,
                device_id: registered.device_id,
                time_to_assigned: registered.time_to_assigned,
            },
            Err(error) => {
                let failure = Failure { stage: Stage::Register, reason: error.to_string() };
                return Outcome { member, assignment: None, failure: Some(failure) };
            }
        };
        let failure = match self.hub_visit {
            HubVisit::Skip => None,
            HubVisit::ReadTwin { mqtts_port } => {
                self.check_twin(&member, &assignment, mqtts_port).await.err()
            }
        };
        Outcome { member, assignment: Some(assignment), failure }
    }

    async fn check_twin(
        &self,
        member: &Member,
        assignment: &Assignment,
        mqtts_port: u16,
    ) -> Result<(), Failure> {
        let at = |stage| move |error: HubError| Failure { stage, reason: error.to_string() };
        let Assignment { hub, device_id, .. } = assignment;
        let hub = HubEndpoint { name: hub.clone(), mqtts_port, trust: self.endpoint.trust.clone() };
        let connected = HubClient::connect(&hub, &member.device, device_id).await;
        let mut client = connected.map_err(at(Stage::Connect))?;
        let twin = client.twin().await;
        client.disconnect().await;
        let twin = twin.map_err(at(Stage::Twin))?;
        let problem = member.twin.as_ref().and_then(|expected| problem_with_twin(&twin, &expected.desired));
        problem.map_or(Ok(()), |reason| Err(Failure { stage: Stage::Twin, reason }))
    }
}

/// Returns what is wrong if the twin does not have exactly these desired properties, apart from members that begin with `$`,
/// which the hub adds.
fn problem_with_twin(twin: &Value, desired: &Map<String, Value>) -> Option<String> {
    let Some(found) = twin.get("desired").and_then(Value::as_object) else {
        return Some("the twin has no desired properties".to_owned());
    };
    let found: Map<String, Value> = found
        .iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if found == *desired {
        return None;
    }
    let differing = desired.keys().chain(found.keys()).find(|name| found.get(*name) != desired.get(*name));
    Some(format!("desired property {} is not the expected one", differing.map_or("?", String::as_str)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(twin: &Value, expected: Option<&str>) {
        let desired = json!({"a": 1, "b": {"c": [1, 2]}});
        let found = problem_with_twin(twin, desired.as_object().unwrap());
        assert_eq!(found.as_deref(), expected, "{twin}");
    }

    #[test]
    fn desired_properties_are_compared_without_members_of_the_hub() {
        check(&json!({"desired": {"b": {"c": [1, 2]}, "a": 1, "$version": 1, "$metadata": {}}}), None);
        let a = Some("desired property a is not the expected one");
        check(&json!({"desired": {"a": 2, "b": {"c": [1, 2]}}}), a);
        check(&json!({"desired": {"b": {"c": [1, 2]}}}), a);
        check(
            &json!({"desired": {"a": 1, "b": {"c": [2, 1]}}}),
            Some("desired property b is not the expected one"),
        );
        check(
            &json!({"desired": {"a": 1, "b": {"c": [1, 2]}, "x": null}}),
            Some("desired property x is not the expected one"),
        );
        check(&json!({"reported": {}}), Some("the twin has no desired properties"));
    }
}
