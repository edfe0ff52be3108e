//! A hub has a device of the ID of one that registers, which the registration did not create.

use model::{DeviceId, DeviceSpec, ExistingDevices, FailureReason, HubCredentials, Status};
use provisioning::{
    ports::{HubConnector, HubError},
    register::RunOutcome,
};
use testkit::{
    hub::{Failure, FakeDevice},
    log::LogEvents,
    sample,
};
use tracing::Level;

use super::{Policy, about_to_move, wanting};
use crate::register::world::{Device, HUBS, World, assigned, keys, with_keys};

const TOOK_OVER: &str = "took over a device that existed at the hub";

fn id() -> DeviceId {
    DeviceId::parse("dev-1").unwrap()
}

async fn world(existing: ExistingDevices) -> (World, Device) {
    let world = World::new().await;
    world.change_instance(|instance| instance.existing_devices = existing).await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[..1])).await;
    (world, device)
}

/// Creates a device at a hub as an operator would, disabled.
async fn made_by_hand(world: &World, hub: &str) -> FakeDevice {
    let credentials = HubCredentials::SymmetricKeys(sample::keys(60));
    let spec = DeviceSpec { hub: sample::hub_name(hub), credentials, ..sample::device_spec("dev-1") };
    world.hub(hub).ensure_device(&spec).await.unwrap();
    world.hub(hub).change(&id(), |device| device.disabled = Some("not yet".to_owned()));
    world.used(hub, "dev-1");
    world.at(hub, "dev-1")
}

async fn took_over(world: &World) -> bool {
    let record = world.record("dev-1").await.unwrap();
    record.decisions.latest().unwrap().outcome.end().is_some_and(|end| end.took_over)
}

#[tokio::test]
async fn a_foreign_device_is_adopted_recorded_and_warned_of_once() {
    let (world, device) = world(ExistingDevices::Adopt).await;
    made_by_hand(&world, HUBS[0]).await;
    let (warnings, _guard) = LogEvents::collect(Level::WARN);
    let registration = world.register(&device).await;
    assert_eq!(world.at(HUBS[0], "dev-1").credentials, keys(10));
    assert!(took_over(&world).await);
    let words = provisioning::register::describe(&registration, None);
    assert!(words[1].contains("It took over a device that existed at the hub"), "{words:?}");
    let warned = warnings.take();
    assert!(warned.len() == 1 && warned[0].contains(TOOK_OVER) && warned[0].contains("dev-1"), "{warned:?}");
    // The device returns, also with other keys.
    world.register(&device).await;
    world.enroll(with_keys("dev-1", 12)).await;
    world.register(&device.with_key(sample::keys(12).primary)).await;
    assert_eq!(warnings.take(), [""; 0]);
}

#[tokio::test]
async fn a_foreign_device_is_left_alone_if_the_instance_says_so() {
    let (world, device) = world(ExistingDevices::Refuse).await;
    let there = made_by_hand(&world, HUBS[0]).await;
    for _ in 0..2 {
        let refused = world.register(&device).await;
        let Status::Failed { failure, current: None } = &refused.status else { panic!("{refused:?}") };
        assert_eq!(failure.reason, FailureReason::DeviceExists);
        assert!(failure.message.contains("hub-1.example has a device dev-1"), "{}", failure.message);
        world.clean_up().await;
        assert_eq!(world.at(HUBS[0], "dev-1"), there);
        assert!(!took_over(&world).await);
    }
    assert_eq!(world.cleanups().await, [], "nothing of it is to be removed");
    world.hub(HUBS[0]).lose(&id());
    assigned(&world.register(&device).await);
    // The device is the registration's now, whatever happens to its keys at the hub.
    world.hub(HUBS[0]).change(&id(), |device| device.credentials = keys(70));
    assigned(&world.register(&device).await);
    assert_eq!(world.at(HUBS[0], "dev-1").credentials, keys(10));
}

#[tokio::test]
async fn a_device_that_would_move_onto_a_foreign_one_keeps_its_hub() {
    for existing in [ExistingDevices::Adopt, ExistingDevices::Refuse] {
        let (world, device) = about_to_move(Policy::Migrate).await;
        world.change_instance(|instance| instance.existing_devices = existing).await;
        let there = made_by_hand(&world, HUBS[1]).await;
        let registration = world.register(&device).await;
        let is_refused = existing == ExistingDevices::Refuse;
        assert_eq!(matches!(registration.status, Status::Failed { .. }), is_refused);
        let lives = registration.assignment().unwrap().hub.clone();
        assert_eq!(lives.as_str(), HUBS[usize::from(!is_refused)]);
        assert_eq!(world.at(HUBS[1], "dev-1") == there, is_refused);
        assert_eq!(took_over(&world).await, !is_refused);
        world.clean_up().await;
        assert_eq!(world.hubs_of("dev-1").contains(&sample::hub_name(HUBS[0])), is_refused);
    }
}

/// The hub applied the spec and its answer was lost; the spec is repeated with the same key or another one.
#[tokio::test]
async fn a_device_of_an_interrupted_run_is_not_foreign() {
    for existing in [ExistingDevices::Adopt, ExistingDevices::Refuse] {
        for changes_key in [false, true] {
            let (world, mut device) = world(existing).await;
            let (warnings, _guard) = LogEvents::collect(Level::WARN);
            world.hub(HUBS[0]).fail_next(Failure::After(HubError::Unavailable("lost".into())));
            let run = world.run(&device).await;
            let RunOutcome::Retry(retry) = world.provisioning.execute(&run).await else { panic!("it ended") };
            assert_eq!(world.at(HUBS[0], "dev-1").credentials, keys(10));
            if changes_key {
                world.enroll(with_keys("dev-1", 12)).await;
                device = device.with_key(sample::keys(12).primary);
                assigned(&world.register(&device).await);
            } else {
                assigned(&world.finish(&retry.run).await);
            }
            assert!(!took_over(&world).await, "{existing:?}");
            assert_eq!(warnings.take(), [""; 0], "{existing:?}, another key: {changes_key}");
        }
    }
}
