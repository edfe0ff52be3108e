//! Hubs that take their time, are down, or bring down the task that calls them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use model::{Carried, DeviceId, DeviceSpec, LinkedHub, Status};
use provisioning::ports::{
    AssignmentRuns, Change, Ensured, HubConnector, HubDevice, HubError, HubVersion, Hubs, Removed,
};
use serde_json::json;
use testkit::{
    hub::{Failure, FakeHubs},
    sample,
};

use crate::world::{
    AT_ONCE, Device, HUB, IN_TIME, INSTANCE_ROOM, OTHER_SCOPE, ROOM, SCOPE, World, individual, with_keys,
};

#[tokio::test]
async fn a_device_is_told_to_ask_again_and_then_the_result() {
    let world = World::new(AT_ONCE).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let held = world.hub().hold().await;
    let reply = http.register(&device).await;
    let operation_id = reply.operation_id();
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (202, Some("3")));
    assert_eq!(reply.text, format!(r#"{{"operationId":"{operation_id}","status":"assigning"}}"#));
    for _ in 0..2 {
        let polled = http.poll(&device, &operation_id).await;
        assert_eq!((polled.status.as_u16(), polled.header("retry-after")), (202, Some("3")));
        let expected = format!(
            r#"{{"operationId":"{operation_id}","status":"assigning","registrationState":{{"registrationId":"reg-1","status":"assigning"}}}}"#
        );
        assert_eq!(polled.text, expected);
    }
    let again = http.register(&device).await;
    assert_eq!(again.operation_id(), operation_id, "the same operation");
    drop(held);
    http.poll_to_the_end(&device, &operation_id).await.assigned();
    assert_eq!((world.hub().calls().len(), world.counted().await), (1, 1));
}

/// A hub that hangs holds nobody up: neither those that wait for it nor those that do not.
#[tokio::test]
async fn a_hub_that_hangs_holds_nobody_up() {
    let world = World::new(AT_ONCE).await;
    let _held = world.hub().hold().await;
    let mut devices = Vec::new();
    for number in 0..20 {
        devices.push(world.device(&format!("reg-{number}")).await);
    }
    let began = Instant::now();
    let register = async |device| world.http(None).await.register(device).await;
    let replies = devices.iter().map(register);
    for reply in join_all(replies).await {
        assert_eq!(reply.header("retry-after"), Some("3"));
    }
    let mut http = world.http(None).await;
    http.register(&devices[0].with_key(sample::key(99))).await.check_error("another key", 401_002);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn requests_of_one_device_are_one_instruction() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let held = world.hub().hold().await;
    let register = async || world.http(None).await.register(&device).await;
    let waiting = join_all((0..8).map(|_| register()));
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(held);
    };
    let (replies, ()) = tokio::join!(waiting, release);
    for reply in &replies {
        assert_eq!(
            (reply.operation_id(), reply.assigned()),
            (replies[0].operation_id(), replies[0].assigned())
        );
    }
    assert_eq!((world.hub().calls().len(), world.counted().await), (1, 1));
}

#[tokio::test]
async fn a_hub_that_was_down_is_asked_again() {
    let world = World::new(AT_ONCE).await;
    let device = world.device("reg-1").await;
    world.hub().fail_next(Failure::Before(HubError::Unavailable("down".into())));
    let mut http = world.http(None).await;
    let reply = http.register(&device).await;
    assert_eq!(reply.header("retry-after"), Some("3"));
    http.poll_to_the_end(&device, &reply.operation_id()).await.assigned();
    assert_eq!((world.hub().calls().len(), world.counted().await), (2, 1));
}

/// Nobody is told that a confirmation is under way before that is on disk, so that its end is counted whatever happens.
#[tokio::test]
async fn a_confirmation_that_takes_long_is_written_down() {
    let world = World::new(AT_ONCE).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let first = http.register(&device).await;
    http.poll_to_the_end(&device, &first.operation_id()).await.assigned();
    let held = world.hub().hold().await;
    let reply = http.register(&device).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["status"]), (202, &json!("assigning")));
    let record = world.record("reg-1").await.unwrap();
    assert_eq!(record.status.kind(), model::StatusKind::Assigning);
    assert_eq!(world.counted().await, 1);
    drop(held);
    http.poll_to_the_end(&device, &reply.operation_id()).await.assigned();
    assert_eq!(world.counted().await, 2);
}

/// Nor is who asks with an earlier operation ID while another request waits.
#[tokio::test]
async fn a_confirmation_that_is_polled_is_written_down() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let operation_id = world.http(None).await.register(&device).await.operation_id();
    let held = world.hub().hold().await;
    let registering = async { world.http(None).await.register(&device).await };
    let polling = async {
        let mut http = world.http(None).await;
        // Its own request may be a moment behind.
        let polled = loop {
            let polled = http.poll(&device, &operation_id).await;
            if polled.json()["status"] == "assigning" {
                break polled;
            }
        };
        let record = world.record("reg-1").await.unwrap();
        assert_eq!((polled.status.as_u16(), record.status.kind()), (202, model::StatusKind::Assigning));
        drop(held);
    };
    let (registered, ()) = tokio::join!(registering, polling);
    registered.assigned();
    assert_eq!(world.counted().await, 2);
}

/// With each new key the device gets a new order. One may run and one may wait; a third is asked to come back.
#[tokio::test]
async fn orders_of_one_device_do_not_pile_up() {
    let world = World::new(AT_ONCE).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let held = world.hub().hold().await;
    let mut operation_ids = Vec::new();
    for number in [10, 40] {
        world.enroll(with_keys("reg-1", number)).await;
        operation_ids.push(http.register(&device.with_key(sample::key(number))).await.operation_id());
    }
    assert_ne!(operation_ids[0], operation_ids[1]);
    world.enroll(with_keys("reg-1", 50)).await;
    let device = device.with_key(sample::key(50));
    let third = http.register(&device).await;
    assert_eq!((third.status.as_u16(), third.header("retry-after")), (202, Some("3")), "it waits on disk");
    assert_eq!(third.json()["status"], "assigning");
    drop(held);
    let ended = http.poll_to_the_end(&device, &operation_ids[0]).await;
    assert_eq!(ended.assigned()["assignedHub"], HUB);
    let at_hub = world.hub().devices().into_values().next().unwrap();
    assert_eq!(at_hub.credentials, model::HubCredentials::SymmetricKeys(sample::keys(50)));
    assert_eq!(world.counted().await, 1, "one device was assigned, once");
}

/// A run that was cut off by a crash is on disk; the first who asks gets it going.
#[tokio::test]
async fn a_poll_takes_up_a_run_that_nobody_is_at() {
    let world = World::new(AT_ONCE).await;
    let device = world.device("reg-1").await;
    let operation_id = begin(&world).await;
    let mut http = world.http(None).await;
    http.poll_to_the_end(&device, &operation_id).await.assigned();
    assert_eq!(world.counted().await, 1);
}

#[tokio::test]
async fn unfinished_runs_are_resumed() {
    let world = World::new(AT_ONCE).await;
    let device = world.device("reg-1").await;
    let operation_id = begin(&world).await;
    assert_eq!(world.runs.resume_all().await.unwrap(), 1);
    let mut http = world.http(None).await;
    http.poll_to_the_end(&device, &operation_id).await.assigned();
    assert_eq!((world.hub().calls().len(), world.counted().await), (1, 1));
    assert_eq!(world.runs.resume_all().await.unwrap(), 0);
}

/// The device does not poll, so that only the reconciler starts its run.
#[tokio::test]
async fn the_reconciler_resumes_a_run_that_is_not_in_progress() {
    let world = World::new(AT_ONCE).await;
    begin(&world).await;
    let shutdown = net::CancellationToken::new();
    let reconciler = world.work(&shutdown);
    while matches!(world.record("reg-1").await.unwrap().status, Status::Assigning { .. }) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    reconciler.await.unwrap();
    assert!(matches!(world.record("reg-1").await.unwrap().status, Status::Assigned(_)));
    assert_eq!((world.hub().calls().len(), world.counted().await), (1, 1));
}

/// The back-off of a run that an operator canceled is not waited for, so that its slot is free.
#[tokio::test]
async fn a_run_that_is_woken_finds_that_it_was_canceled() {
    let world = World::new(AT_ONCE).await;
    begin(&world).await;
    // The second back-off takes two seconds.
    (0..2).for_each(|_| world.hub().fail_next(Failure::Before(HubError::Unavailable("down".into()))));
    world.runs.resume_all().await.unwrap();
    while world.hub().calls().len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let instance = world.provisioning.instance(&sample::scope(SCOPE)).await.unwrap().unwrap();
    let id = sample::registration_id("reg-1");
    let begun = Instant::now();
    world.provisioning.cancel_registration(&instance, &sample::operator(), &id, None).await.unwrap();
    world.runs.wake(&instance.id_scope, &id);
    while world.runs.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(matches!(world.record("reg-1").await.unwrap().status, Status::Failed { .. }));
}

/// As if the service had ended between the intent and the hub.
async fn begin(world: &World) -> String {
    let device = world.device("reg-1").await;
    let (scope, id) = (sample::scope(SCOPE), sample::registration_id("reg-1"));
    let stored = world.provisioning.device(&scope, &id).await.unwrap().unwrap();
    let claim = wire::sas::parse(&device.token()).unwrap();
    let evidence = provisioning::attest::Evidence { claim: Some(claim), ..Default::default() };
    let request = provisioning::register::RegisterRequest {
        evidence,
        payload: None,
        address: None,
        default_reprovision: provisioning::register::DefaultReprovision::Migrate,
        runner: None,
    };
    world.provisioning.begin(stored, &request).await.unwrap();
    let record = world.record("reg-1").await.unwrap();
    assert!(matches!(record.status, Status::Assigning { .. }));
    record.operation_id.to_string()
}

/// Panics when it is first called.
struct Treacherous {
    hubs: Arc<FakeHubs>,
    panicked: Arc<AtomicBool>,
}

struct TreacherousHub {
    hub: Arc<dyn HubConnector>,
    panicked: Arc<AtomicBool>,
}

impl Hubs for Treacherous {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        let (hub, panicked) = (self.hubs.connector(hub)?, Arc::clone(&self.panicked));
        Some(Arc::new(TreacherousHub { hub, panicked }))
    }
}

#[async_trait]
impl HubConnector for TreacherousHub {
    async fn ensure_device(&self, order: &DeviceSpec) -> Result<Ensured, HubError> {
        assert!(self.panicked.swap(true, Ordering::SeqCst), "provoked");
        self.hub.ensure_device(order).await
    }

    async fn receive_device(&self, order: &DeviceSpec, carried: &Carried) -> Result<Ensured, HubError> {
        self.hub.receive_device(order, carried).await
    }

    async fn find_device(&self, device: &DeviceId) -> Result<Option<HubDevice>, HubError> {
        self.hub.find_device(device).await
    }

    async fn remove_device(&self, device: &DeviceId, version: &HubVersion) -> Result<Removed, HubError> {
        self.hub.remove_device(device, version).await
    }
}

#[tokio::test]
async fn a_panic_in_a_connector_costs_no_registration() {
    let hubs = Arc::new(FakeHubs::new([sample::hub_name(HUB)]));
    let treacherous = Treacherous { hubs: Arc::clone(&hubs), panicked: Arc::default() };
    let world = World::over(hubs, Arc::new(treacherous), AT_ONCE).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let reply = http.register(&device).await;
    assert_eq!(
        (reply.json()["status"].as_str(), reply.header("retry-after")),
        (Some("assigning"), Some("3"))
    );
    http.poll_to_the_end(&device, &reply.operation_id()).await.assigned();
    assert_eq!(world.counted().await, 1);
}

/// A registration that an operator deletes while its hub is slow is gone, and so is its operation.
#[tokio::test]
async fn a_registration_deleted_meanwhile_is_gone() {
    let world = World::new(AT_ONCE).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let held = world.hub().hold().await;
    let operation_id = http.register(&device).await.operation_id();
    world
        .write(SCOPE, provisioning::ports::Change::DeleteRegistration(sample::registration_id("reg-1")))
        .await;
    http.poll(&device, &operation_id).await.check_error("deleted", 404_203);
    drop(held);
    // The one who comes next begins anew; the old run does not end the new one.
    let reply = http.register(&device).await;
    assert_ne!(reply.operation_id(), operation_id);
    http.poll_to_the_end(&device, &reply.operation_id()).await.assigned();
    assert_eq!(world.counted().await, 1);
}

/// A hub that is down uses up its own slots and no others; runs without one wait in the store.
#[tokio::test]
async fn a_dead_hub_does_not_take_the_places_of_the_others() {
    const OTHER: &str = "hub-9.example";
    let hubs = Arc::new(FakeHubs::new([HUB, OTHER].map(sample::hub_name)));
    let world = World::over(Arc::clone(&hubs), hubs, AT_ONCE).await;
    let link = |name| LinkedHub {
        name: sample::hub_name(name),
        ..sample::instance(SCOPE).linked_hubs.swap_remove(0)
    };
    world
        .link(SCOPE, [HUB, OTHER].map(|name| LinkedHub { takes_new_devices: true, ..link(name) }).into())
        .await;
    let held = world.hub().hold().await;
    let mut http = world.http(None).await;
    let mut register = async |id: &str, hub: &str| {
        let mut enrollment = individual(id);
        enrollment.settings.hubs = vec![sample::hub_name(hub)];
        world.enroll(enrollment).await;
        let device = Device::new(SCOPE, id, sample::key(10));
        (http.register(&device).await, device)
    };
    for number in 0..ROOM {
        let (reply, _) = register(&format!("dead-{number}"), HUB).await;
        assert_eq!(reply.json()["status"], "assigning");
    }
    let (refused, last) = register("dead-last", HUB).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (202, Some("3")));
    let (reply, device) = register("alive", OTHER).await;
    let mut http = world.http(None).await;
    let ended = http.poll_to_the_end(&device, &reply.operation_id()).await;
    assert_eq!(ended.assigned()["assignedHub"], OTHER);
    drop(held);
    let operation_id = world.record("dead-last").await.unwrap().operation_id.to_string();
    http.poll_to_the_end(&last, &operation_id).await.assigned();
}

/// An instance whose hubs are all down uses up its own slots and no others.
#[tokio::test]
async fn an_instance_does_not_take_the_places_of_the_others() {
    const SECOND: &str = "hub-8.example";
    const HEALTHY: &str = "hub-9.example";
    let hubs = Arc::new(FakeHubs::new([HUB, SECOND, HEALTHY].map(sample::hub_name)));
    let world = World::over(Arc::clone(&hubs), Arc::clone(&hubs) as _, AT_ONCE).await;
    let link = |name| LinkedHub {
        name: sample::hub_name(name),
        takes_new_devices: true,
        ..sample::instance(SCOPE).linked_hubs.swap_remove(0)
    };
    world.link(SCOPE, [HUB, SECOND, HEALTHY].map(link).into()).await;
    world.link(OTHER_SCOPE, vec![link(HEALTHY)]).await;
    let held = [world.hub().hold().await, hubs.hub(&sample::hub_name(SECOND)).unwrap().hold().await];
    let mut http = world.http(None).await;
    let mut register = async |scope: &str, id: &str, hub: &str| {
        let mut enrollment = individual(id);
        enrollment.settings.hubs = vec![sample::hub_name(hub)];
        world.write(scope, Change::PutIndividual(Box::new(enrollment))).await;
        let device = Device::new(scope, id, sample::key(10));
        (http.register(&device).await.operation_id(), device)
    };
    for number in 0..INSTANCE_ROOM {
        let hub = if number < ROOM { HUB } else { SECOND };
        register(SCOPE, &format!("held-{number}"), hub).await;
    }
    let (waits, last) = register(SCOPE, "waits", HEALTHY).await;
    let (operation_id, other) = register(OTHER_SCOPE, "other", HEALTHY).await;
    let mut http = world.http(None).await;
    http.poll_to_the_end(&other, &operation_id).await.assigned();
    assert_eq!(http.poll(&last, &waits).await.json()["status"], "assigning");
    drop(held);
    http.poll_to_the_end(&last, &waits).await.assigned();
}
