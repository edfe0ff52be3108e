//! Processes that are lost, or cut off from the store: how soon others go on, and what they still may do.

use std::{collections::HashSet, time::Duration};

use model::{Day, OperationKind};
use provisioning::ports::{
    AssignmentRuns, Commit, Commits, Lease, LeaseName, Leases, Registrations, RunStatus, RunnerId, StoreError,
};
use runner::{LeaseTimes, RunnerLimits};
use testkit::sample;
use tokio::time::Instant;

use crate::world::{ID, SCOPE, World, reach};

const TAKEOVER: Duration = Duration::from_secs(4);

fn limits() -> RunnerLimits {
    RunnerLimits { leases: LeaseTimes::taken_over_within(TAKEOVER), ..RunnerLimits::default() }
}

#[tokio::test]
async fn runs_of_a_lost_process_go_on_at_another_within_the_setting() {
    let world = World::in_real_time().await;
    let mut one = world.start_with(1, limits()).await;
    let two = world.start_with(2, limits()).await;
    let held = world.assign_held(&one).await;
    one.kill().await;
    let lost = Instant::now();
    reach(async || two.in_flight() == 1).await;
    let taken = lost.elapsed();
    assert!(taken <= TAKEOVER, "{taken:?}");
    world.finish(held).await;
    assert_eq!(world.counted().await, 1);
}

#[tokio::test]
async fn a_process_that_cannot_renew_stops_before_another_takes_over_and_writes_nothing_then() {
    let world = World::in_real_time().await;
    let one = world.start_with(1, limits()).await;
    let two = world.start_with(2, limits()).await;
    let held = world.assign_held(&one).await;
    let token = one.runner.assignments().lease().unwrap();
    one.cut_off();
    let cut_off = Instant::now();
    while one.is_ready() {
        assert_eq!(two.in_flight(), 0, "its lease has not ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = cut_off.elapsed();
    assert!(stopped <= TAKEOVER / 2, "a margin is left until its lease ends: {stopped:?}");
    reach(async || two.in_flight() == 1).await;
    assert!(cut_off.elapsed() - stopped >= TAKEOVER / 8, "it had stopped for a while");
    let operation = Some((OperationKind::Registration, Day::from_number(1)));
    let late = Commit { fence: Some(token), operation, ..Commit::by(sample::by()) };
    let refused = world.store.commit(&sample::scope(SCOPE), late).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    world.finish(held).await;
    assert_eq!(world.counted().await, 1);
    assert!(!one.is_ready());
}

/// A poll may come to any process.
#[tokio::test]
async fn a_process_that_does_not_execute_a_run_answers_from_the_store() {
    let world = World::new().await;
    let (one, two) = (world.start(1).await, world.start(2).await);
    let held = world.assign_held(&one).await;
    let status = async || {
        let (scope, id) = (sample::scope(SCOPE), sample::registration_id(ID));
        let registration = world.store.registration(&scope, &id).await.unwrap().unwrap();
        two.runner.assignments().join(&*world.instance().await, &registration).await.unwrap()
    };
    let Some(RunStatus::InProgress(before)) = status().await else { panic!("it is in progress") };
    world.clock.advance(Duration::from_secs(5));
    let later = status().await;
    assert_eq!(later, Some(RunStatus::InProgress(before + Duration::from_secs(5))));
    reach(async || two.in_flight() == 0).await;
    world.finish(held).await;
    assert_eq!(status().await, None);
}

#[tokio::test]
async fn a_process_that_drains_leaves_the_jobs_to_others_and_goes_on_with_its_runs() {
    let world = World::in_real_time().await;
    let one = world.start_with(1, limits()).await;
    let held = world.assign_held(&one).await;
    let holders = async |of_jobs: bool| {
        let leases = world.store.leases().await.unwrap();
        let is_wanted = |lease: &&Lease| matches!(lease.name, LeaseName::Job(_)) == of_jobs;
        leases.iter().filter(is_wanted).map(|lease| lease.holder.clone()).collect::<HashSet<_>>()
    };
    let [first] = <[RunnerId; 1]>::try_from(holders(true).await.into_iter().collect::<Vec<_>>()).unwrap();
    let two = world.start_with(2, limits()).await;
    one.drain();
    reach(async || {
        let jobs = holders(true).await;
        !jobs.is_empty() && !jobs.contains(&first)
    })
    .await;
    assert!(holders(false).await.contains(&first), "its run is in progress");
    assert_eq!((one.in_flight(), two.in_flight()), (1, 0));
    world.finish(held).await;
    assert_eq!(world.counted().await, 1);
}

#[tokio::test]
async fn a_start_resumes_no_run_that_another_process_executes() {
    let world = World::new().await;
    let one = world.start(1).await;
    let held = world.assign_held(&one).await;
    let two = world.start(2).await;
    assert_eq!(two.runner.assignments().resume_all().await.unwrap(), 0);
    world.finish(held).await;
}
