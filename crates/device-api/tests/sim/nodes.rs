//! The processes of the service: how they crash, pause and start again, and which one of them a request reaches.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    deployment::Deployment,
    node::Node,
    process::Process,
    restore::{self, Backup},
    run::UNREST,
    world::World,
};

/// The longest pause of a process: longer than its lease.
pub const MAX_PAUSE: Duration = Duration::from_secs(40);

/// How long a restore takes: longer than what the service sent before is on its way to a hub.
const DOWNTIME: Duration = Duration::from_secs(10);

/// All processes of the service of a world.
pub struct Nodes {
    pub world: Arc<World>,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// How many processes were started.
    started: AtomicU64,
    /// Whether an operator stopped it, so that a crash does not start it.
    is_stopped: AtomicBool,
}

impl Nodes {
    pub fn start(world: &Arc<World>) -> Arc<Nodes> {
        let count = world.deployment.nodes();
        let nodes = (0..count).map(|number| Arc::new(Node::start(world, number))).collect();
        Arc::new(Nodes {
            world: Arc::clone(world),
            nodes: Mutex::new(nodes),
            started: AtomicU64::new(count),
            is_stopped: AtomicBool::new(false),
        })
    }

    /// Returns the node that a request reaches: any one, for nothing is sticky.
    pub fn node(&self) -> Arc<Node> {
        Arc::clone(&self.nodes.lock().unwrap()[self.any_index()])
    }

    /// Returns the process of any node.
    pub fn any_process(&self) -> Arc<Process> {
        Arc::clone(&self.node().process)
    }

    fn any_index(&self) -> usize {
        match self.world.deployment {
            Deployment::Embedded => 0,
            Deployment::Cluster => {
                usize::try_from(self.world.dice.roll(self.world.deployment.nodes())).unwrap()
            }
        }
    }

    fn crash(&self) {
        if self.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let index = self.any_index();
        self.stop(index);
        if self.world.deployment == Deployment::Embedded {
            self.world.end_leases();
        }
        self.start_again(index);
    }

    /// Pauses a node, most often for longer than its lease lasts.
    fn pause(&self) {
        let (process, time) =
            (self.any_process(), self.world.dice.millis(5_000..=MAX_PAUSE.as_secs() * 1000));
        self.world.note(format_args!("PAUSE of process {} for {time:?}", process.number));
        process.pause(time);
    }

    /// Stops the process, puts a backup in the place of its store, and starts it.
    pub async fn restore(&self, backup: &Backup) {
        self.world.count(|figures| figures.restores += 1);
        self.is_stopped.store(true, Ordering::Relaxed);
        self.stop(0);
        sleep(DOWNTIME).await;
        restore::put_back(&self.world, backup);
        self.is_stopped.store(false, Ordering::Relaxed);
        self.start_again(0);
    }

    fn stop(&self, index: usize) {
        let process = Arc::clone(&self.nodes.lock().unwrap()[index].process);
        self.world.note(format_args!("CRASH of process {}", process.number));
        process.crash();
    }

    fn start_again(&self, index: usize) {
        self.world.count(|figures| figures.crashes += 1);
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let node = Arc::new(Node::start(&self.world, number));
        self.nodes.lock().unwrap()[index] = node;
    }
}

/// Crashes processes now and then.
pub async fn crashes(service: Arc<Nodes>) {
    now_and_then(service, 240_000, Nodes::crash).await;
}

/// Pauses nodes of a cluster now and then.
pub async fn pauses(service: Arc<Nodes>) {
    now_and_then(service, 60_000, Nodes::pause).await;
}

/// Does something again and again until the unrest ends, after at most this many milliseconds each time.
async fn now_and_then(service: Arc<Nodes>, at_most: u64, act: fn(&Nodes)) {
    loop {
        sleep(service.world.dice.millis(1_000..=at_most)).await;
        if service.world.elapsed() > UNREST {
            return;
        }
        act(&service);
    }
}
