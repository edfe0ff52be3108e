//! The provisioning service with everything but its sockets: both endpoints over the real store and hubs in memory.

use std::{cell::RefCell, sync::Arc};

use axum::{Router, body::Body};
use device_api::{DeviceApi, Ports, Timing};
use durable::Sealer;
use http::Request;
use model::RegistrationId;
use net::{CancellationToken, Peer, Transport, amqp::AmqpEndpoint, mqtt::MqttEndpoint};
use provisioning::{
    Provisioning,
    ports::{AssignmentRuns, RunnerId, Store, Unknown},
};
use runner::Runner;
use service_api::ServiceApi;
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::{clock::SteppedClock, entropy::SeededEntropy, hub::FakeHubs, sample, webhook::FakeWebhook};
use tokio::runtime::Runtime;
use wire::sas::sign;

use crate::{
    answers::{Answer, ask},
    conversation::{converse, converse_in_frames},
    request,
};

/// The ID scope in the seeds.
pub const SCOPE: &str = "0ne00000001";

/// When the tokens in the seeds end: in the year 2030, long after the world's clock.
pub const EXPIRY: u64 = 1_900_000_000;

/// The group whose derived keys let any device in.
const GROUP: &str = r#"{"enrollmentGroupId":"group","attestation":{"type":"symmetricKey","symmetricKey":{
    "primaryKey":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","secondaryKey":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="}}}"#;

/// The bytes of the group's keys.
const GROUP_KEY: [u8; 32] = [9; 32];

struct World {
    runtime: Runtime,
    devices: Router,
    amqp: Arc<dyn AmqpEndpoint>,
    mqtt: Arc<dyn MqttEndpoint>,
    operators: Router,
    inputs: u32,
    _directory: TempDir,
}

/// Inputs that share a world. A new one costs some milliseconds; an old one is full of what inputs put there, and a
/// failure in it is harder to repeat.
const INPUTS: u32 = 500;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// A request to the device endpoint. Without a token of its own it gets the right one for the device in its path.
pub fn run_device_https(input: &[u8]) {
    let Some(mut request) = request::parse(input) else { return };
    let mut parts = request.uri().path().split('/').skip(1);
    if let (Some(scope), Some(_), Some(id)) = (parts.next(), parts.next(), parts.next()) {
        let token = device_token(scope, id);
        request::add(&mut request, "authorization", token);
    }
    request.extensions_mut().insert(Peer::new(([127, 0, 0, 1], 1).into(), Arc::default()));
    with_world(|world| {
        let answer = world.runtime.block_on(ask(&world.devices, request));
        answer.assert_error_body();
        if answer.body["status"] == "assigned" && answer.body["operationId"].is_string() {
            assert!(answer.body["registrationState"]["assignedHub"].is_string(), "{answer:?}");
        }
    });
}

/// What a device sends over MQTT.
pub fn run_device_mqtt(input: &[u8]) {
    with_world(|world| {
        let endpoint = Arc::clone(&world.mqtt);
        world.runtime.block_on(converse(endpoint, input, async |_| ()));
    });
}

/// What a device sends over AMQP.
pub fn run_device_amqp(input: &[u8]) {
    with_world(|world| {
        let endpoint = Arc::clone(&world.amqp);
        world.runtime.block_on(converse_in_frames(endpoint, input, async |_| ()));
    });
}

/// A request to the service endpoint, by the owner unless it says otherwise. What is written can be read.
pub fn run_service_https(input: &[u8]) {
    let Some(request) = request::parse(input) else { return };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    with_world(|world| {
        let answer = world.ask(request);
        answer.assert_error_body();
        if answer.status.is_success() && method == http::Method::PUT {
            let mut again = Request::new(Body::empty());
            *again.uri_mut() = uri;
            let read = world.ask(again);
            assert_eq!((read.status.as_u16(), &read.body["etag"]), (200, &answer.body["etag"]), "{answer:?}");
        }
    });
}

/// The token of a device of the group.
pub fn device_token(scope: &str, id: &str) -> String {
    let key = model::SymmetricKey::from_bytes(&GROUP_KEY).expect("the group's key");
    // A device derives its key from its registration ID in lower case.
    let id = RegistrationId::parse(id).map_or(id.to_owned(), |id| id.to_string());
    sign(&format!("{scope}/registrations/{id}"), key.derive(&id).as_bytes(), EXPIRY, Some("registration"))
}

fn with_world(run: impl FnOnce(&World)) {
    WORLD.with_borrow_mut(|world| {
        if world.as_ref().is_none_or(|world| world.inputs >= INPUTS) {
            // Only one at a time: the old one's files go first.
            *world = None;
            *world = Some(World::new());
        }
        if let Some(world) = world {
            world.inputs += 1;
            run(world);
        }
    });
}

impl World {
    fn new() -> World {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let store = EmbeddedStore::open(&directory.path().join("store.db"), Sealer::from_key([7; 32]))
            .expect("a store");
        let store: Arc<dyn Store> = Arc::new(store);
        let instance = sample::instance(SCOPE);
        let hubs = FakeHubs::new(instance.linked_hubs.iter().map(|hub| hub.name.clone()));
        runtime.block_on(store.put_instance(instance, sample::by())).expect("an instance");
        let (clock, entropy) = (Arc::new(SteppedClock::default()), Arc::new(SeededEntropy::new(1)));
        let leases = store.clone();
        let verbs = Arc::new(Provisioning::new(provisioning::Ports {
            store,
            hubs: Arc::new(hubs),
            webhook: Arc::new(FakeWebhook::default()),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: entropy.clone(),
        }));
        let id = RunnerId::random(&*entropy);
        let runner = Runner::new(Arc::clone(&verbs), leases, id);
        let runs: Arc<dyn AssignmentRuns> = Arc::new(runner.assignments().clone());
        runtime.block_on(runner.start()).expect("an empty store");
        runtime.spawn(async move { runner.keep_leases(CancellationToken::new()).await });
        let ports = Ports { clock: clock.clone(), entropy: entropy.clone() };
        let timing = Timing { java_delay: std::time::Duration::ZERO, ..Timing::default() };
        let devices = DeviceApi::new(Arc::clone(&verbs), Arc::clone(&runs), ports, timing);
        let world = World {
            devices: devices.router(),
            amqp: devices.amqp(Transport::Amqp),
            mqtt: devices.mqtt(Transport::Mqtt),
            operators: service_api::router(ServiceApi::new(verbs, runs, clock, entropy)),
            runtime,
            inputs: 0,
            _directory: directory,
        };
        let put = format!("PUT /enrollmentGroups/group?api-version=2021-10-01\n\n{GROUP}");
        let answer = world.ask(request::parse(put.as_bytes()).expect("a request"));
        assert!(answer.status.is_success(), "{answer:?}");
        world
    }

    /// Asks the service endpoint, in the owner's name unless the request says otherwise.
    fn ask(&self, mut request: Request<Body>) -> Answer {
        let host = format!("{SCOPE}.example");
        request::add(&mut request, "host", &host);
        let owner = sample::key(1);
        request::add(
            &mut request,
            "authorization",
            sign(&host, owner.as_bytes(), EXPIRY, Some("provisioningserviceowner")),
        );
        self.runtime.block_on(ask(&self.operators, request))
    }
}
