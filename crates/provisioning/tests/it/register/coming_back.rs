//! Devices that return.

use std::time::Duration;

use model::{
    DeviceId, EnrollmentRef, FailureReason, HubCredentials, IndividualEnrollment, ProvisioningStatus, Status,
    Substatus, TwinSpec,
};
use provisioning::ports::PageRequest;
use testkit::{hub::Call, sample};

use super::world::{HUBS, SCOPE, World, assigned, disable, group, individual, keys, with_keys};

#[tokio::test]
async fn if_nothing_changed_only_the_count_is_written() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    world.clock.advance(Duration::from_secs(3600 - 1));
    for count in 1..=3 {
        assert_eq!(world.register(&device).await, first);
        assert_eq!(world.counted(SCOPE).await, (1, count));
    }
    world.check_at_hub(&first, &keys(10), 1);
    let calls = world.hub(assigned(&first).hub.as_str()).calls();
    let Some(Call::Ensure(last)) = calls.last() else { panic!("{calls:?}") };
    let keep = TwinSpec::Keep { initial: sample::twin() };
    assert_eq!((calls.len(), &last.twin), (4, &keep), "the hub is asked each time");
}

#[tokio::test]
async fn a_device_that_its_hub_lost_is_created_again_with_its_initial_twin() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    let assignment = assigned(&first);
    let hub = world.hub(assignment.hub.as_str());
    hub.lose(&assignment.device_id);
    let again = world.register(&device).await;
    assert_ne!(assigned(&again).generation, assignment.generation, "it is another device");
    assert_eq!(assigned(&again).hub_device(), assignment.hub_device());
    world.check_at_hub(&again, &keys(10), 1);
    hub.lose(&assignment.device_id);
    world.enroll(with_keys("dev-1", 40)).await;
    let second = world.register(&device.with_key(sample::key(40))).await;
    world.check_at_hub(&second, &keys(40), 1);
}

#[tokio::test]
async fn other_credentials_go_to_the_same_hub() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    world.enroll(with_keys("dev-1", 40)).await;
    let second = world.register(&device.with_key(sample::key(41))).await;
    assert_eq!(assigned(&second).hub, assigned(&first).hub);
    assert_ne!(second.record.etag, first.record.etag);
    assert_ne!(second.operation_id, first.operation_id);
    assert_eq!(second.record.created, first.record.created);
    world.check_at_hub(&second, &keys(40), 1);
    assert_eq!(world.counted(SCOPE).await, (1, 1));
    assert_eq!(world.register(&device.with_key(sample::key(41))).await, second, "settled again");
}

#[tokio::test]
async fn other_capabilities_go_to_the_same_hub() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = assigned(&world.register(&device).await);
    let mut enrollment = individual("dev-1");
    enrollment.settings.iot_edge = Some(true);
    world.enroll(enrollment).await;
    let second = world.register(&device).await;
    assert_eq!(assigned(&second).hub, first.hub);
    world.check_at_hub(&second, &keys(10), 1);
    assert!(world.hub(first.hub.as_str()).device(&first.device_id).unwrap().iot_edge);
}

#[tokio::test]
async fn weights_and_new_hubs_move_no_device() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    let stays = assigned(&first).hub;
    world
        .change_instance(|instance| {
            instance.linked_hubs.push(super::world::linked(HUBS[2]));
            for hub in &mut instance.linked_hubs {
                hub.weight = model::AllocationWeight::new(if hub.name == stays { 1 } else { 1000 }).unwrap();
                hub.takes_new_devices = hub.name != stays;
            }
        })
        .await;
    assert_eq!(world.register(&device).await, first);
}

#[tokio::test]
async fn a_device_that_is_disabled_and_enabled_again_keeps_its_hub() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    let mut enrollment = individual("dev-1");
    disable(&mut enrollment.settings);
    world.enroll(enrollment.clone()).await;
    let returned = world.register(&device).await;
    assert_eq!(returned.status, Status::Disabled { current: Some(assigned(&first)) });
    assert_eq!(world.counted(SCOPE).await, (1, 0));
    world.check_at_hub(&first, &keys(10), 1);

    enrollment.settings.provisioning_status = ProvisioningStatus::Enabled;
    world.enroll(enrollment).await;
    let again = world.register(&device).await;
    assert_eq!(assigned(&again), assigned(&first));
    world.check_at_hub(&again, &keys(10), 1);
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

#[tokio::test]
async fn a_disabled_registration_follows_the_enrollment() {
    let world = World::new().await;
    let mut group = group("fleet");
    disable(&mut group.settings);
    world.enroll_group(group).await;
    let by_group = world.device("unused").await.called("dev-1").with_key(sample::key(20).derive("dev-1"));
    let returned = world.register(&by_group).await;
    assert_eq!(returned.enrollment, EnrollmentRef::Group(sample::group_id("fleet")));

    let mut enrollment = individual("dev-1");
    disable(&mut enrollment.settings);
    world.enroll(enrollment).await;
    let returned = world.register(&by_group.with_key(sample::key(10))).await;
    assert_eq!(returned.enrollment, EnrollmentRef::Individual);
    assert_eq!(world.record("dev-1").await, Some(returned));
}

#[tokio::test]
async fn another_device_id_is_another_device_at_the_same_hub() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    let wanted = DeviceId::parse("Wanted").unwrap();
    let enrollment = IndividualEnrollment { device_id: Some(wanted.clone()), ..individual("dev-1") };
    world.enroll(enrollment).await;
    let second = world.register(&device).await;
    let (before, after) = (assigned(&first), assigned(&second));
    assert_eq!((&after.hub, &after.device_id), (&before.hub, &wanted));
    assert_eq!(after.substatus, Substatus::InitialAssignment);
    world.check_at_hub(&second, &keys(10), 1);
    world.check_at_hub(&first, &keys(10), 1);
}

/// Registration IDs are compared without case, device IDs with case: the first spelling counts.
#[tokio::test]
async fn another_spelling_of_the_registration_id_is_the_same_device() {
    let world = World::new().await;
    world.enroll_group(group("fleet")).await;
    let upper = world.device("unused").await.called("Dev-A").with_key(sample::key(20).derive("dev-a"));
    let first = world.register(&upper).await;
    let second = world.register(&upper.called("dev-a")).await;
    assert_eq!(assigned(&first).device_id.as_str(), "Dev-A");
    assert_eq!(second, first);
    world.enroll_group(model::EnrollmentGroup { settings: edge(), ..group("fleet") }).await;
    let third = world.register(&upper.called("DEV-A")).await;
    assert_eq!((assigned(&third).device_id.as_str(), third.registration_id.as_str()), ("Dev-A", "Dev-A"));

    let mixed = world.device("Dev-B").await;
    let registration = world.register(&mixed.called("dev-b")).await;
    assert_eq!(assigned(&registration).device_id.as_str(), "Dev-B", "as it was enrolled");
}

fn edge() -> model::EnrollmentSettings {
    model::EnrollmentSettings { iot_edge: Some(true), ..group("fleet").settings }
}

#[tokio::test]
async fn a_device_leaves_an_unlinked_hub_for_a_linked_one() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.link(&HUBS[..1]).await;
    assert_eq!(assigned(&world.register(&device).await).hub.as_str(), HUBS[0]);
    world.link(&HUBS[1..2]).await;
    let second = world.register(&device).await;
    let after = assigned(&second);
    assert_eq!((after.hub.as_str(), after.substatus), (HUBS[1], Substatus::DeviceDataReset));
    let moved = world.hub(HUBS[1]).device(&after.device_id).unwrap();
    assert_eq!((moved.credentials, moved.twin, moved.seeds), (keys(10), sample::twin(), 1));
    assert_eq!(world.counted(SCOPE).await, (1, 1));

    world.link(&[]).await;
    let third = world.register(&device).await;
    let Status::Failed { failure, current } = &third.status else { panic!("{:?}", third.status) };
    assert_eq!((failure.reason, current), (FailureReason::NoHub, &Some(assigned(&second))));
    world.link(&HUBS[1..2]).await;
    assert_eq!(assigned(&world.register(&device).await).hub, after.hub, "it never left");
}

#[tokio::test]
async fn another_enrollment_may_let_the_device_in_later() {
    let world = World::new().await;
    world.enroll_group(group("fleet")).await;
    let derived = sample::key(20).derive("dev-1");
    let by_group = world.device("unused").await.called("dev-1").with_key(derived);
    let first = world.register(&by_group).await;
    let listed = async || {
        let page = PageRequest { after: None, limit: 10 };
        let (scope, group) = (sample::scope(SCOPE), sample::group_id("fleet"));
        world.store.registrations_of(&scope, &group, page).await.unwrap().items.len()
    };
    assert_eq!(listed().await, 1);

    let by_itself = world.device("dev-1").await;
    let second = world.register(&by_itself).await;
    assert_eq!(second.enrollment, EnrollmentRef::Individual);
    assert_eq!(assigned(&second).hub, assigned(&first).hub);
    world.check_at_hub(&second, &keys(10), 1);
    assert_eq!(listed().await, 0);

    world.delete_enrollment("dev-1").await;
    assert_eq!(world.record("dev-1").await, None, "its registration goes with it");
    let third = world.register(&by_group).await;
    assert_eq!(third.enrollment, first.enrollment);
    let derived = HubCredentials::SymmetricKeys(sample::keys(20).derive("dev-1"));
    assert_eq!(
        world.hub(assigned(&third).hub.as_str()).device(&assigned(&third).device_id).unwrap().credentials,
        derived
    );
}

#[tokio::test]
async fn after_its_registration_is_deleted_a_device_is_new() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    world.delete_registration("dev-1").await;
    world.clock.advance(Duration::from_secs(9));
    let second = world.register(&device).await;
    assert_eq!(assigned(&second).substatus, Substatus::InitialAssignment);
    assert!(second.record.created > first.record.created);
    assert_eq!(world.counted(SCOPE).await, (2, 0));
}
