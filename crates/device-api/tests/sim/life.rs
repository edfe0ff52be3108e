//! One life of the service's process, from its start to its crash.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use device_api::{DeviceApi, Ports, Timing};
use net::CancellationToken;
use provisioning::{Provisioning, ports::Unknown};
use runner::{AssignmentRunner, Reconciler};
use testkit::entropy::SeededEntropy;

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
    beats: AtomicBool,
}

impl Pulse {
    /// Passes some time on the way to the outside or back, and goes no further when the process has died meanwhile.
    pub async fn on_the_way(&self, millis: std::ops::RangeInclusive<u64>) {
        tokio::time::sleep(self.world.dice.millis(millis)).await;
        if !self.beats.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

impl Life {
    /// Starts the service over the world's disk, the `number`-th time.
    pub fn begin(world: &Arc<World>, number: u64) -> Life {
        let pulse = Arc::new(Pulse { world: Arc::clone(world), beats: AtomicBool::new(true) });
        let clock = Arc::new(WorldClock(Arc::clone(world)));
        let entropy = Arc::new(SeededEntropy::new(world.seed.wrapping_mul(1000).wrapping_add(number)));
        let provisioning = Arc::new(Provisioning::new(provisioning::Ports {
            store: Arc::new(SimulatedStore::new(Arc::clone(&pulse))),
            hubs: Arc::new(SimulatedHubs(Arc::clone(&pulse))),
            webhook: Arc::new(SimulatedWebhook(Arc::clone(&pulse))),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: entropy.clone(),
        }));
        let runner = AssignmentRunner::new(Arc::clone(&provisioning));
        let ports = Ports { clock, entropy };
        let api =
            DeviceApi::new(Arc::clone(&provisioning), Arc::new(runner.clone()), ports, Timing::default());
        tokio::spawn(Reconciler::new(runner.clone()).run(CancellationToken::new()));
        tokio::spawn(async move { runner.resume_all().await.map(drop) });
        Life { provisioning, router: api.router(), pulse }
    }

    /// The process ends without notice.
    pub fn end(&self) {
        self.pulse.beats.store(false, Ordering::SeqCst);
    }
}
