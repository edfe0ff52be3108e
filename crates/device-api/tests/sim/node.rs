//! One process of the service: all that is in its memory, over the database that it shares with the others.

use std::{sync::Arc, time::Duration};

use device_api::{DeviceApi, Ports, Timing};
use model::Timestamp;
use net::CancellationToken;
use provisioning::{
    Provisioning,
    ports::{Clock, RunnerId, Unknown},
};
use runner::Runner;
use testkit::entropy::SeededEntropy;

use crate::{
    deployment::Deployment, hubs::SimulatedHubs, process::Process, store::SimulatedStore,
    webhook::SimulatedWebhook, world::World,
};

/// How far the clock of a node of a cluster is off at most, in seconds.
const MAX_CLOCK_SKEW_SECS: u64 = 300;

/// Returns by how much the dates of two nodes may differ.
pub fn max_difference(deployment: Deployment) -> Duration {
    match deployment {
        Deployment::Embedded => Duration::ZERO,
        Deployment::Cluster => Duration::from_secs(2 * MAX_CLOCK_SKEW_SECS),
    }
}

/// A process with verbs, endpoint and runner.
pub struct Node {
    pub provisioning: Arc<Provisioning>,
    pub router: axum::Router,
    pub process: Arc<Process>,
}

impl Node {
    /// Starts the process of this number.
    pub fn start(world: &Arc<World>, number: u64) -> Node {
        let process = Arc::new(Process::new(Arc::clone(world), number));
        let clock = Arc::new(NodeClock::new(world));
        let entropy = Arc::new(SeededEntropy::new(world.seed.wrapping_mul(1000).wrapping_add(number)));
        let store = Arc::new(SimulatedStore::new(Arc::clone(&process)));
        let provisioning = Arc::new(Provisioning::new(provisioning::Ports {
            store: store.clone(),
            hubs: Arc::new(SimulatedHubs(Arc::clone(&process))),
            webhook: Arc::new(SimulatedWebhook(Arc::clone(&process))),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: entropy.clone(),
        }));
        let id = RunnerId::random(&*entropy);
        let runner = Runner::new(Arc::clone(&provisioning), store, id);
        let runs = Arc::new(runner.assignments().clone());
        let api =
            DeviceApi::new(Arc::clone(&provisioning), runs, Ports { clock, entropy }, Timing::default());
        tokio::spawn(work(runner));
        Node { provisioning, router: api.router(), process }
    }
}

/// Does what the process does besides answering requests.
async fn work(runner: Runner) {
    // The reconciler tries again.
    let _ = runner.start().await;
    let never = CancellationToken::new();
    tokio::join!(runner.keep_leases(never.clone()), runner.work(never));
}

/// The clock of a node: the virtual time, in a cluster off by up to [`MAX_CLOCK_SKEW_SECS`].
struct NodeClock {
    world: Arc<World>,
    skew_secs: i64,
}

impl NodeClock {
    fn new(world: &Arc<World>) -> NodeClock {
        let skew_secs = match world.deployment {
            Deployment::Embedded => 0,
            Deployment::Cluster => {
                let skew = world.dice.roll(2 * MAX_CLOCK_SKEW_SECS + 1);
                skew.cast_signed() - MAX_CLOCK_SKEW_SECS.cast_signed()
            }
        };
        NodeClock { world: Arc::clone(world), skew_secs }
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        self.world.time_of(self.skew_secs)
    }
}
