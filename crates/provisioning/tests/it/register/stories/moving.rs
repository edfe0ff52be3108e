//! Moves while hubs are down, unlinked or full, while operators cancel, and while devices return.

use model::{CleanupCause, DeviceId, FailureReason, Status, Substatus};
use provisioning::{
    ports::HubError,
    register::{CleanupOutcome, RunOutcome},
};
use testkit::{hub::Failure, sample};

use super::{Policy, about_to_move, reported, wanting};
use crate::register::world::{HUBS, SCOPE, World, assigned, keys, with_keys};

fn down() -> Failure {
    Failure::Before(HubError::Unavailable("down".into()))
}

fn lost_answer() -> Failure {
    Failure::After(HubError::Unavailable("lost".into()))
}

/// The data are waited for as long as the old hub is down; then the device moves once.
#[tokio::test]
async fn a_move_waits_for_the_data_of_an_old_hub_that_is_down() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let mut run = world.run(&device).await;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        world.hub(HUBS[0]).fail_next(down());
        let RunOutcome::Retry(retry) = world.provisioning.execute(&run).await else { panic!("it ended") };
        pauses.push(retry.backoff.as_secs());
        run = retry.run;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])], "it has not left");
    assert_eq!(assigned(&world.finish(&run).await).substatus, Substatus::DeviceDataMigrated);
    assert_eq!(world.at(HUBS[1], "dev-1").reported, reported());
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

/// A reset needs no data, but waits to know whether the device is disabled at the old hub. That is down again when the device has
/// arrived, and cleaned up later.
#[tokio::test]
async fn a_reset_waits_for_an_old_hub_that_may_have_disabled_the_device() {
    let (world, device) = about_to_move(Policy::Reset).await;
    world.hub(HUBS[0]).fail_next(down());
    let run = world.run(&device).await;
    let RunOutcome::Retry(retry) = world.provisioning.execute(&run).await else { panic!("it ended") };
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])], "no other hub is called before");
    assert_eq!(assigned(&world.finish(&retry.run).await).substatus, Substatus::DeviceDataReset);
    world.hub(HUBS[0]).fail_next(down());
    let cleaned = world.clean_up().await;
    assert!(
        matches!(&cleaned[..], [CleanupOutcome::Retry(_, reason)] if reason.contains("down")),
        "{cleaned:?}"
    );
    let [waiting] = &world.cleanups().await[..] else { panic!("not one") };
    assert_eq!((waiting.cause, waiting.tries.count()), (CleanupCause::Moved, 1));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);
}

#[tokio::test]
async fn a_removal_whose_answer_is_lost_is_repeated() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.register(&device).await;
    world.hub(HUBS[0]).fail_next(Failure::After(HubError::Unavailable("lost".into())));
    assert!(matches!(world.clean_up().await[..], [CleanupOutcome::Retry(..)]));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
    assert_eq!(world.cleanups().await, []);
}

/// The new hub applies the spec and its answer is lost, several times. The data are sent each time.
#[tokio::test]
async fn a_move_whose_answers_are_lost_is_repeated_with_its_data() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = world.run(&device).await;
    for _ in 0..3 {
        world.hub(HUBS[1]).fail_next(lost_answer());
        assert!(matches!(world.provisioning.execute(&run).await, RunOutcome::Retry(_)));
    }
    let moved = world.finish(&run).await;
    assert_eq!(world.at(HUBS[1], "dev-1").reported, reported());
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [assigned(&moved).hub]);
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

/// The device returns to the first hub before the cleanup there: the cleanup is dropped, also one in flight.
#[tokio::test]
async fn a_device_that_returns_before_the_cleanup_stays() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.register(&device).await;
    let [stale] = &world.cleanups().await[..] else { panic!("not one") };
    let id = DeviceId::parse("dev-1").unwrap();
    let hub = world.hub(HUBS[0]);
    let connector: &dyn provisioning::ports::HubConnector = &*hub;
    let seen = connector.find_device(&id).await.unwrap().unwrap().version;

    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[..1])).await;
    let back = world.register(&device).await;
    assert_eq!(assigned(&back).hub.as_str(), HUBS[0]);
    let late = connector.remove_device(&id, &seen).await;
    assert_eq!(
        late,
        Ok(provisioning::ports::Removed::Changed),
        "a removal that was on its way comes too late"
    );
    let cleaned = world.provisioning.clean_up(&sample::scope(SCOPE), stale, None).await.unwrap();
    assert_eq!(cleaned, CleanupOutcome::Superseded);
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
    assert_eq!(world.at(HUBS[0], "dev-1").reported, reported());
}

/// Keys that change during a move reach the new hub, and the old hub is cleaned up whichever it has.
#[tokio::test]
async fn keys_that_change_during_a_move_reach_the_new_hub() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let first = world.run(&device).await;
    world.hub(HUBS[1]).fail_next(lost_answer());
    assert!(matches!(world.provisioning.execute(&first).await, RunOutcome::Retry(_)));
    let mut rolled = wanting("dev-1", Policy::Migrate, &HUBS[1..2]);
    rolled.attestation = with_keys("dev-1", 40).attestation;
    world.enroll(rolled).await;
    let device = device.with_key(sample::key(40));
    let second = world.run(&device).await;
    assert_ne!(second.registration.operation_id, first.registration.operation_id);
    world.finish(&second).await;
    assert_eq!(world.at(HUBS[1], "dev-1").credentials, keys(40));
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);
}

/// Canceled before or after the new hub was called: the device keeps its hub, and the new hub is cleaned up.
#[tokio::test]
async fn a_canceled_move_leaves_the_device_at_its_hub() {
    for called in [false, true] {
        let (world, device) = about_to_move(Policy::Migrate).await;
        let run = world.run(&device).await;
        if called {
            world.hub(HUBS[1]).fail_next(lost_answer());
            assert!(matches!(world.provisioning.execute(&run).await, RunOutcome::Retry(_)));
        }
        let instance = world.instance(SCOPE).await;
        let id = sample::registration_id("dev-1");
        let cancelled =
            world.provisioning.cancel_registration(&instance, &sample::operator(), &id, None).await.unwrap();
        let Status::Failed { failure, current: Some(at) } = &cancelled.status else {
            panic!("{cancelled:?}")
        };
        assert_eq!((failure.reason, at.hub.as_str()), (FailureReason::Canceled, HUBS[0]));
        let again = world.provisioning.cancel_registration(&instance, &sample::operator(), &id, None).await;
        assert!(again.is_err(), "there is nothing to call off any more");
        match called {
            false => assert_eq!(world.clean_up().await, [CleanupOutcome::Absent]),
            true => assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]),
        }
        assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])], "called: {called}");
        assert_eq!(world.finish(&run).await.record.etag, cancelled.record.etag, "the run has been overtaken");
    }
}

#[tokio::test]
async fn a_canceled_first_assignment_leaves_the_device_at_no_hub() {
    let world = World::new().await;
    world.link(&HUBS[..1]).await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    world.hub(HUBS[0]).fail_next(lost_answer());
    assert!(matches!(world.provisioning.execute(&run).await, RunOutcome::Retry(_)));
    let instance = world.instance(SCOPE).await;
    world
        .provisioning
        .cancel_registration(&instance, &sample::operator(), &sample::registration_id("dev-1"), None)
        .await
        .unwrap();
    assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), []);
    assert_eq!(assigned(&world.register(&device).await).substatus, Substatus::InitialAssignment);
}

/// The move fails, and the device keeps its hub.
#[tokio::test]
async fn a_new_hub_that_refuses_the_device_fails_the_move() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.hub(HUBS[1]).fail_next(Failure::Before(HubError::Refused("quota".into())));
    let failed = world.register(&device).await;
    let Status::Failed { current: Some(at), .. } = &failed.status else { panic!("{failed:?}") };
    assert_eq!(at.hub.as_str(), HUBS[0]);
    world.clean_up().await;
    assert_eq!((world.hubs_of("dev-1"), world.cleanups().await), (vec![sample::hub_name(HUBS[0])], vec![]));
}

/// The data at an unlinked hub are given up. The cleanup there waits until the hub is linked again.
#[tokio::test]
async fn a_device_leaves_its_data_at_an_unlinked_hub() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.link(&HUBS[1..2]).await;
    let moved = world.register(&device).await;
    assert_eq!(assigned(&moved).substatus, Substatus::DeviceDataReset, "nothing could be carried");
    assert_eq!(world.at(HUBS[1], "dev-1").twin, sample::twin());
    assert!(
        matches!(&world.clean_up().await[..], [CleanupOutcome::Retry(_, reason)] if reason.contains("not linked"))
    );
    world.link(&HUBS[..2]).await;
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);
}

/// The new hub is unlinked during the move: the device gets a third one, and the second is cleaned up.
#[tokio::test]
async fn a_new_hub_that_is_unlinked_during_the_move_is_replaced() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = world.run(&device).await;
    world.hub(HUBS[1]).fail_next(lost_answer());
    assert!(matches!(world.provisioning.execute(&run).await, RunOutcome::Retry(_)));
    world.link(&[HUBS[0], HUBS[2]]).await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[2..])).await;
    let moved = world.register(&device).await;
    assert_eq!(assigned(&moved).hub.as_str(), HUBS[2]);
    assert_eq!(world.at(HUBS[2], "dev-1").reported, reported());
    world.link(&HUBS).await;
    assert_eq!(world.hubs_of("dev-1").len(), 3);
    // The first hub named the generation, and the second did not answer.
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed, CleanupOutcome::Held { is_new: true }]);
    assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[2])]);
}

/// Another client has created a device of that ID there meanwhile.
#[tokio::test]
async fn a_device_of_another_client_is_not_removed() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.register(&device).await;
    let id = DeviceId::parse("dev-1").unwrap();
    world.hub(HUBS[0]).change(&id, |device| device.credentials = keys(60));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Foreign]);
    assert_eq!((world.hubs_of("dev-1").len(), world.cleanups().await), (2, vec![]));
}

/// A device keeps its hub if no other can be chosen and its enrollment allows it.
#[tokio::test]
async fn a_device_keeps_its_hub_if_no_hub_takes_new_devices() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(wanting("dev-1", Policy::Migrate, &[])).await;
    let first = world.register(&device).await;
    world
        .change_instance(|instance| {
            instance.linked_hubs.iter_mut().for_each(|hub| hub.takes_new_devices = false);
        })
        .await;
    assert_eq!(assigned(&world.register(&device).await).hub, assigned(&first).hub);
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[2..])).await;
    let failed = world.register(&device).await;
    let Status::Failed { failure, current } = &failed.status else { panic!("{failed:?}") };
    assert_eq!(
        (failure.reason, current.as_ref().map(|at| &at.hub)),
        (FailureReason::NoHub, Some(&assigned(&first).hub))
    );
}
