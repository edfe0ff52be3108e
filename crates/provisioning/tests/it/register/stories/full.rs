//! Hubs that turn out to be full when they are called. Failover is on unless a test says otherwise.

use std::time::Duration;

use model::{Decision, DecisionResult, Exclusion, FailureReason, HubName, IndividualEnrollment, Substatus};
use provisioning::{
    ports::HubError,
    register::{AssignmentRun, CleanupOutcome, Retry, RunOutcome},
};
use testkit::{hub::Failure, sample};

use super::{Policy, about_to_move, reported, wanting};
use crate::register::world::{Device, HUBS, SCOPE, World, assigned, individual};

fn full() -> Failure {
    Failure::Before(HubError::Full("no more devices (403 IotHubQuotaExceeded)".into()))
}

/// Returns a device that both linked hubs would take, its run, and the hub of the run.
async fn being_assigned(enrollment: IndividualEnrollment) -> (World, Device, AssignmentRun, HubName) {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll(enrollment).await;
    let run = world.run(&device).await;
    let hub = sample::hub_name(run.target());
    (world, device, run, hub)
}

fn other(hub: &HubName) -> HubName {
    sample::hub_name(if hub.as_str() == HUBS[0] { HUBS[1] } else { HUBS[0] })
}

async fn retried(world: &World, run: &AssignmentRun) -> Retry {
    match world.provisioning.execute(run).await {
        RunOutcome::Retry(retried) => *retried,
        other => panic!("{other:?}"),
    }
}

fn result(decision: &Decision) -> Option<&DecisionResult> {
    decision.outcome.end().map(|end| &end.result)
}

#[tokio::test]
async fn a_new_device_gets_another_hub_at_once() {
    let (world, _, run, hub) = being_assigned(individual("dev-1")).await;
    world.hub(hub.as_str()).fail_next(full());
    let next = retried(&world, &run).await;
    assert_eq!((next.backoff, next.run.target()), (Duration::ZERO, other(&hub).as_str()));
    let registration = world.finish(&next.run).await;
    assert_eq!(assigned(&registration).hub, other(&hub));
    assert_eq!(assigned(&registration).substatus, Substatus::InitialAssignment);

    let [first, second] = &registration.decisions.iter().collect::<Vec<_>>()[..] else { panic!("not two") };
    let Some(DecisionResult::Failed(failure)) = result(first) else { panic!("{first:?}") };
    assert!(
        failure.reason == FailureReason::HubFull && failure.message.contains("no more devices"),
        "{failure:?}"
    );
    assert_eq!(second.skipped().collect::<Vec<_>>(), [&hub]);
    let full = second.candidates.iter().find(|candidate| candidate.hub == hub).unwrap();
    assert_eq!(full.link.as_ref().unwrap().excluded, Some(Exclusion::Full));
    assert_eq!(result(second), Some(&DecisionResult::Assigned));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Absent]);
    assert_eq!((world.hubs_of("dev-1"), world.counted(SCOPE).await), (vec![other(&hub)], (1, 0)));
}

/// An earlier try got through after all: the device that it created is removed again.
#[tokio::test]
async fn the_device_of_an_earlier_try_is_cleaned_up() {
    let (world, _, run, hub) = being_assigned(individual("dev-1")).await;
    world.hub(hub.as_str()).fail_next(Failure::After(HubError::Unavailable("lost".into())));
    world.hub(hub.as_str()).fail_next(full());
    let tried = retried(&world, &run).await;
    let next = retried(&world, &tried.run).await;
    assert!(next.backoff > Duration::ZERO, "no hub is asked without pause");
    let world = world.restarted().await;
    let [found] = &world.unfinished(10).await[..] else { panic!("not one run") };
    world.finish(found).await;
    assert_eq!(world.hubs_of("dev-1").len(), 2, "for a moment");
    assert_eq!(world.clean_up_confirmed().await, [CleanupOutcome::Removed]);
    assert_eq!((world.hubs_of("dev-1"), world.counted(SCOPE).await), (vec![other(&hub)], (1, 0)));
}

/// With failover off, without another hub, and if all are full, the run waits, with growing back-off.
#[tokio::test]
async fn a_device_without_another_hub_waits() {
    let (world, _, run, hub) = being_assigned(individual("dev-1")).await;
    world.change_instance(|instance| instance.failover = false).await;
    world.hub(hub.as_str()).fail_next(full());
    let next = retried(&world, &run).await;
    assert_eq!((next.backoff.as_secs(), next.run.target()), (1, hub.as_str()));
    assert_eq!(assigned(&world.finish(&next.run).await).hub, hub);

    let (world, _, run, hub) = being_assigned(wanting("dev-1", Policy::Migrate, &HUBS[..1])).await;
    world.hub(hub.as_str()).fail_next(full());
    assert_eq!(retried(&world, &run).await.run.target(), hub.as_str());

    let (world, _, run, _) = being_assigned(individual("dev-1")).await;
    let (mut run, mut pauses) = (run, Vec::new());
    for _ in 0..5 {
        world.hub(run.target()).fail_next(full());
        let next = retried(&world, &run).await;
        pauses.push(next.backoff.as_secs());
        run = next.run;
    }
    assert_eq!(pauses, [0, 2, 4, 8, 16], "round and round, ever more slowly");
    let home = assigned(&world.finish(&run).await).hub;
    world.clean_up().await;
    assert_eq!(world.hubs_of("dev-1"), [home]);
}

/// The new hub is full: the device keeps its hub and its data.
#[tokio::test]
async fn a_device_that_was_moving_keeps_its_hub() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = world.run(&device).await;
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[..2])).await;
    world.hub(HUBS[1]).fail_next(full());
    let next = retried(&world, &run).await;
    let back = world.finish(&next.run).await;
    assert_eq!(assigned(&back).hub.as_str(), HUBS[0]);
    assert_eq!(assigned(&back).substatus, Substatus::ReprovisionedToInitialAssignment);
    assert_eq!(world.clean_up().await, [CleanupOutcome::Absent]);
    assert_eq!(world.at(HUBS[0], "dev-1").reported, reported());
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
}

/// An old hub that reports being full is waited for, because it has the data.
#[tokio::test]
async fn a_move_waits_for_an_old_hub_that_is_full() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = world.run(&device).await;
    // Another hub would be chosen if the new one were full.
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[..2])).await;
    world.hub(HUBS[0]).fail_next(full());
    let next = retried(&world, &run).await;
    assert_eq!((next.backoff.as_secs(), next.run.target()), (1, HUBS[1]));
    assert_eq!(assigned(&world.finish(&next.run).await).substatus, Substatus::DeviceDataMigrated);
}
