//! An embedded hub with everything but its sockets, and one device.

use std::{cell::RefCell, time::Duration};

use axum::{Router, body::Body};
use durable::Sealer;
use embedded_hub::{Hub, HubConfig, Policy};
use http::Request;
use model::{HubName, SymmetricKey, Timestamp};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::timeout};
use wire::sas::sign;

use crate::{
    answers::{Answer, ask},
    conversation::{Client, converse, converse_in_frames},
    request,
    service::EXPIRY,
};

/// The hub's name in the seeds.
pub const HOST: &str = "hub.example";

/// The device that is there.
const DEVICE: &str = r#"{"deviceId":"dev-1","authentication":{"type":"sas","symmetricKey":{
    "primaryKey":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","secondaryKey":"CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg="}}}"#;

/// The world's time, before [`EXPIRY`].
const NOW: i64 = 1_800_000_000;

struct World {
    runtime: Runtime,
    hub: Hub,
    router: Router,
    inputs: u32,
    _directory: TempDir,
}

/// Inputs that share a world, as in [`crate::service`].
const INPUTS: u32 = 500;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// A request to the hub's REST, by the owner unless it says otherwise. Only a method call may take its time: it waits for
/// a device that is not there.
pub fn run_https(input: &[u8]) {
    let Some(request) = request::parse(input) else { return };
    let is_call = request.uri().path().ends_with("/methods");
    with_world(|world| {
        let asked = ask(&world.router, signed(request));
        let patience = if is_call { A_MOMENT } else { PATIENCE };
        let answer = world.runtime.block_on(async { timeout(patience, asked).await });
        assert!(answer.is_ok() || is_call, "no answer");
    });
}

/// How long a method call is waited for.
const A_MOMENT: Duration = Duration::from_millis(5);

/// Within this every other request is answered, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a device sends to its hub over MQTT. When it is let in, it hears of a change and gets a message.
pub fn run_mqtt(input: &[u8]) {
    with_world(|world| {
        let operator = async |client: &mut Client| {
            if client.is_welcome() {
                world.change_and_send().await;
                client.listen().await;
            }
        };
        world.runtime.block_on(converse(world.hub.mqtt(), input, operator));
    });
}

/// What devices send to their hub over AMQP. When one is let in, it hears of a change and gets a message.
pub fn run_amqp(input: &[u8]) {
    with_world(|world| {
        let operator = async |client: &mut Client| {
            if world.hub.counts().is_ok_and(|counts| counts.connected > 0) {
                world.change_and_send().await;
                client.listen().await;
            }
        };
        world.runtime.block_on(converse_in_frames(world.hub.amqp(), input, operator));
        let connected = world.hub.counts().expect("counts").connected;
        assert_eq!(connected, 0, "a connection that has ended is let go of");
    });
}

const CHANGE: &str = "PATCH /twins/dev-1?api-version=2021-04-12\n\n{\"properties\":{\"desired\":{\"a\":1}}}";
const MESSAGE: &str = "POST /messages/devicebound?api-version=2021-04-12\niothub-to: /devices/dev-1/messages/devicebound\n\nhello";

/// The password of the device.
pub fn device_token() -> String {
    sign(&format!("{HOST}/devices/dev-1"), &[7; 32], EXPIRY, None)
}

fn signed(mut request: Request<Body>) -> Request<Body> {
    request::add(&mut request, "authorization", sign(HOST, &[1; 32], EXPIRY, Some("iothubowner")));
    request
}

fn with_world(run: impl FnOnce(&World)) {
    WORLD.with_borrow_mut(|world| {
        if world.as_ref().is_none_or(|world| world.inputs >= INPUTS) {
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
        let config = HubConfig {
            host_name: HubName::parse(HOST).expect("a name"),
            aliases: Vec::new(),
            path: directory.path().join("hub.db"),
            policies: vec![Policy::owner(SymmetricKey::from_bytes(&[1; 32]).expect("a key"))],
        };
        let hub = Hub::open(config, Sealer::from_key([7; 32]), || Timestamp::from_unix_seconds(NOW))
            .expect("a hub");
        let world = World { router: hub.router(), hub, runtime, inputs: 0, _directory: directory };
        let put = format!("PUT /devices/dev-1?api-version=2021-04-12\n\n{DEVICE}");
        let answer = world.ask(request::parse(put.as_bytes()).expect("a request"));
        assert!(answer.status.is_success(), "{answer:?}");
        world
    }

    async fn change_and_send(&self) {
        for text in [CHANGE, MESSAGE] {
            ask(&self.router, signed(request::parse(text.as_bytes()).expect("a request"))).await;
        }
    }

    fn ask(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(ask(&self.router, signed(request)))
    }
}
