//! Assignment runs, which another runner takes over.

use std::time::Duration;

use provisioning::ports::Leases;
use tokio::time::sleep;

use crate::world::{World, reach};

#[tokio::test]
async fn a_second_runner_takes_over_what_the_first_one_released() {
    let world = World::new().await;
    let one = world.start(1).await;
    let held = world.assign_held(&one).await;
    let two = world.start(2).await;
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(two.in_flight(), 0, "the first one has it");
    one.ended.cancel();
    reach(async || two.in_flight() == 1).await;
    world.finish(held).await;
    reach(async || one.in_flight() + two.in_flight() == 0).await;
    assert_eq!(world.counted().await, 1, "what the first one wrote was refused");
}

/// A process that is killed lets go of nothing, but it was the only one: its successor opens the file.
#[tokio::test]
async fn a_restart_resumes_runs_at_once() {
    let world = World::new().await;
    let one = world.start(1).await;
    let held = world.assign_held(&one).await;
    for lease in world.store.leases().await.unwrap() {
        world.store.release(lease.token).await.unwrap();
    }
    let two = world.start(2).await;
    assert_eq!(two.in_flight(), 1);
    world.finish(held).await;
    assert_eq!(world.counted().await, 1);
}
