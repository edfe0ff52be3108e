//! Enrollments that are deleted, disabled or given other keys while their devices are being assigned: no device arrives
//! through them any more, and nothing is left at hubs that no record speaks of.

use model::{
    EnrollmentGroup, FailureReason, IndividualAttestation, IndividualEnrollment, Registration, Status,
};
use provisioning::{
    ports::HubError,
    register::{AssignmentRun, CleanupOutcome, RunOutcome},
};
use testkit::{hub::Failure, sample};

use super::{Policy, about_to_move, reported, wanting};
use crate::register::world::{self, Device, HUBS, SCOPE, World, group, keys};

/// Begins an assignment to the second hub, whose first answer is lost.
async fn being_assigned(world: &World, device: &Device) -> AssignmentRun {
    let run = world.run(device).await;
    world.hub(HUBS[1]).fail_next(Failure::After(HubError::Unavailable("lost".into())));
    match world.provisioning.execute(&run).await {
        RunOutcome::Retry(retry) => retry.run,
        other => panic!("{other:?}"),
    }
}

fn failure(registration: &Registration) -> FailureReason {
    match &registration.status {
        Status::Failed { failure, .. } => failure.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_device_does_not_arrive_and_its_hub_is_cleaned_up() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    let run = being_assigned(&world, &device).await;
    assert_eq!(world.hubs_of("dev-1").len(), 1, "the hub applied the spec");
    world.delete_enrollment("dev-1").await;

    let calls = world.calls();
    assert_eq!(failure(&world.finish(&run).await), FailureReason::EnrollmentDeleted);
    assert_eq!(world.calls(), calls, "no hub is called again");
    assert_eq!(world.record("dev-1").await.unwrap().assignment(), None);
    assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]);
    assert_eq!((world.hubs_of("dev-1"), world.counted(SCOPE).await), (vec![], (0, 0)));
}

/// After a restart the run is found, and ends without an assignment.
#[tokio::test]
async fn also_when_the_service_ended_meanwhile() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    being_assigned(&world, &device).await;
    world.delete_enrollment("dev-1").await;
    let world = world.restarted().await;
    let [run] = &world.unfinished(10).await[..] else { panic!("not one run") };
    assert_eq!(failure(&world.finish(run).await), FailureReason::EnrollmentDeleted);
    assert_eq!(
        (world.clean_up_confirmed().await, world.hubs_of("dev-1")),
        (vec![CleanupOutcome::Removed], vec![])
    );
}

/// The hub is slow, and the operator does not wait for it.
#[tokio::test]
async fn an_enrollment_that_is_deleted_during_the_call_fails_the_run() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    let run = world.run(&device).await;
    let held = world.hub(HUBS[1]).hold().await;
    let (ended, ()) = tokio::join!(world.finish(&run), async {
        tokio::task::yield_now().await;
        world.delete_enrollment("dev-1").await;
        drop(held);
    });
    assert_eq!(failure(&ended), FailureReason::EnrollmentDeleted);
    assert_eq!((world.clean_up().await, world.hubs_of("dev-1")), (vec![CleanupOutcome::Removed], vec![]));
}

#[tokio::test]
async fn a_device_that_was_moving_keeps_its_hub_and_its_data() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = being_assigned(&world, &device).await;
    world.delete_enrollment("dev-1").await;

    let ended = world.finish(&run).await;
    assert_eq!(
        (failure(&ended), ended.assignment().unwrap().hub.as_str()),
        (FailureReason::EnrollmentDeleted, HUBS[0])
    );
    assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
    assert_eq!(world.at(HUBS[0], "dev-1").reported, reported());
    assert_eq!(world.counted(SCOPE).await, (1, 0));

    // Enrolled again, it moves to the second hub.
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    world.register(&device).await;
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);
    assert_eq!(world.at(HUBS[1], "dev-1").reported, reported());
}

#[tokio::test]
async fn a_group_that_is_deleted_fails_the_runs_of_its_devices() {
    let world = World::new().await;
    let mut line = group("line");
    line.settings.hubs = vec![sample::hub_name(HUBS[1])];
    world.enroll_group(line).await;
    let device =
        Device { scope: SCOPE.into(), id: "dev-1".into(), key: sample::keys(20).primary.derive("dev-1") };
    let run = being_assigned(&world, &device).await;
    let (instance, id) = (world.instance(SCOPE).await, sample::group_id("line"));
    world
        .provisioning
        .delete_enrollment::<EnrollmentGroup>(&instance, &sample::operator(), id, None)
        .await
        .unwrap();
    assert_eq!(failure(&world.finish(&run).await), FailureReason::GroupDeleted);
    assert_eq!(
        (world.clean_up_confirmed().await, world.hubs_of("dev-1")),
        (vec![CleanupOutcome::Removed], vec![])
    );
}

/// Executes a run at a slow hub while the operator changes the enrollment.
async fn changed_meanwhile(change: impl AsyncFnOnce(&World)) -> (World, Device, Registration) {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    let run = world.run(&device).await;
    let held = world.hub(HUBS[1]).hold().await;
    let (ended, ()) = tokio::join!(world.finish(&run), async {
        tokio::task::yield_now().await;
        change(&world).await;
        drop(held);
    });
    (world, device, ended)
}

#[tokio::test]
async fn a_key_that_is_rotated_during_the_call_fails_the_run() {
    let rotate = async |world: &World| {
        let rotated = IndividualAttestation::SymmetricKey(sample::keys(11));
        let enrollment = wanting("dev-1", Policy::Migrate, &HUBS[1..2]);
        let record = sample::record("changed");
        world.enroll(IndividualEnrollment { attestation: rotated, record, ..enrollment }).await;
    };
    let (world, device, ended) = changed_meanwhile(rotate).await;
    assert_eq!(failure(&ended), FailureReason::AttestationChanged);
    assert_eq!((world.clean_up().await, world.hubs_of("dev-1")), (vec![CleanupOutcome::Removed], vec![]));
    assert_eq!(world.counted(SCOPE).await, (0, 0));
    let registration = world.register(&device.with_key(sample::keys(11).primary)).await;
    world.check_at_hub(&registration, &keys(11), 1);
}

#[tokio::test]
async fn an_enrollment_that_is_disabled_during_the_call_disables_the_registration() {
    let disable = async |world: &World| {
        let mut enrollment = wanting("dev-1", Policy::Migrate, &HUBS[1..2]);
        world::disable(&mut enrollment.settings);
        enrollment.record = sample::record("changed");
        world.enroll(enrollment).await;
    };
    let (world, _, ended) = changed_meanwhile(disable).await;
    assert_eq!(ended.status, Status::Disabled { current: None });
    assert_eq!((world.clean_up().await, world.hubs_of("dev-1")), (vec![CleanupOutcome::Removed], vec![]));
    assert_eq!(world.counted(SCOPE).await, (0, 0));
}

/// A change that does not concern the proof does not affect a run.
#[tokio::test]
async fn an_enrollment_whose_settings_change_during_the_call_ends_assigned() {
    let change = async |world: &World| {
        let mut enrollment = wanting("dev-1", Policy::Reset, &HUBS[..1]);
        enrollment.record = sample::record("changed");
        world.enroll(enrollment).await;
    };
    let (world, _, ended) = changed_meanwhile(change).await;
    assert_eq!(ended.assignment().unwrap().hub.as_str(), HUBS[1]);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

/// A returning device that would only be confirmed is not assigned either.
#[tokio::test]
async fn a_confirmation_fails_if_its_enrollment_is_deleted() {
    for (deletes_group, reason) in [(true, Some(FailureReason::GroupDeleted)), (false, None)] {
        let world = World::new().await;
        world.enroll_group(group("line")).await;
        let mut device = world.device("dev-1").await;
        if deletes_group {
            let (id, key) = ("dev-2".into(), sample::keys(20).primary.derive("dev-2"));
            device = Device { scope: SCOPE.into(), id, key };
        }
        let hub = world.register(&device).await.assignment().unwrap().hub.clone();
        let run = world.run(&device).await;
        assert!(!run.is_persisted());
        let held = world.hub(hub.as_str()).hold().await;
        let (ended, ()) = tokio::join!(world.provisioning.execute(&run), async {
            tokio::task::yield_now().await;
            let instance = world.instance(SCOPE).await;
            match deletes_group {
                true => {
                    let id = sample::group_id("line");
                    world
                        .provisioning
                        .delete_enrollment::<EnrollmentGroup>(&instance, &sample::operator(), id, None)
                        .await
                        .unwrap();
                }
                false => world.delete_enrollment("dev-1").await,
            }
            drop(held);
        });
        match (ended, reason) {
            (RunOutcome::Registration(ended), Some(reason)) => assert_eq!(failure(&ended), reason),
            // The registration was deleted with the enrollment.
            (RunOutcome::Deleted, None) => {}
            (ended, _) => panic!("{ended:?}"),
        }
        assert_eq!(world.counted(SCOPE).await, (1, 0));
    }
}
