//! Enrollments that are deleted while their devices are being assigned: nobody arrives any more, and nothing is left at
//! hubs that no record speaks of.

use model::{EnrollmentGroup, IndividualEnrollment, Registration, Status};
use provisioning::{
    ports::HubError,
    register::{Cleaned, Ended, Run},
};
use testkit::{hub::Failure, sample};

use super::{Policy, about_to_move, reported, wanting};
use crate::register::world::{Device, HUBS, SCOPE, World, group};

/// The device is on its way to the second hub, whose first answer was lost.
async fn on_its_way(world: &World, device: &Device) -> Run {
    let run = world.run(device).await;
    world.hub(HUBS[1]).fail_next(Failure::After(HubError::Unavailable("lost".into())));
    match world.provisioning.carry_out(&run).await {
        Ended::Later(later) => later.again,
        other => panic!("{other:?}"),
    }
}

async fn delete(world: &World, id: &str) {
    let (instance, id) = (world.instance(SCOPE).await, sample::registration_id(id));
    world.provisioning.delete_enrollment::<IndividualEnrollment>(&instance, id, None).await.unwrap();
}

fn failure(registration: &Registration) -> u32 {
    match &registration.status {
        Status::Failed { failure, .. } => failure.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_device_does_not_arrive_and_its_hub_is_cleaned_up() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    let run = on_its_way(&world, &device).await;
    assert_eq!(world.hubs_of("dev-1").len(), 1, "the hub did as it was told");
    delete(&world, "dev-1").await;

    let calls = world.calls();
    assert_eq!(failure(&world.finish(&run).await), 404_201);
    assert_eq!(world.calls(), calls, "no hub is told of it again");
    assert_eq!(world.record("dev-1").await.unwrap().assignment(), None);
    assert_eq!(world.clean_up().await, [Cleaned::Removed]);
    assert_eq!((world.hubs_of("dev-1"), world.counted(SCOPE).await), (vec![], (0, 0)));
}

/// Whoever runs the service next finds the run, and that nobody is to arrive.
#[tokio::test]
async fn also_when_the_service_ended_meanwhile() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    on_its_way(&world, &device).await;
    delete(&world, "dev-1").await;
    let world = world.restarted().await;
    let [run] = &world.provisioning.unfinished(10).await.unwrap()[..] else { panic!("not one run") };
    assert_eq!(failure(&world.finish(run).await), 404_201);
    assert_eq!((world.clean_up().await, world.hubs_of("dev-1")), (vec![Cleaned::Removed], vec![]));
}

/// The hub takes its time, and the operator does not wait for it.
#[tokio::test]
async fn while_the_hub_is_being_told() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    let run = world.run(&device).await;
    let held = world.hub(HUBS[1]).hold().await;
    let (ended, ()) = tokio::join!(world.finish(&run), async {
        tokio::task::yield_now().await;
        delete(&world, "dev-1").await;
        drop(held);
    });
    assert_eq!(failure(&ended), 404_201);
    assert_eq!((world.clean_up().await, world.hubs_of("dev-1")), (vec![Cleaned::Removed], vec![]));
}

/// One that lived at a hub lives there still, with its data.
#[tokio::test]
async fn a_device_that_was_moving_stays_where_it_lived() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = on_its_way(&world, &device).await;
    delete(&world, "dev-1").await;

    let ended = world.finish(&run).await;
    assert_eq!((failure(&ended), ended.assignment().unwrap().hub.as_str()), (404_201, HUBS[0]));
    assert_eq!(world.clean_up().await, [Cleaned::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
    assert_eq!(world.at(HUBS[0], "dev-1").reported, reported());
    assert_eq!(world.counted(SCOPE).await, (1, 0));

    // Enrolled again, it goes where it was on its way to.
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    world.register(&device).await;
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);
    assert_eq!(world.at(HUBS[1], "dev-1").reported, reported());
}

#[tokio::test]
async fn a_group_that_is_deleted() {
    let world = World::new().await;
    let mut line = group("line");
    line.settings.hubs = vec![sample::hub_name(HUBS[1])];
    world.enroll_group(line).await;
    let device =
        Device { scope: SCOPE.into(), id: "dev-1".into(), key: sample::keys(20).primary.derive("dev-1") };
    let run = on_its_way(&world, &device).await;
    let (instance, id) = (world.instance(SCOPE).await, sample::group_id("line"));
    world.provisioning.delete_enrollment::<EnrollmentGroup>(&instance, id, None).await.unwrap();
    assert_eq!(failure(&world.finish(&run).await), 404_204);
    assert_eq!((world.clean_up().await, world.hubs_of("dev-1")), (vec![Cleaned::Removed], vec![]));
}
