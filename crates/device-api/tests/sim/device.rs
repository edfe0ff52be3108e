//! Devices: they register again and again, and check at each reply that what they are told is true.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use model::{DeviceId, HubName, Properties, RegistrationId, SymmetricKey};
use net::Peer;
use serde_json::{Value, json};
use testkit::{hub::FakeDevice, sample};
use tokio::time::{sleep, timeout};
use tower_service::Service as _;

use crate::{
    deployment::Deployment,
    nodes::{MAX_PAUSE, Nodes},
    outages,
    world::{SCOPE, World},
};

/// How long a device waits for a reply. The process may have died.
const PATIENCE: Duration = Duration::from_secs(20);

/// Polls of one operation before a device starts over.
const POLLS: usize = 40;

/// What clients of the field send: the newest, the most frequent, and one from before there were policies.
const VERSIONS: [&str; 4] = ["2021-06-01", "2019-03-31", "2025-07-01-preview", "2018-04-01"];

pub struct Device {
    pub id: RegistrationId,
    group: String,
    key: SymmetricKey,
    version: &'static str,
    /// Its twin as it last saw it; `None` when an operator has intervened since.
    twin: Option<FakeDevice>,
    reports: u64,
    /// How often an older state of the store had been restored when it last registered.
    restores: u64,
}

/// What a device is told in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Assigned,
    TurnedAway,
    /// Nothing: it lost its patience.
    Nothing,
}

impl Device {
    pub fn new(world: &World, id: &str, group: &str) -> Device {
        let model::GroupAttestation::SymmetricKey(keys) = world.stored_group(group).attestation else {
            panic!("groups here have keys")
        };
        let version = *world.dice.pick(&VERSIONS);
        let (id, key) = (sample::registration_id(id), keys.primary.derive(id));
        Device { id, group: group.to_owned(), key, version, twin: None, reports: 0, restores: 0 }
    }

    /// One that has this key, and may be let in by the group of this name.
    pub fn with_key(world: &World, id: &str, group: &str, key: SymmetricKey) -> Device {
        let (id, version) = (sample::registration_id(id), *world.dice.pick(&VERSIONS));
        Device { id, group: group.to_owned(), key, version, twin: None, reports: 0, restores: 0 }
    }

    /// Registers once, and says whether the answer is any other than a refusal.
    pub async fn is_let_in(&self, service: &Nodes) -> bool {
        let path = format!("register?api-version={}", self.version);
        let answer = self.send(service, "PUT", &path, String::from("{}")).await;
        answer.is_some_and(|(_, answer)| answer.get("status").is_some())
    }

    pub fn key(&self) -> &SymmetricKey {
        &self.key
    }

    pub fn device_id(&self) -> DeviceId {
        DeviceId::from(&self.id)
    }

    /// Forgets its twin: somebody else may change it.
    pub fn forget(&mut self) {
        self.twin = None;
    }

    /// Registers, and follows the operation to its end.
    pub async fn register(&mut self, service: &Nodes) -> Told {
        let world = Arc::clone(&service.world);
        world.note(format_args!("{} registers", self.id));
        let (asked, restores) = (world.elapsed(), world.notes().restores);
        if self.restores != restores {
            // The service knows nothing of where it was since.
            self.forget();
            self.restores = restores;
        }
        world.count(|figures| figures.requests += 1);
        let body = json!({"registrationId": self.id.as_str()}).to_string();
        let path = format!("register?api-version={}", self.version);
        let mut reply = self.send(service, "PUT", &path, body).await;
        if let Some((_, answer)) = &reply {
            self.check_group(&world, asked, answer);
        }
        for _ in 0..POLLS {
            let Some((status, answer)) = reply else { return Told::Nothing };
            if world.notes().restores != restores {
                // What it began is not known any more, and what it asked for may be answered from an earlier time.
                return Told::Nothing;
            }
            let Some(operation) = still_assigning(status, &answer) else {
                let told = self.hear(&world, status, &answer);
                if told == Told::Assigned {
                    self.check_counted(&world, asked);
                    self.check_individual(&world, asked);
                }
                return told;
            };
            // Somebody pulls the plug now and then.
            if world.weather.strikes(100, &world.dice) {
                world.note(format_args!("{} is cut off", self.id));
                return Told::Nothing;
            }
            sleep(Duration::from_secs(3)).await;
            let path = format!("operations/{operation}?api-version={}", self.version);
            reply = self.send(service, "GET", &path, String::new()).await;
        }
        world.note(format_args!("{} has lost its patience", self.id));
        Told::Nothing
    }

    async fn send(
        &self,
        service: &Nodes,
        method: &str,
        path: &str,
        body: String,
    ) -> Option<(StatusCode, Value)> {
        let resource = format!("{SCOPE}/registrations/{}", self.id);
        let expiry = service.world.now().unix_seconds().unsigned_abs() + 3600;
        let token = wire::sas::sign(&resource, self.key.as_bytes(), expiry, Some("registration"));
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let request = Request::builder()
            .method(method)
            .uri(format!("/{resource}/{path}"))
            .header("authorization", token)
            .extension(Peer::new(addr, Arc::default()))
            .body(Body::from(body))
            .unwrap();
        let node = service.node();
        let mut router = node.router.clone();
        let answer = async {
            let response = router.call(request).await.unwrap();
            node.process.resume().await;
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&body).unwrap())
        };
        let answer = timeout(PATIENCE, answer).await.ok();
        service.world.note(match &answer {
            Some((status, answer)) => format!("{} is told {status} {}", self.id, in_short(answer)),
            None => format!("{} is told nothing", self.id),
        });
        answer
    }

    fn hear(&mut self, world: &World, status: StatusCode, answer: &Value) -> Told {
        let state = &answer["registrationState"];
        match answer["status"].as_str() {
            Some("assigned") => {
                world.count(|figures| figures.assigned += 1);
                self.check(world, &sample::hub_name(text(state, "assignedHub")), text(state, "substatus"));
                Told::Assigned
            }
            Some("failed") => {
                world.count(|figures| figures.turned_away += 1);
                self.check_failure(world, text(state, "errorMessage"));
                self.forget();
                Told::TurnedAway
            }
            Some("disabled") => {
                world.count(|figures| figures.turned_away += 1);
                if world.notes().in_doubt.remove(&self.id) {
                    // What was ordered before may have been done.
                    self.forget();
                }
                Told::TurnedAway
            }
            // 429 and 503 when the service is busy, 404 when an operator has deleted the registration meanwhile.
            _ if status.is_server_error() || status == 429 || status == 404 => Told::Nothing,
            _ if status == 401 && self.may_be_refused(world) => {
                world.count(|figures| figures.turned_away += 1);
                // What was ordered before may have been done; it was not told.
                self.forget();
                Told::TurnedAway
            }
            _ => {
                world.violated(format_args!("{} was told {status} {answer}", self.id));
                Told::Nothing
            }
        }
    }

    fn may_be_refused(&self, world: &World) -> bool {
        let notes = world.notes();
        notes.ever_deleted.contains(&self.group) || notes.ever_individual.contains(&self.id)
    }

    /// An individual enrollment that was there before it asked decided alone.
    fn check_individual(&self, world: &World, asked: Duration) {
        let individual = world.notes().individuals.get(&self.id).cloned();
        let decides = individual.filter(|individual| individual.since < asked);
        if decides.is_some_and(|individual| !individual.admits(&self.key)) {
            world.violated(format_args!("{} was let in, and its individual enrollment refuses it", self.id));
        }
    }

    /// A group that let nothing in before the device asked lets it in at no node.
    fn check_group(&self, world: &World, asked: Duration, answer: &Value) {
        let since = world.notes().refusing.get(&self.group).copied();
        let is_let_in = ["assigning", "assigned"].contains(&text(answer, "status"));
        let may_be_individual = world.notes().ever_individual.contains(&self.id);
        if is_let_in && !may_be_individual && since.is_some_and(|since| since < asked) {
            world.violated(format_args!("{} was let in after its group {} refused", self.id, self.group));
        }
    }

    /// Something was counted since it asked; a run that it joined may have been counted just before. Whose count it was
    /// cannot be seen, but there are not so many devices.
    fn check_counted(&self, world: &World, asked: Duration) {
        let last = world.notes().last_counted;
        // A node may have been paused or cut off after it had counted.
        let slack = match world.deployment {
            Deployment::Embedded => Duration::from_millis(100),
            Deployment::Cluster => MAX_PAUSE + outages::PATIENCE,
        };
        if last + slack < asked {
            world.violated(format_args!("{} was told, and nothing was counted since it asked", self.id));
        }
    }

    /// What is said to be so is so: the hub has the device, with what it needs to connect, and with the right twin.
    fn check(&mut self, world: &World, hub: &HubName, substatus: &str) {
        let Some(there) = world.hubs.hub(hub).and_then(|hub| hub.device(&self.device_id())) else {
            return world.violated(format_args!("{} was told {hub}, which does not have it", self.id));
        };
        let can_connect = match &there.credentials {
            model::HubCredentials::SymmetricKeys(keys) => keys.primary == self.key,
            model::HubCredentials::Certificate(_) => false,
        };
        if !can_connect {
            world.violated(format_args!("{} was told {hub}, and its key is another one there", self.id));
        }
        let started = there.reported.value.is_empty() && world.notes().starts.contains(&there.twin);
        let unchanged = self.twin.as_ref().is_none_or(|twin| same_content(twin, &there));
        let right = match substatus {
            "deviceDataMigrated" | "reprovisionedToInitialAssignment" => unchanged,
            "initialAssignment" | "deviceDataReset" => unchanged || started,
            _ => false,
        };
        if !right {
            let twin = &self.twin;
            world.violated(format_args!("{} ({substatus}) has {there:?} and had {twin:?}", self.id));
        }
        self.report(world, hub);
    }

    /// Reports something, as devices do once they are connected.
    fn report(&mut self, world: &World, hub: &HubName) {
        let hub = world.hubs.hub(hub).unwrap();
        self.reports += 1;
        let value = json!({"report": self.reports}).as_object().cloned().unwrap();
        hub.change(&self.device_id(), |device| {
            device.reported = Properties { value, version: device.reported.version + 1 };
        });
        self.twin = hub.device(&self.device_id());
    }

    /// Nothing fails but for a reason that this world has.
    fn check_failure(&self, world: &World, message: &str) {
        let reasons = [
            "no more devices",
            "cancelled",
            "was deleted",
            "was disabled",
            "was changed",
            "status code: 400",
            "linked",
            "hub",
            "503",
        ];
        let is_refused_as_known = message.contains("DeviceAlreadyExists");
        if is_refused_as_known || !reasons.iter().any(|reason| message.contains(reason)) {
            world.violated(format_args!("{} failed for no good reason: {message}", self.id));
        }
    }
}

/// The operation that must be asked for again.
fn still_assigning(status: StatusCode, answer: &Value) -> Option<String> {
    let goes_on = status == StatusCode::ACCEPTED && answer["status"] == "assigning";
    goes_on.then(|| text(answer, "operationId").to_owned())
}

fn same_content(one: &FakeDevice, other: &FakeDevice) -> bool {
    one.twin == other.twin && one.reported.value == other.reported.value
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_default()
}

fn in_short(answer: &Value) -> String {
    let state = &answer["registrationState"];
    let part = |name: &str| format!(" {}", text(state, name));
    format!(
        "{} {}{}{}",
        text(answer, "status"),
        text(answer, "message"),
        part("assignedHub"),
        part("substatus")
    )
}
