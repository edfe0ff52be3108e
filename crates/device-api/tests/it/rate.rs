//! Instances with a limit of registrations per minute.

use std::time::{Duration, Instant};

use model::StatusKind;
use net::CancellationToken;
use provisioning::ports::Change;
use testkit::sample;

use crate::{
    http::Reply,
    world::{Device, IN_TIME, OTHER_SCOPE, SCOPE, World, individual, pass},
};

/// Enrolls devices in an instance.
async fn devices(world: &World, scope: &str, count: usize) -> Vec<Device> {
    let mut devices = Vec::new();
    for number in 0..count {
        let id = format!("{}-{number}", scope.to_ascii_lowercase());
        world.write(scope, Change::PutIndividual(Box::new(individual(&id)))).await;
        devices.push(Device::new(scope, &id, sample::key(10)));
    }
    devices
}

async fn register(world: &World, device: &Device) -> Reply {
    world.http(None).await.register(device).await
}

/// That the device is beyond the rate: it is to ask again, and late.
fn check_beyond(reply: &Reply) {
    let told = (reply.status.as_u16(), reply.header("retry-after"));
    assert_eq!((told, &reply.json()["status"]), ((202, Some("60")), &"assigning".into()));
}

async fn assigned(world: &World, devices: &[Device]) -> usize {
    let mut count = 0;
    for device in devices {
        let record = world.record(&device.id).await;
        count += usize::from(record.is_some_and(|it| it.status.kind() == StatusKind::Assigned));
    }
    count
}

/// Waits until this number of devices is assigned, and checks that no more follow.
async fn reach(world: &World, devices: &[Device], expected: usize) {
    let patience = Instant::now() + Duration::from_secs(30);
    while assigned(world, devices).await < expected {
        assert!(Instant::now() < patience, "{expected} are assigned");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(assigned(world, devices).await, expected);
}

#[tokio::test]
async fn there_is_no_limit_unless_one_is_set() {
    let world = World::new(IN_TIME).await;
    for device in devices(&world, SCOPE, 50).await {
        register(&world, &device).await.assigned();
    }
}

#[tokio::test]
async fn the_limit_of_one_instance_slows_no_other() {
    let world = World::new(IN_TIME).await;
    world.limit(SCOPE, 2).await;
    let (limited, others) = (devices(&world, SCOPE, 4).await, devices(&world, OTHER_SCOPE, 20).await);
    for (number, device) in limited.iter().enumerate() {
        let reply = register(&world, device).await;
        if number < 2 {
            reply.assigned();
        } else {
            check_beyond(&reply);
        }
    }
    for device in &others {
        register(&world, device).await.assigned();
    }
    world.limit(OTHER_SCOPE, 1).await;
    register(&world, &others[0]).await.assigned();
    check_beyond(&register(&world, &others[1]).await);
}

/// A device that comes back registers as any other, and its operation is on disk while it waits.
#[tokio::test]
async fn a_device_that_returns_counts_too() {
    let world = World::new(IN_TIME).await;
    world.limit(SCOPE, 1).await;
    let device = devices(&world, SCOPE, 1).await.swap_remove(0);
    register(&world, &device).await.assigned();
    let again = register(&world, &device).await;
    check_beyond(&again);
    assert_eq!(world.record(&device.id).await.unwrap().status.kind(), StatusKind::Assigning);
    check_beyond(&register(&world, &device).await);
    assert_eq!(world.counted().await, 1);
    pass(Duration::from_secs(60)).await;
    world.http(None).await.poll_to_the_end(&device, &again.operation_id()).await.assigned();
    assert_eq!(world.counted().await, 2);
}

/// Devices that do not ask again are assigned all the same, and no faster than the rate allows.
#[tokio::test]
async fn a_device_that_does_not_ask_again_is_assigned_at_the_rate() {
    let world = World::new(IN_TIME).await;
    world.limit(SCOPE, 1).await;
    let devices = devices(&world, SCOPE, 4).await;
    for device in &devices {
        register(&world, device).await;
    }
    assert_eq!(assigned(&world, &devices).await, 1);
    let shutdown = CancellationToken::new();
    let reconciler = world.work(&shutdown);
    for expected in 2..=devices.len() {
        pass(Duration::from_secs(60)).await;
        reach(&world, &devices, expected).await;
        // The reconciler looks again, more than once.
        pass(Duration::from_secs(5)).await;
        reach(&world, &devices, expected).await;
    }
    shutdown.cancel();
    reconciler.await.unwrap();
}

/// After a restart, what waits on disk is taken up at the rate.
#[tokio::test]
async fn what_is_on_disk_at_the_start_is_taken_up_at_the_rate() {
    let world = World::new(IN_TIME).await;
    world.limit(SCOPE, 1).await;
    let devices = devices(&world, SCOPE, 4).await;
    let mut ids = Vec::new();
    for device in &devices {
        ids.push(register(&world, device).await.operation_id());
    }
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.runs.resume_all().await.unwrap(), 3, "three wait");
    reach(&world, &devices, 2).await;
    for (device, id) in devices.iter().zip(&ids).skip(1) {
        pass(Duration::from_secs(60)).await;
        world.http(None).await.poll_to_the_end(device, id).await.assigned();
    }
}
