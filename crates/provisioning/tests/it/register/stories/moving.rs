//! Moves that meet hubs that are down, unlinked or full, operators that change their mind, and devices that come back.

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

/// However long the old hub is down, the data are waited for; then the device moves, once.
#[tokio::test]
async fn the_old_hub_is_down_and_its_data_are_waited_for() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let mut run = world.run(&device).await;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        world.hub(HUBS[0]).fail_next(down());
        let RunOutcome::Retry(later) = world.provisioning.execute(&run).await else { panic!("it ended") };
        pauses.push(later.backoff.as_secs());
        run = later.run;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])], "it has not left");
    assert_eq!(assigned(&world.finish(&run).await).substatus, Substatus::DeviceDataMigrated);
    assert_eq!(world.at(HUBS[1], "dev-1").reported, reported());
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

/// A reset takes no data along, but it is waited for whether the device is disabled at the old hub. That is down again when
/// the device has arrived, and cleaned up when it is back.
#[tokio::test]
async fn the_old_hub_is_down_and_may_have_disabled_the_device() {
    let (world, device) = about_to_move(Policy::Reset).await;
    world.hub(HUBS[0]).fail_next(down());
    let run = world.run(&device).await;
    let RunOutcome::Retry(later) = world.provisioning.execute(&run).await else { panic!("it ended") };
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])], "no other hub is told before");
    assert_eq!(assigned(&world.finish(&later.run).await).substatus, Substatus::DeviceDataReset);
    world.hub(HUBS[0]).fail_next(down());
    let cleaned = world.clean_up().await;
    assert!(
        matches!(&cleaned[..], [CleanupOutcome::Retry(_, reason)] if reason.contains("down")),
        "{cleaned:?}"
    );
    let [waiting] = &world.cleanups().await[..] else { panic!("not one") };
    assert_eq!((waiting.cause, waiting.tries.count), (CleanupCause::Moved, 1));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])]);
}

/// The removal was done and its answer lost: doing it again finds nothing.
#[tokio::test]
async fn a_removal_whose_answer_is_lost() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.register(&device).await;
    world.hub(HUBS[0]).fail_next(Failure::After(HubError::Unavailable("lost".into())));
    assert!(matches!(world.clean_up().await[..], [CleanupOutcome::Retry(..)]));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
    assert_eq!(world.cleanups().await, []);
}

/// The new hub did as it was told and its answer was lost, again and again. The data are carried each time.
#[tokio::test]
async fn the_new_hubs_answers_are_lost() {
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

/// It comes back to the first hub before that was cleaned up: the removal is called off, also one that is on its way.
#[tokio::test]
async fn back_before_the_clean_up() {
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
    let cleaned = world.provisioning.clean_up(&sample::scope(SCOPE), stale).await.unwrap();
    assert_eq!(cleaned, CleanupOutcome::Superseded);
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
    assert_eq!(world.at(HUBS[0], "dev-1").reported, reported());
}

/// Keys that are rolled on the way reach the new hub, and the old hub is cleaned up whichever it knows.
#[tokio::test]
async fn keys_rolled_on_the_way() {
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

/// Called off before or after the new hub was told: the device stays where it lives, and the new hub is cleaned up.
#[tokio::test]
async fn a_move_called_off() {
    for told in [false, true] {
        let (world, device) = about_to_move(Policy::Migrate).await;
        let run = world.run(&device).await;
        if told {
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
        match told {
            false => assert_eq!(world.clean_up().await, [CleanupOutcome::Absent]),
            true => assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]),
        }
        assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])], "told: {told}");
        assert_eq!(world.finish(&run).await.record.etag, cancelled.record.etag, "the run has been overtaken");
    }
}

/// A first assignment that is called off leaves the device on no hub.
#[tokio::test]
async fn a_first_assignment_called_off() {
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

/// A hub that refuses the device fails the move; the device stays where it lives.
#[tokio::test]
async fn the_new_hub_refuses() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.hub(HUBS[1]).fail_next(Failure::Before(HubError::Refused("quota".into())));
    let failed = world.register(&device).await;
    let Status::Failed { current: Some(at), .. } = &failed.status else { panic!("{failed:?}") };
    assert_eq!(at.hub.as_str(), HUBS[0]);
    world.clean_up().await;
    assert_eq!((world.hubs_of("dev-1"), world.cleanups().await), (vec![sample::hub_name(HUBS[0])], vec![]));
}

/// The old hub was unlinked: its data are given up. What the device left there waits until it is linked again.
#[tokio::test]
async fn the_old_hub_was_unlinked() {
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

/// The new hub is unlinked on the way: the device goes to a third one, and the second is cleaned up.
#[tokio::test]
async fn the_new_hub_is_unlinked_on_the_way() {
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
    // The first hub names its device, and the second did not answer.
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed, CleanupOutcome::Held { is_new: true }]);
    assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[2])]);
}

/// Somebody else has put a device of that name there meanwhile: it is not ours to remove.
#[tokio::test]
async fn what_others_put_there_stays() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.register(&device).await;
    let id = DeviceId::parse("dev-1").unwrap();
    world.hub(HUBS[0]).change(&id, |device| device.credentials = keys(60));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Foreign]);
    assert_eq!((world.hubs_of("dev-1").len(), world.cleanups().await), (2, vec![]));
}

/// A device may stay where no other can be chosen, if its enrollment does not want it elsewhere.
#[tokio::test]
async fn no_hub_takes_new_devices() {
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
