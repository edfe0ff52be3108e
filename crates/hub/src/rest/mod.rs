//! The way to a hub outside of this process, over the REST API of Azure IoT Hub: a hub there, or an embedded hub of
//! another Muster.
//!
//! An existing device is read, compared and written with the version that was read; a new one is created together with
//! its twin in one request, so that no failure leaves one without the other. What goes on for longer than a call (pauses,
//! tries) is the caller's.

mod answer;
mod body;
mod breaker;
mod check;
mod circuit;
mod client;
mod link;
mod moving;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use model::{Carried, DeviceId, DeviceSpec, HubName, InitialTwin, TwinSpec};
use net::client::dial;
use provisioning::ports::{
    Before, Clock, Ensured, Entropy, HubConnector, HubDevice, HubError, HubHealth, HubRight, HubVersion,
    Removed,
};
use serde_json::Value;
use tokio::time::Instant;
use wire::sas::encode_component;

use answer::Answer;
use body::Found;
use client::{Question, RestClient};

pub use link::RestLink;

/// How often a device is looked at anew because somebody else changed it meanwhile.
const MAX_RACES: usize = 4;

/// Calls a hub by its REST API.
pub struct RestConnector {
    line: RestClient,
}

/// What became of an order.
enum Outcome {
    /// The device is as ordered.
    Done(Ensured),
    /// It is not there.
    Absent,
    /// It was there already, or another client changed it meanwhile.
    Overtaken,
}

impl RestConnector {
    /// Over this link. It connects when it is first used.
    pub fn new(link: RestLink, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> RestConnector {
        RestConnector { line: RestClient::new(link, clock, entropy) }
    }

    /// The hub that it leads to.
    pub fn hub(&self) -> &HubName {
        self.line.hub()
    }

    /// Creates the device with its twin.
    async fn create(&self, spec: &DeviceSpec) -> Result<Outcome, HubError> {
        let twin = spec.twin.initial();
        let is_blank = body::is_blank(twin);
        let answer = if is_blank {
            let path = device_path(&spec.device_id);
            self.line.ask(question(Method::PUT, &path, &body::new_device(spec)), Answer::of).await?
        } else {
            self.create_with_twin(spec, twin).await?
        };
        match answer {
            Answer::Done(shown) => {
                self.line.has_room();
                match is_blank {
                    true => {
                        let generation = Found::read(&shown).and_then(|found| found.generation());
                        Ok(Outcome::Done(Before::Own.then(generation)))
                    }
                    // The answer to a bulk request shows no device.
                    false => self.created(&spec.device_id).await,
                }
            }
            Answer::Exists => Ok(Outcome::Overtaken),
            Answer::Absent | Answer::Stale => {
                Err(self.line.unavailable("its answer to a creation makes no sense"))
            }
        }
    }

    /// Looks up the generation of a device that was created a moment ago.
    async fn created(&self, device: &DeviceId) -> Result<Outcome, HubError> {
        let path = device_path(device);
        let Answer::Done(shown) = self.line.ask(Question::new(Method::GET, &path), Answer::of).await? else {
            return Ok(Outcome::Absent);
        };
        let found = Found::read(&shown).ok_or_else(|| self.senseless("device"))?;
        Ok(Outcome::Done(Before::Own.then(found.generation())))
    }

    async fn create_with_twin(&self, spec: &DeviceSpec, twin: &InitialTwin) -> Result<Answer, HubError> {
        let entry = body::new_device_with_twin(spec, twin);
        match self.line.ask(question(Method::POST, "/devices", &entry), Answer::of_bulk).await? {
            (Answer::Done(_), true) => self.put_twin(&spec.device_id, twin).await,
            (answer, _) => Ok(answer),
        }
    }

    /// Brings a device that is there in line with the order.
    async fn refresh(&self, spec: &DeviceSpec) -> Result<Outcome, HubError> {
        let path = device_path(&spec.device_id);
        let Answer::Done(shown) = self.line.ask(Question::new(Method::GET, &path), Answer::of).await? else {
            return Ok(Outcome::Absent);
        };
        let found = Found::read(&shown).ok_or_else(|| self.senseless("device"))?;
        let ensured = found.before(spec)?.then(found.generation());
        // A device that begins again gets a new version in any case: a removal may be on its way.
        let keeps = matches!(spec.twin, TwinSpec::Keep { .. });
        if !(keeps && found.is_as_ordered(spec)) {
            let etag = found.etag().ok_or_else(|| self.senseless("device"))?.to_owned();
            let refreshed = Value::Object(found.refreshed(spec));
            let question = Question { etag: Some(&etag), ..question(Method::PUT, &path, &refreshed) };
            match self.line.ask(question, Answer::of).await? {
                Answer::Done(_) => {}
                Answer::Absent => return Ok(Outcome::Absent),
                Answer::Exists | Answer::Stale => return Ok(Outcome::Overtaken),
            }
        }
        match &spec.twin {
            TwinSpec::Keep { .. } | TwinSpec::Migrate { .. } => Ok(Outcome::Done(ensured)),
            TwinSpec::Initialize(twin) => self.seed(&spec.device_id, twin, ensured).await,
        }
    }

    /// Has the twin of a device that is there hold just this. What the device reported stays: no operator can change it.
    async fn seed(
        &self,
        device: &DeviceId,
        twin: &InitialTwin,
        ensured: Ensured,
    ) -> Result<Outcome, HubError> {
        let path = twin_path(device);
        let Answer::Done(shown) = self.line.ask(Question::new(Method::GET, &path), Answer::of).await? else {
            return Ok(Outcome::Absent);
        };
        if body::holds(&shown, twin).ok_or_else(|| self.senseless("twin"))? {
            return Ok(Outcome::Done(ensured));
        }
        Ok(match self.put_twin(device, twin).await? {
            Answer::Done(_) => Outcome::Done(ensured),
            Answer::Absent => Outcome::Absent,
            Answer::Exists | Answer::Stale => Outcome::Overtaken,
        })
    }

    async fn put_twin(&self, device: &DeviceId, twin: &InitialTwin) -> Result<Answer, HubError> {
        let path = twin_path(device);
        let question = question(Method::PUT, &path, &body::whole_twin(twin));
        self.line.ask(question, Answer::of).await
    }

    fn overtaken(&self, spec: &DeviceSpec) -> HubError {
        let id = spec.device_id.as_str();
        self.line.unavailable(format!("somebody else keeps changing the device {id:?}"))
    }

    fn senseless(&self, what: &str) -> HubError {
        self.line.unavailable(format!("the {what} that it shows makes no sense"))
    }
}

#[async_trait]
impl HubConnector for RestConnector {
    async fn ensure_device(&self, spec: &DeviceSpec) -> Result<Ensured, HubError> {
        // A seed is for new devices, nearly always; any other order is for one that is there.
        let mut is_new = matches!(spec.twin, TwinSpec::Initialize(_));
        for _ in 0..MAX_RACES {
            if is_new && let Outcome::Done(ensured) = self.create(spec).await? {
                return Ok(ensured);
            }
            match self.refresh(spec).await? {
                Outcome::Done(ensured) => return Ok(ensured),
                Outcome::Absent => is_new = true,
                Outcome::Overtaken => is_new = false,
            }
        }
        Err(self.overtaken(spec))
    }

    /// The name is looked up, TCP and TLS are connected, and the hub's certificate must hold.
    async fn reach(&self) -> Result<Duration, HubError> {
        let RestLink { hub, port, tls, .. } = self.line.link();
        let began = Instant::now();
        let connected = dial(hub.as_str(), *port, Arc::clone(tls), REACH_LIMIT).await;
        connected.map(|_| began.elapsed()).map_err(|error| self.line.unavailable(error))
    }

    async fn device_count(&self) -> Result<Option<u64>, HubError> {
        let question = Question::new(Method::GET, "/statistics/devices");
        let Answer::Done(body) = self.line.ask(question, Answer::of).await? else {
            return Err(self.senseless("registry's statistics"));
        };
        let count =
            serde_json::from_slice(&body).ok().and_then(|it: Value| it.get("totalDeviceCount")?.as_u64());
        count.map(Some).ok_or_else(|| self.senseless("number of devices"))
    }

    async fn receive_device(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        self.receive(spec, carried).await
    }

    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        self.find(device).await
    }

    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError> {
        let path = device_path(device);
        let question = Question { etag: Some(&version.0), ..Question::new(Method::DELETE, &path) };
        match self.line.ask(question, Answer::of).await? {
            Answer::Done(_) | Answer::Absent => Ok(Removed::Gone),
            Answer::Stale => Ok(Removed::Changed),
            Answer::Exists => Err(self.line.unavailable("its answer to a removal makes no sense")),
        }
    }

    async fn lacking(&self) -> Result<Vec<HubRight>, HubError> {
        self.rights_lacking().await
    }

    fn health(&self) -> HubHealth {
        self.line.health()
    }
}

/// The longest that a measurement waits. What is farther than this is no place for devices.
const REACH_LIMIT: Duration = Duration::from_secs(5);

fn question<'a>(method: Method, path: &'a str, body: &Value) -> Question<'a> {
    Question { body: Bytes::from(body.to_string()), ..Question::new(method, path) }
}

fn device_path(device: &DeviceId) -> String {
    format!("/devices/{}", encode_component(device.as_str()))
}

fn twin_path(device: &DeviceId) -> String {
    format!("/twins/{}", encode_component(device.as_str()))
}
