//! Whether a process of the service lives, and when it is paused.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use crate::world::World;

/// A process, from its start to its crash. A call of one that has crashed never returns and changes nothing.
pub struct Process {
    pub world: Arc<World>,
    /// No other process of the world has it.
    pub number: u64,
    lives: AtomicBool,
    /// The end of a pause, such as that of a virtual machine during its migration.
    paused_until: Mutex<Option<Instant>>,
}

impl Process {
    pub fn new(world: Arc<World>, number: u64) -> Process {
        Process { world, number, lives: AtomicBool::new(true), paused_until: Mutex::default() }
    }

    /// Waits for the latency of a message, and for the end of a pause. Never returns if the process has crashed meanwhile.
    pub async fn pass(&self, millis: RangeInclusive<u64>) {
        sleep(self.world.dice.millis(millis)).await;
        self.resume().await;
    }

    /// Waits for the end of a pause. Never returns if the process has crashed.
    pub async fn resume(&self) {
        while let Some(until) = self.paused_until() {
            sleep_until(until).await;
        }
        if !self.lives() {
            std::future::pending::<()>().await;
        }
    }

    fn paused_until(&self) -> Option<Instant> {
        self.paused_until.lock().unwrap().filter(|until| *until > Instant::now())
    }

    pub fn lives(&self) -> bool {
        self.lives.load(Ordering::SeqCst)
    }

    pub fn pause(&self, time: Duration) {
        *self.paused_until.lock().unwrap() = Some(Instant::now() + time);
    }

    pub fn crash(&self) {
        self.lives.store(false, Ordering::SeqCst);
    }
}
