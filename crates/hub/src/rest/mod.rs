//! The connector of a hub outside of this process, over the REST API of Azure IoT Hub: a hub in Azure, or an embedded hub of
//! another Muster.
//!
//! An existing device is read, compared, and written on condition of the version that was read. A new one is created together
//! with its twin in one request, so that no failure leaves one without the other. Never sleeps or retries: transient failures
//! are returned, and the caller retries.

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
use client::{Request, RestClient};

pub use link::RestLink;

/// How often a device is read again because another client changed it meanwhile.
const MAX_RACES: usize = 4;

/// Calls a hub by its REST API.
pub struct RestConnector {
    client: RestClient,
}

/// The outcome of a request about a device spec.
enum Outcome {
    /// The device is as the spec says.
    Done(Ensured),
    /// The hub does not have the device.
    Absent,
    /// The hub had the device already, or another client changed it meanwhile.
    Conflict,
}

impl RestConnector {
    /// Creates a connector, which connects when it is first used.
    pub fn new(link: RestLink, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> RestConnector {
        RestConnector { client: RestClient::new(link, clock, entropy) }
    }

    /// Returns the hub that it calls.
    pub fn hub(&self) -> &HubName {
        self.client.hub()
    }

    /// Creates the device with its twin.
    async fn create(&self, spec: &DeviceSpec) -> Result<Outcome, HubError> {
        let twin = spec.twin.initial();
        let is_blank = body::is_blank(twin);
        let answer = if is_blank {
            let path = device_path(&spec.device_id);
            self.client.send(request(Method::PUT, &path, &body::new_device(spec)), Answer::of).await?
        } else {
            self.create_with_twin(spec, twin).await?
        };
        match answer {
            Answer::Done(body) => {
                self.client.mark_accepting();
                match is_blank {
                    true => {
                        let generation = Found::read(&body).and_then(|found| found.generation());
                        Ok(Outcome::Done(Before::Own.then(generation)))
                    }
                    // The answer to a bulk request contains no device.
                    false => self.created(&spec.device_id).await,
                }
            }
            Answer::Exists => Ok(Outcome::Conflict),
            Answer::Absent | Answer::Stale => {
                Err(self.client.unavailable("its answer to a creation is not valid"))
            }
        }
    }

    /// Reads the generation of a device that was just created.
    async fn created(&self, device: &DeviceId) -> Result<Outcome, HubError> {
        let path = device_path(device);
        let Answer::Done(body) = self.client.send(Request::new(Method::GET, &path), Answer::of).await? else {
            return Ok(Outcome::Absent);
        };
        let found = Found::read(&body).ok_or_else(|| self.invalid("device"))?;
        Ok(Outcome::Done(Before::Own.then(found.generation())))
    }

    async fn create_with_twin(&self, spec: &DeviceSpec, twin: &InitialTwin) -> Result<Answer, HubError> {
        let entry = body::new_device_with_twin(spec, twin);
        match self.client.send(request(Method::POST, "/devices", &entry), Answer::of_bulk).await? {
            (Answer::Done(_), true) => self.put_twin(&spec.device_id, twin).await,
            (answer, _) => Ok(answer),
        }
    }

    /// Updates an existing device to match the spec.
    async fn update(&self, spec: &DeviceSpec) -> Result<Outcome, HubError> {
        let path = device_path(&spec.device_id);
        let Answer::Done(body) = self.client.send(Request::new(Method::GET, &path), Answer::of).await? else {
            return Ok(Outcome::Absent);
        };
        let found = Found::read(&body).ok_or_else(|| self.invalid("device"))?;
        let ensured = found.before(spec)?.then(found.generation());
        // A device that is initialized gets a new version in any case, for a cleanup may be in flight.
        if !(spec.twin.is_kept() && found.matches(spec)) {
            let etag = found.etag().ok_or_else(|| self.invalid("device"))?.to_owned();
            let updated = Value::Object(found.updated(spec));
            let request = Request { etag: Some(&etag), ..request(Method::PUT, &path, &updated) };
            match self.client.send(request, Answer::of).await? {
                Answer::Done(_) => {}
                Answer::Absent => return Ok(Outcome::Absent),
                Answer::Exists | Answer::Stale => return Ok(Outcome::Conflict),
            }
        }
        match &spec.twin {
            TwinSpec::Keep { .. } | TwinSpec::Migrate { .. } => Ok(Outcome::Done(ensured)),
            TwinSpec::Initialize(twin) => self.initialize(&spec.device_id, twin, ensured).await,
        }
    }

    /// Replaces tags and desired properties of an existing twin. Reported properties stay, for only the device may write them.
    async fn initialize(
        &self,
        device: &DeviceId,
        twin: &InitialTwin,
        ensured: Ensured,
    ) -> Result<Outcome, HubError> {
        let path = twin_path(device);
        let Answer::Done(body) = self.client.send(Request::new(Method::GET, &path), Answer::of).await? else {
            return Ok(Outcome::Absent);
        };
        if body::holds(&body, twin).ok_or_else(|| self.invalid("twin"))? {
            return Ok(Outcome::Done(ensured));
        }
        Ok(match self.put_twin(device, twin).await? {
            Answer::Done(_) => Outcome::Done(ensured),
            Answer::Absent => Outcome::Absent,
            Answer::Exists | Answer::Stale => Outcome::Conflict,
        })
    }

    async fn put_twin(&self, device: &DeviceId, twin: &InitialTwin) -> Result<Answer, HubError> {
        let path = twin_path(device);
        let request = request(Method::PUT, &path, &body::whole_twin(twin));
        self.client.send(request, Answer::of).await
    }

    fn conflict(&self, spec: &DeviceSpec) -> HubError {
        let id = spec.device_id.as_str();
        self.client.unavailable(format!("other clients keep changing the device {id:?}"))
    }

    fn invalid(&self, what: &str) -> HubError {
        self.client.unavailable(format!("the {what} that it returned is not valid"))
    }
}

#[async_trait]
impl HubConnector for RestConnector {
    async fn ensure_device(&self, spec: &DeviceSpec) -> Result<Ensured, HubError> {
        // A device whose twin is initialized is new, nearly always; any other exists.
        let mut is_new = matches!(spec.twin, TwinSpec::Initialize(_));
        for _ in 0..MAX_RACES {
            if is_new && let Outcome::Done(ensured) = self.create(spec).await? {
                return Ok(ensured);
            }
            match self.update(spec).await? {
                Outcome::Done(ensured) => return Ok(ensured),
                Outcome::Absent => is_new = true,
                Outcome::Conflict => is_new = false,
            }
        }
        Err(self.conflict(spec))
    }

    /// Resolves the name, connects TCP and TLS, and verifies the hub's certificate.
    async fn reach(&self) -> Result<Duration, HubError> {
        let RestLink { hub, port, tls, .. } = self.client.link();
        let began = Instant::now();
        let connected = dial(hub.as_str(), *port, Arc::clone(tls), REACH_LIMIT).await;
        connected.map(|_| began.elapsed()).map_err(|error| self.client.unavailable(error))
    }

    async fn device_count(&self) -> Result<Option<u64>, HubError> {
        let request = Request::new(Method::GET, "/statistics/devices");
        let Answer::Done(body) = self.client.send(request, Answer::of).await? else {
            return Err(self.invalid("registry's statistics"));
        };
        let count =
            serde_json::from_slice(&body).ok().and_then(|it: Value| it.get("totalDeviceCount")?.as_u64());
        count.map(Some).ok_or_else(|| self.invalid("number of devices"))
    }

    async fn receive_device(&self, spec: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        self.receive(spec, carried).await
    }

    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        self.find(device).await
    }

    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError> {
        let path = device_path(device);
        let request = Request { etag: Some(&version.0), ..Request::new(Method::DELETE, &path) };
        match self.client.send(request, Answer::of).await? {
            Answer::Done(_) | Answer::Absent => Ok(Removed::Gone),
            Answer::Stale => Ok(Removed::Changed),
            Answer::Exists => Err(self.client.unavailable("its answer to a removal is not valid")),
        }
    }

    async fn lacking(&self) -> Result<Vec<HubRight>, HubError> {
        self.rights_lacking().await
    }

    fn health(&self) -> HubHealth {
        self.client.health()
    }
}

/// How long a measurement may take. A hub that is farther away counts as unreachable.
const REACH_LIMIT: Duration = Duration::from_secs(5);

fn request<'a>(method: Method, path: &'a str, body: &Value) -> Request<'a> {
    Request { body: Bytes::from(body.to_string()), ..Request::new(method, path) }
}

fn device_path(device: &DeviceId) -> String {
    format!("/devices/{}", encode_component(device.as_str()))
}

fn twin_path(device: &DeviceId) -> String {
    format!("/twins/{}", encode_component(device.as_str()))
}
