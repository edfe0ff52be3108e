//! Outages of a cluster's database: for one node, or for all writes.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{nodes::Nodes, process::Process, run::UNREST};

/// How long a node waits for the database before it reports an error.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Causes outages now and then.
pub async fn happen(service: Arc<Nodes>) {
    let world = &service.world;
    loop {
        sleep(world.dice.millis(1_000..=60_000)).await;
        if world.elapsed() > UNREST {
            return;
        }
        let time = world.dice.millis(1_000..=30_000);
        if world.dice.roll(3) == 0 {
            world.note(format_args!("the database takes no writes for {time:?}"));
            world.weather.refuse_writes(time);
        } else {
            let process = service.any_process();
            world.note(format_args!("process {} is cut off from the database for {time:?}", process.number));
            world.weather.cut_off(process.number, time);
        }
    }
}

/// Waits until a process can reach the database; returns whether it can before its patience ends.
pub async fn wait_for_database(process: &Process) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while process.world.weather.is_cut_off(process.number) {
        if Instant::now() > deadline {
            return false;
        }
        process.pass(100..=1000).await;
    }
    true
}
