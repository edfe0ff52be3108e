//! Hubs that refuse, are down, or lose their answers.

use model::{AllocationWeight, FailureReason, Status};
use provisioning::{
    ports::HubError,
    register::{RegisterOutcome, RunOutcome},
};
use testkit::{hub::Failure, sample};

use super::world::{HUBS, SCOPE, World, assigned, disable, individual, keys, with_keys};

fn down() -> HubError {
    HubError::Unavailable("down".into())
}

fn refuses() -> HubError {
    HubError::Refused("quota".into())
}

/// A world with one hub.
async fn with_one_hub() -> World {
    let world = World::new().await;
    world.link(&HUBS[..1]).await;
    world
}

#[tokio::test]
async fn a_hub_that_refuses_fails_the_registration() {
    let world = with_one_hub().await;
    let device = world.device("dev-1").await;
    world.hub(HUBS[0]).fail_next(Failure::Before(refuses()));
    let registration = world.register(&device).await;
    let Status::Failed { failure, current: None } = &registration.status else {
        panic!("{:?}", registration.status)
    };
    assert_eq!((failure.reason, failure.message.as_str()), (FailureReason::HubRefused, "quota"));
    assert_eq!(world.record("dev-1").await.as_ref(), Some(&registration));
    assert_eq!(world.counted(SCOPE).await, (0, 0), "only what succeeds counts");
    let registration = world.register(&device).await;
    world.check_at_hub(&registration, &keys(10), 1);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

#[tokio::test]
async fn a_refused_update_leaves_the_assignment_in_effect() {
    let world = with_one_hub().await;
    let device = world.device("dev-1").await;
    let first = assigned(&world.register(&device).await);
    for (case, number) in [("a confirmation", 10), ("other credentials", 40)] {
        world.enroll(with_keys("dev-1", number)).await;
        world.hub(HUBS[0]).fail_next(Failure::Before(refuses()));
        let device = device.with_key(sample::key(number));
        let failed = world.register(&device).await;
        let Status::Failed { failure, current } = &failed.status else {
            panic!("{case}: {:?}", failed.status)
        };
        assert_eq!(
            (failure.reason, current.as_ref().map(|at| &at.hub)),
            (FailureReason::HubRefused, Some(&first.hub)),
            "{case}"
        );
        let registration = world.register(&device).await;
        world.check_at_hub(&registration, &keys(number), 1);
    }
    assert_eq!(world.counted(SCOPE).await, (1, 2));
}

#[tokio::test]
async fn a_hub_that_is_down_is_asked_again() {
    let world = with_one_hub().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    for _ in 0..3 {
        world.hub(HUBS[0]).fail_next(Failure::Before(down()));
        let ended = world.provisioning.execute(&run).await;
        assert!(matches!(&ended, RunOutcome::Retry(retry) if retry.reason.contains("down")), "{ended:?}");
        let noted = world.record("dev-1").await.unwrap();
        assert_eq!(noted.record, run.registration.record, "the record's version stays");
        let Status::Assigning { tries, .. } = noted.status else { panic!("{:?}", noted.status) };
        assert!(tries.count() == 1 && tries.last().unwrap().reason.contains("down"), "operators see why");
    }
    let registration = world.finish(&run).await;
    world.check_at_hub(&registration, &keys(10), 1);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

/// The same spec goes to the same hub again, which initializes the twin to what it is.
#[tokio::test]
async fn a_lost_answer_leads_to_one_device_and_one_count() {
    let world = with_one_hub().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    for _ in 0..2 {
        world.hub(HUBS[0]).fail_next(Failure::After(down()));
        assert!(matches!(world.provisioning.execute(&run).await, RunOutcome::Retry(_)));
    }
    let calls = world.hub(HUBS[0]).calls();
    let registration = world.finish(&run).await;
    let all = world.hub(HUBS[0]).calls();
    assert!(all.iter().all(|call| *call == calls[0]), "each call is the same");
    world.check_at_hub(&registration, &keys(10), 3);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

#[tokio::test]
async fn a_confirmation_that_is_retried_is_persisted() {
    let world = with_one_hub().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    let run = world.run(&device).await;
    world.hub(HUBS[0]).fail_next(Failure::After(down()));
    let RunOutcome::Retry(retry) = world.provisioning.execute(&run).await else { panic!("it ended") };
    assert!(!run.is_persisted() && retry.run.is_persisted());
    assert_eq!(world.record("dev-1").await, Some(retry.run.registration.clone()));
    assert_eq!(world.counted(SCOPE).await, (1, 0));
    assert_eq!(assigned(&world.finish(&retry.run).await), assigned(&first));
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

/// It is persisted before a device gets `assigning`. Then it counts once, whichever process executes it.
#[tokio::test]
async fn a_persisted_confirmation_survives_a_crash() {
    let world = with_one_hub().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    let run = world.run(&device).await;
    let held = world.provisioning.persist(&run).await.unwrap();
    assert_eq!(held.registration.operation_id, run.registration.operation_id);
    assert_eq!(world.provisioning.persist(&held).await.unwrap().registration, held.registration);
    let joined = world.run(&device).await;
    assert_eq!(joined.registration, held.registration, "who comes now joins it");

    let world = world.restarted().await;
    let [found] = &world.unfinished(10).await[..] else { panic!("not one run") };
    let again = world.finish(found).await;
    assert_eq!((assigned(&again), again.decisions.iter().count()), (assigned(&first), 2));
    assert_eq!(world.counted(SCOPE).await, (1, 1));

    let late = world.provisioning.persist(&run).await.unwrap();
    assert_eq!(world.finish(&late).await, again, "it ended before it could be persisted");
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

/// While its hub is down, a device that returns with other credentials keeps the hub, and can connect there with the new ones.
#[tokio::test]
async fn credentials_that_change_during_a_run_reach_the_hub() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.run(&device).await;
    let hub = first_hub(&first.registration.status);
    world.hub(&hub).fail_next(Failure::After(down()));
    assert!(matches!(world.provisioning.execute(&first).await, RunOutcome::Retry(_)));

    world.enroll(with_keys("dev-1", 40)).await;
    world.change_instance(|instance| favour_others(instance, &hub)).await;
    let device = device.with_key(sample::key(41));
    let second = world.run(&device).await;
    assert_ne!(second.registration.operation_id, first.registration.operation_id);
    assert_eq!(first_hub(&second.registration.status), hub);
    let joined = world.run(&device).await;
    assert_eq!(joined.registration.operation_id, second.registration.operation_id);

    let overtaken = world.finish(&first).await;
    assert_eq!(overtaken, second.registration, "the first run ends with what took its place");
    let registration = world.finish(&second).await;
    assert_eq!(assigned(&registration).hub.as_str(), hub);
    world.check_at_hub(&registration, &keys(40), 3);
    assert_eq!(world.counted(SCOPE).await, (1, 0), "one device was assigned, once");
}

fn first_hub(status: &Status) -> String {
    match status {
        Status::Assigning { step, .. } => step.spec().unwrap().hub.to_string(),
        other => panic!("{other:?}"),
    }
}

fn favour_others(instance: &mut model::Instance, hub: &str) {
    for linked in &mut instance.linked_hubs {
        let weight = if linked.name.as_str() == hub { 1 } else { 1000 };
        linked.weight = AllocationWeight::new(weight).unwrap();
        linked.takes_new_devices = linked.name.as_str() != hub;
    }
}

/// The run continues, because its hub may have applied the spec; the device gets `disabled`.
#[tokio::test]
async fn a_device_whose_enrollment_is_disabled_during_a_run_gets_disabled() {
    let world = with_one_hub().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;
    world.hub(HUBS[0]).fail_next(Failure::After(down()));
    let RunOutcome::Retry(retry) = world.provisioning.execute(&run).await else { panic!("it ends") };

    let mut enrollment = individual("dev-1");
    disable(&mut enrollment.settings);
    world.enroll(enrollment).await;
    let RegisterOutcome::Settled(settled) = world.begin(&device).await else { panic!("it runs") };
    assert_eq!(settled.status, Status::Disabled { current: None });
    let kept = world.record("dev-1").await.unwrap();
    assert_eq!(kept.record, run.registration.record, "the run is not lost");

    let calls = world.calls();
    let ended = world.finish(&retry.run).await;
    assert_eq!((ended.status, world.calls()), (settled.status, calls), "no hub is called again");
    let [cleanup] = &world.cleanups().await[..] else { panic!("what the hub applied is to be removed") };
    assert_eq!(cleanup.residue.hub_device.hub.as_str(), HUBS[0]);
    assert_eq!(world.register(&device).await.status, Status::Disabled { current: None });
}

/// Neither the run under way nor the returning device waits for a hub that was unlinked.
#[tokio::test]
async fn an_unlinked_hub_is_not_waited_for() {
    let world = with_one_hub().await;
    let (one, two) = (world.device("dev-1").await, world.device("dev-2").await);
    let mut retried = Vec::new();
    for device in [&one, &two] {
        let run = world.run(device).await;
        world.hub(HUBS[0]).fail_next(Failure::Before(down()));
        let RunOutcome::Retry(retry) = world.provisioning.execute(&run).await else { panic!("it ended") };
        retried.push(retry.run);
    }
    let [run_one, run_two] = <[_; 2]>::try_from(retried).unwrap();
    world.link(&HUBS[1..2]).await;
    let failed = world.finish(&run_one).await;
    assert!(
        matches!(&failed.status, Status::Failed { failure, .. } if failure.reason == FailureReason::HubRefused),
        "{failed:?}"
    );
    let registration = world.register(&one).await;
    assert_eq!(assigned(&registration).hub.as_str(), HUBS[1]);

    let elsewhere = world.register(&two).await;
    assert_eq!(assigned(&elsewhere).hub.as_str(), HUBS[1]);
    assert_eq!(world.finish(&run_two).await, elsewhere, "the old run changes nothing");
    assert_eq!(world.hub(HUBS[0]).devices().len(), 0);
    assert_eq!(world.counted(SCOPE).await, (2, 0));
}

#[tokio::test]
async fn a_hub_without_a_connector_fails_the_registration() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.link(&["unreachable.example"]).await;
    let registration = world.register(&device).await;
    assert!(
        matches!(&registration.status, Status::Failed { failure, .. } if failure.reason == FailureReason::HubRefused),
        "{registration:?}"
    );
}
