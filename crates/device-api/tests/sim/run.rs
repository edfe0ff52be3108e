//! One seed, from the beginning of its world to the verdict.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use model::RegistrationId;
use tokio::{runtime::Builder, task::JoinSet, time::sleep};

use crate::{
    deployment::Deployment,
    device::{Device, Told},
    figures::Figures,
    hostility,
    intruder::{self, Prey},
    nodes::{Nodes, crashes, pauses},
    operator, outages, restore, rivals, verdict,
    weather::Flaw,
    world::World,
};

/// How long devices, operators and the weather do as they please.
pub const UNREST: Duration = Duration::from_secs(200);

/// How long the service may take to bring everything to rest: the longest pauses are ten minutes.
const REST: Duration = Duration::from_secs(3600);

/// The devices, and the groups that they belong to.
const DEVICES: [(&str, &str); 4] =
    [("dev-1", "static"), ("dev-2", "static"), ("dev-3", "hashed"), ("dev-4", "custom")];

/// What came of a seed.
pub struct Outcome {
    pub seed: u64,
    pub events: Vec<String>,
    pub violations: Vec<String>,
    pub figures: Figures,
}

impl Outcome {
    /// Panics with the last events when something did not hold.
    pub fn demand_well(&self) {
        if self.violations.is_empty() {
            return;
        }
        let last = self.events.iter().rev().take(80).rev();
        last.for_each(|event| println!("{event}"));
        panic!("MUSTER_SIM_SEED={} does not end well: {:#?}", self.seed, self.violations);
    }
}

/// Runs a seed.
pub fn run(seed: u64, flaw: Flaw) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let world = runtime.block_on(live(seed, flaw));
    drop(runtime);
    let mut notes = world.notes();
    let (events, violations) = (std::mem::take(&mut notes.events), std::mem::take(&mut notes.violations));
    Outcome { seed, events, violations, figures: notes.figures.clone() }
}

async fn live(seed: u64, flaw: Flaw) -> Arc<World> {
    let world = World::new(seed, flaw).await;
    // Some worlds are quiet: there, everything must be exact.
    let is_quiet = world.dice.roll(10) == 0;
    if is_quiet {
        world.weather.calm_down();
    }
    let service = Nodes::start(&world);
    let devices = unrest(&service, is_quiet).await;
    settle(&service, devices).await;
    world
}

/// Lets everybody do as they please for a while.
async fn unrest(service: &Arc<Nodes>, is_quiet: bool) -> Vec<Device> {
    let world = &service.world;
    let mut living = JoinSet::new();
    let disturbed = Arc::new(Mutex::new(Vec::new()));
    let prey = Prey::of(world.seed);
    let mut devices: Vec<_> = DEVICES.iter().map(|(id, group)| Device::new(world, id, group)).collect();
    devices.extend(intruder::victims(world, prey));
    for device in &devices {
        world.notes().keys.insert(device.id.clone(), device.key().clone());
    }
    for device in devices {
        living.spawn(device_life(Arc::clone(service), device, Arc::clone(&disturbed)));
    }
    tokio::spawn(intruder::life(Arc::clone(service), prey));
    if !is_quiet {
        tokio::spawn(rivals::life(Arc::clone(service)));
        if restore::happens_in(world.seed) {
            tokio::spawn(restore::life(Arc::clone(service)));
        }
        tokio::spawn(operator_life(Arc::clone(service), disturbed));
        tokio::spawn(crashes(Arc::clone(service)));
        if world.deployment == Deployment::Cluster {
            tokio::spawn(pauses(Arc::clone(service)));
            tokio::spawn(outages::happen(Arc::clone(service)));
        }
    }
    let mut devices = living.join_all().await;
    devices.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    devices
}

/// Registrations that an operator took in hand since their device last looked.
type Disturbed = Arc<Mutex<Vec<RegistrationId>>>;

async fn device_life(service: Arc<Nodes>, mut device: Device, disturbed: Disturbed) -> Device {
    while service.world.elapsed() < UNREST {
        let longest = *service.world.dice.pick(&[1_000, 10_000, 40_000]);
        sleep(service.world.dice.millis(0..=longest)).await;
        let told = device.register(&service).await;
        let mut disturbed = disturbed.lock().unwrap();
        if told == Told::Nothing || disturbed.contains(&device.id) {
            device.forget();
        }
        disturbed.retain(|id| *id != device.id);
    }
    device
}

async fn operator_life(service: Arc<Nodes>, disturbed: Disturbed) {
    let ids: Vec<RegistrationId> = DEVICES.iter().map(|(id, _)| RegistrationId::parse(id).unwrap()).collect();
    while service.world.elapsed() < UNREST {
        sleep(service.world.dice.millis(0..=30_000)).await;
        let device = operator::intervene(&service, &ids).await;
        disturbed.lock().unwrap().extend(device);
    }
}

/// Puts everything right and waits; then looks at what has become of it, lets everybody register once more, and looks
/// again.
async fn settle(service: &Arc<Nodes>, mut devices: Vec<Device>) {
    let world = &service.world;
    sleep(Duration::from_secs(60)).await; // what was slow has arrived
    world.note("everything is put right");
    world.weather.calm_down();
    operator::put_right(world);
    come_to_rest(service).await;
    verdict::places(world, &devices, false);
    for device in &mut devices {
        device.forget();
        for _ in 0..2 {
            if device.register(service).await != Told::Assigned {
                world.violated(format_args!("{} is not let in at the end", device.id));
            }
        }
    }
    come_to_rest(service).await;
    verdict::places(world, &devices, true);
    verdict::all_assigned(world, &devices);
    verdict::stored(world);
    verdict::metering(world);
}

async fn come_to_rest(service: &Nodes) {
    let world = &service.world;
    let deadline = world.elapsed() + REST;
    while !verdict::is_at_rest(world) {
        if world.elapsed() > deadline {
            return world.violated("it does not come to rest");
        }
        if verdict::waits_for_an_operator(world) {
            hostility::confirm(service).await;
        }
        sleep(Duration::from_secs(5)).await;
    }
    sleep(Duration::from_secs(5)).await;
}
