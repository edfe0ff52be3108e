//! One life of the service's process, from its start to its crash.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use device_api::{DeviceApi, Ports, Timing};
use net::CancellationToken;
use provisioning::{
    Provisioning,
    ports::{RunnerId, Unknown},
};
use runner::Runner;
use testkit::entropy::SeededEntropy;
use tokio::time::{Instant, sleep_until};

use crate::{
    hubs::SimulatedHubs,
    store::SimulatedStore,
    webhook::SimulatedWebhook,
    world::{World, WorldClock},
};

/// The service, as long as it lives.
pub struct Life {
    pub provisioning: Arc<Provisioning>,
    pub router: axum::Router,
    pulse: Arc<Pulse>,
}

/// Whether a process lives. A call from one that does not is never answered and changes nothing: for the world, that is
/// all there is to being dead.
pub struct Pulse {
    pub world: Arc<World>,
    /// Tells the lives of a world apart.
    pub number: u64,
    beats: AtomicBool,
    /// Until when the process is paused, as a virtual machine may be that is moved.
    paused_until: Mutex<Option<Instant>>,
}

impl Pulse {
    /// Passes some time on the way to the outside or back, and goes no further when the process has died meanwhile.
    pub async fn on_the_way(&self, millis: std::ops::RangeInclusive<u64>) {
        tokio::time::sleep(self.world.dice.millis(millis)).await;
        self.thaw().await;
        if !self.beats.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

impl Pulse {
    /// Waits until the process is not paused.
    pub async fn thaw(&self) {
        while let Some(until) = self.paused_until() {
            sleep_until(until).await;
        }
    }

    /// Until when the process is paused, if it is.
    fn paused_until(&self) -> Option<Instant> {
        self.paused_until.lock().unwrap().filter(|until| *until > Instant::now())
    }

    pub fn lives(&self) -> bool {
        self.beats.load(Ordering::SeqCst)
    }
}

impl Life {
    /// Pauses the process for this time.
    pub fn pause(&self, time: Duration) {
        *self.pulse.paused_until.lock().unwrap() = Some(Instant::now() + time);
    }

    /// Starts the service over the world's disk, the `number`-th time.
    pub fn begin(world: &Arc<World>, number: u64) -> Life {
        let (beats, paused_until) = (AtomicBool::new(true), Mutex::default());
        let pulse = Arc::new(Pulse { world: Arc::clone(world), number, beats, paused_until });
        let clock = Arc::new(WorldClock(Arc::clone(world)));
        let entropy = Arc::new(SeededEntropy::new(world.seed.wrapping_mul(1000).wrapping_add(number)));
        let store = Arc::new(SimulatedStore::new(Arc::clone(&pulse)));
        let provisioning = Arc::new(Provisioning::new(provisioning::Ports {
            store: store.clone(),
            hubs: Arc::new(SimulatedHubs(Arc::clone(&pulse))),
            webhook: Arc::new(SimulatedWebhook(Arc::clone(&pulse))),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: entropy.clone(),
        }));
        let id = RunnerId::random(&*entropy);
        let runner = Runner::new(Arc::clone(&provisioning), store, id);
        let runs = Arc::new(runner.assignments().clone());
        let ports = Ports { clock, entropy };
        let api = DeviceApi::new(Arc::clone(&provisioning), runs, ports, Timing::default());
        tokio::spawn(serve(runner));
        Life { provisioning, router: api.router(), pulse }
    }

    /// Returns when the process can answer: one that has died never does.
    pub async fn answers(&self) {
        self.pulse.thaw().await;
        if !self.pulse.lives() {
            std::future::pending::<()>().await;
        }
    }

    /// The process ends without notice.
    pub fn end(&self) {
        self.pulse.beats.store(false, Ordering::SeqCst);
    }
}

/// Does what the process does besides answering requests.
async fn serve(runner: Runner) {
    // Another try is made by the reconciler.
    let _ = runner.start().await;
    let never = CancellationToken::new();
    tokio::join!(runner.keep_leases(never.clone()), runner.work(never));
}
