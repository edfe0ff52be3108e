//! A factory reset, a device moved between regions, a resold device, a deleted registration, another device ID.

use model::{DeviceId, EnrollmentRef, IndividualEnrollment, Substatus};
use provisioning::ports::Change;
use testkit::sample;

use super::{Policy, about_to_move, at_home, reported, wanting};
use crate::register::world::{HUBS, SCOPE, World, assigned, group, keys};

/// The device keeps its hub, and starts with its initial twin.
#[tokio::test]
async fn a_factory_reset_initializes_the_twin_at_the_same_hub() {
    let (world, device) = at_home(Policy::Reset).await;

    let again = world.register(&device).await;
    assert_eq!(assigned(&again).substatus, Substatus::DeviceDataReset);
    let at_hub = world.at(HUBS[0], "dev-1");
    assert_eq!((at_hub.twin, at_hub.reported), (sample::twin(), Default::default()));
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
    assert_eq!(world.cleanups().await, [], "there is nothing to clean up");
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

/// The enrollment names the hub of another region, and the data move there.
#[tokio::test]
async fn a_device_moves_to_another_region_with_its_data() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let before = world.at(HUBS[0], "dev-1");

    let moved = world.register(&device).await;
    let place = assigned(&moved);
    assert_eq!((place.hub.as_str(), place.substatus), (HUBS[1], Substatus::DeviceDataMigrated));
    let after = world.at(HUBS[1], "dev-1");
    assert_eq!((after.twin, after.reported, after.credentials), (before.twin, reported(), keys(10)));
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);

    let settled = world.register(&device).await;
    assert_eq!(assigned(&settled).substatus, Substatus::ReprovisionedToInitialAssignment);
    assert_eq!(world.register(&device).await, settled, "from then on nothing is written");
    assert_eq!(world.counted(SCOPE).await, (1, 3));
}

/// Another owner enrolls the device, which starts without the data of the first.
#[tokio::test]
async fn a_resold_device_starts_without_the_data_of_its_first_owner() {
    let world = World::new().await;
    world.enroll_group(group("first-owner")).await;
    let derived = sample::key(20).derive("dev-1");
    let first = world.device("unused").await.called("dev-1").with_key(derived);
    world.link(&HUBS[..1]).await;
    assert_eq!(assigned(&world.register(&first).await).hub.as_str(), HUBS[0]);
    world.used(HUBS[0], "dev-1");

    world.link(&HUBS[..2]).await;
    let second = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Reset, &HUBS[1..2])).await;
    let resold = world.register(&second).await;
    assert_eq!(resold.enrollment, EnrollmentRef::Individual);
    let place = assigned(&resold);
    assert_eq!((place.hub.as_str(), place.substatus), (HUBS[1], Substatus::DeviceDataReset));
    let at_hub = world.at(HUBS[1], "dev-1");
    assert_eq!((at_hub.twin, at_hub.reported), (sample::twin(), Default::default()));
    assert_eq!(at_hub.credentials, keys(10), "the first owner's key opens nothing");
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);
    assert!(world.begin_with(SCOPE, "dev-1", first.evidence()).await.is_err(), "the first owner is out");
}

/// The hub keeps the device, as in the hosted service, and the device may register again.
#[tokio::test]
async fn a_deleted_registration_leaves_the_device_at_its_hub() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[..1])).await;
    world.register(&device).await;
    let instance = world.instance(SCOPE).await;
    world
        .provisioning
        .delete_registration(&instance, &sample::operator(), sample::registration_id("dev-1"), None)
        .await
        .unwrap();
    assert_eq!(world.record("dev-1").await, None);
    assert_eq!((world.cleanups().await, world.hubs_of("dev-1")), (vec![], vec![sample::hub_name(HUBS[0])]));

    let anew = world.register(&device).await;
    assert_eq!(assigned(&anew).substatus, Substatus::InitialAssignment);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
    assert_eq!(world.counted(SCOPE).await, (2, 0));
}

#[tokio::test]
async fn a_registration_that_is_deleted_during_its_run_is_cleaned_up() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = world.run(&device).await;
    let instance = world.instance(SCOPE).await;
    world
        .provisioning
        .delete_registration(&instance, &sample::operator(), sample::registration_id("dev-1"), None)
        .await
        .unwrap();
    // The hub is called all the same, because the run was being executed.
    world.provisioning.execute(&run).await;
    assert_eq!(world.hubs_of("dev-1").len(), 2);
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])], "it is where it was");
}

/// The device starts anew under another device ID, and the old one stays at its hub.
#[tokio::test]
async fn another_device_id_is_another_device_at_the_hub() {
    let (world, device) = at_home(Policy::Migrate).await;
    let renamed = IndividualEnrollment {
        device_id: Some(DeviceId::parse("renamed").unwrap()),
        ..wanting("dev-1", Policy::Migrate, &HUBS[1..2])
    };
    world.enroll(renamed).await;
    let registration = world.register(&device).await;
    assert_eq!(assigned(&registration).substatus, Substatus::InitialAssignment);
    assert_eq!(world.at(HUBS[1], "renamed").reported, Default::default());
    assert_eq!((world.cleanups().await, world.hubs_of("dev-1")), (vec![], vec![sample::hub_name(HUBS[0])]));
    assert_eq!(world.hubs_of("renamed"), [sample::hub_name(HUBS[1])]);
}

/// A device that an operator disabled at its hub stays disabled if it moves, with its data or without, gets another device ID, or
/// starts anew at its hub.
#[tokio::test]
async fn a_disabled_device_moves_and_stays_disabled() {
    for (policy, hub, name) in [
        (Policy::Migrate, HUBS[1], "dev-1"),
        (Policy::Reset, HUBS[1], "dev-1"),
        (Policy::Reset, HUBS[0], "dev-1"),
        (Policy::Migrate, HUBS[1], "renamed"),
        (Policy::Reset, HUBS[0], "renamed"),
    ] {
        let world = World::new().await;
        let device = world.device("dev-1").await;
        world.enroll(wanting("dev-1", policy, &HUBS[..1])).await;
        world.register(&device).await;
        world.used(HUBS[0], "dev-1");
        let id = DeviceId::parse("dev-1").unwrap();
        world.hub(HUBS[0]).change(&id, |device| device.disabled = Some("stolen".into()));
        let mut enrollment = wanting("dev-1", policy, &[hub]);
        enrollment.device_id = Some(DeviceId::parse(name).unwrap());
        world.enroll(enrollment).await;
        world.register(&device).await;
        let there = world.at(hub, name);
        assert_eq!(there.disabled.as_deref(), Some("stolen"), "{policy:?} {hub} {name}");
        let is_anew = policy == Policy::Reset || name != "dev-1";
        assert_eq!(there.twin == sample::twin(), is_anew, "{policy:?} {hub} {name}: {there:?}");
        assert_eq!(there.reported == Default::default(), is_anew, "{policy:?} {hub} {name}: {there:?}");
    }
}

/// An operator disables the device at the new hub before that is called again, because its first answer was lost.
#[tokio::test]
async fn a_device_that_is_disabled_while_it_arrives_stays_disabled() {
    for policy in [Policy::Migrate, Policy::Reset] {
        let world = World::new().await;
        let device = world.device("dev-1").await;
        world.enroll(wanting("dev-1", policy, &HUBS[..1])).await;
        world.register(&device).await;
        world.enroll(wanting("dev-1", policy, &HUBS[1..2])).await;
        let run = world.run(&device).await;
        let lost = testkit::hub::Failure::After(provisioning::ports::HubError::Unavailable("lost".into()));
        world.hub(HUBS[1]).fail_next(lost);
        let ended = world.provisioning.execute(&run).await;
        let provisioning::register::RunOutcome::Retry(retry) = ended else { panic!("{ended:?}") };
        let id = DeviceId::parse("dev-1").unwrap();
        world.hub(HUBS[1]).change(&id, |device| device.disabled = Some("stolen".into()));
        world.finish(&retry.run).await;
        assert_eq!(world.at(HUBS[1], "dev-1").disabled.as_deref(), Some("stolen"), "{policy:?}");
    }
}

/// The group is deleted, and its device returns through another enrollment with the default policy.
#[tokio::test]
async fn a_device_whose_group_was_deleted_returns_through_another_enrollment() {
    let world = World::new().await;
    world.enroll_group(group("fleet")).await;
    let derived = sample::key(20).derive("dev-1");
    let by_group = world.device("unused").await.called("dev-1").with_key(derived);
    let first = world.register(&by_group).await;
    world.enroll_in(SCOPE, Change::DeleteGroup(sample::group_id("fleet"))).await;
    let by_itself = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &[])).await;
    let second = world.register(&by_itself).await;
    assert_eq!(assigned(&second).hub, assigned(&first).hub);
    assert_eq!(world.hubs_of("dev-1"), [assigned(&first).hub]);
}
