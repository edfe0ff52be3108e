//! One seed, from the beginning of its world to the verdict.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use model::RegistrationId;
use tokio::{runtime::Builder, task::JoinSet, time::sleep};

use crate::{
    device::{Device, Told},
    figures::Figures,
    hostility,
    intruder::{self, Prey},
    life::Life,
    operator,
    restore::{self, Backup},
    rivals, verdict,
    weather::Flaw,
    world::World,
};

/// How long devices, operators and the weather do as they please.
pub const UNREST: Duration = Duration::from_secs(200);

/// How long a restore takes: longer than what the service sent before is on its way to a hub.
const DOWNTIME: Duration = Duration::from_secs(10);

/// How long the service may take to bring everything to rest: the longest pauses are ten minutes.
const REST: Duration = Duration::from_secs(3600);

/// The devices, and the groups that they belong to.
const DEVICES: [(&str, &str); 4] =
    [("dev-1", "static"), ("dev-2", "static"), ("dev-3", "hashed"), ("dev-4", "custom")];

/// The longest that a process is paused.
pub const MAX_PAUSE: Duration = Duration::from_secs(40);

/// The number of the standby's life.
const STANDBY: u64 = 500;

/// Whether two processes serve in this seed. Not where the store is restored, for which all must be stopped.
pub fn has_standby(seed: u64) -> bool {
    seed % 4 == 1
}

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

/// The service's process in its present life, and the world around it.
pub struct Process {
    pub world: Arc<World>,
    life: Mutex<Arc<Life>>,
    /// A second process on the same store. It answers polls, and takes over what the first one lets go of.
    standby: Option<Arc<Life>>,
    lives: AtomicU64,
    /// Whether it is stopped, and only the operator who stopped it may start it.
    is_stopped: AtomicBool,
}

impl Process {
    fn start(world: &Arc<World>) -> Arc<Process> {
        let life = Mutex::new(Arc::new(Life::begin(world, 0)));
        let (lives, is_stopped) = (AtomicU64::new(0), AtomicBool::new(false));
        let standby = has_standby(world.seed).then(|| Arc::new(Life::begin(world, STANDBY)));
        Arc::new(Process { world: Arc::clone(world), life, standby, lives, is_stopped })
    }

    /// The present life.
    pub fn life(&self) -> Arc<Life> {
        Arc::clone(&self.life.lock().unwrap())
    }

    /// The process that a poll reaches.
    pub fn any_life(&self) -> Arc<Life> {
        match &self.standby {
            Some(standby) if self.world.dice.roll(2) == 0 => Arc::clone(standby),
            _ => self.life(),
        }
    }

    /// Pauses one of the two processes, most often for longer than its lease lasts.
    fn pause(&self, standby: &Life) {
        let time = self.world.dice.millis(5_000..=MAX_PAUSE.as_secs() * 1000);
        let is_first = self.world.dice.roll(3) > 0;
        self.world.note(format_args!(
            "PAUSE of {} for {time:?}",
            if is_first { "the first" } else { "the standby" }
        ));
        if is_first { self.life().pause(time) } else { standby.pause(time) }
    }

    fn crash(&self) {
        if self.is_stopped.load(Ordering::Relaxed) {
            return;
        }
        self.world.note("CRASH");
        self.life().end();
        if self.standby.is_none() {
            self.world.end_leases();
        }
        self.begin_again();
    }

    /// The process ends without notice, an older state of its store is put back, and it starts.
    pub async fn restore(&self, backup: &Backup) {
        self.world.note("the service is stopped");
        self.world.count(|figures| figures.restores += 1);
        self.is_stopped.store(true, Ordering::Relaxed);
        self.life().end();
        sleep(DOWNTIME).await;
        restore::put_back(&self.world, backup);
        self.is_stopped.store(false, Ordering::Relaxed);
        self.begin_again();
    }

    fn begin_again(&self) {
        self.world.count(|figures| figures.crashes += 1);
        let number = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        *self.life.lock().unwrap() = Arc::new(Life::begin(&self.world, number));
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
    let serving = Process::start(&world);
    let devices = unrest(&serving, is_quiet).await;
    settle(&serving, devices).await;
    world
}

/// Lets everybody do as they please for a while.
async fn unrest(serving: &Arc<Process>, is_quiet: bool) -> Vec<Device> {
    let world = &serving.world;
    let mut living = JoinSet::new();
    let disturbed = Arc::new(Mutex::new(Vec::new()));
    let prey = Prey::of(world.seed);
    let mut devices: Vec<_> = DEVICES.iter().map(|(id, group)| Device::new(world, id, group)).collect();
    devices.extend(intruder::victims(world, prey));
    for device in &devices {
        world.notes().keys.insert(device.id.clone(), device.key().clone());
    }
    for device in devices {
        living.spawn(device_life(Arc::clone(serving), device, Arc::clone(&disturbed)));
    }
    tokio::spawn(intruder::life(Arc::clone(serving), prey));
    if !is_quiet {
        tokio::spawn(rivals::life(Arc::clone(serving)));
        if restore::happens_in(world.seed) {
            tokio::spawn(restore::life(Arc::clone(serving)));
        }
        tokio::spawn(operator_life(Arc::clone(serving), disturbed));
        tokio::spawn(crashes(Arc::clone(serving)));
        tokio::spawn(pauses(Arc::clone(serving)));
    }
    let mut devices = living.join_all().await;
    devices.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    devices
}

/// Registrations that an operator took in hand since their device last looked.
type Disturbed = Arc<Mutex<Vec<RegistrationId>>>;

async fn device_life(serving: Arc<Process>, mut device: Device, disturbed: Disturbed) -> Device {
    while serving.world.elapsed() < UNREST {
        let longest = *serving.world.dice.pick(&[1_000, 10_000, 40_000]);
        sleep(serving.world.dice.millis(0..=longest)).await;
        let told = device.register(&serving).await;
        let mut disturbed = disturbed.lock().unwrap();
        if told == Told::Nothing || disturbed.contains(&device.id) {
            device.forget();
        }
        disturbed.retain(|id| *id != device.id);
    }
    device
}

async fn operator_life(serving: Arc<Process>, disturbed: Disturbed) {
    let ids: Vec<RegistrationId> = DEVICES.iter().map(|(id, _)| RegistrationId::parse(id).unwrap()).collect();
    while serving.world.elapsed() < UNREST {
        sleep(serving.world.dice.millis(0..=30_000)).await;
        let device = operator::intervene(&serving, &ids).await;
        disturbed.lock().unwrap().extend(device);
    }
}

async fn crashes(serving: Arc<Process>) {
    loop {
        sleep(serving.world.dice.millis(1_000..=240_000)).await;
        if serving.world.elapsed() > UNREST {
            return;
        }
        serving.crash();
    }
}

async fn pauses(serving: Arc<Process>) {
    let Some(standby) = &serving.standby else { return };
    loop {
        sleep(serving.world.dice.millis(1_000..=60_000)).await;
        if serving.world.elapsed() > UNREST {
            return;
        }
        serving.pause(standby);
    }
}

/// Puts everything right and waits; then looks at what has become of it, lets everybody register once more, and looks
/// again.
async fn settle(serving: &Arc<Process>, mut devices: Vec<Device>) {
    let world = &serving.world;
    sleep(Duration::from_secs(60)).await; // what was slow has arrived
    world.note("everything is put right");
    world.weather.calm_down();
    operator::put_right(world);
    come_to_rest(serving).await;
    verdict::places(world, &devices, false);
    for device in &mut devices {
        device.forget();
        for _ in 0..2 {
            if device.register(serving).await != Told::Assigned {
                world.violated(format_args!("{} is not let in at the end", device.id));
            }
        }
    }
    come_to_rest(serving).await;
    verdict::places(world, &devices, true);
    verdict::all_assigned(world, &devices);
    verdict::metering(world);
}

async fn come_to_rest(serving: &Process) {
    let world = &serving.world;
    let deadline = world.elapsed() + REST;
    while !verdict::is_at_rest(world) {
        if world.elapsed() > deadline {
            return world.violated("it does not come to rest");
        }
        if verdict::waits_for_an_operator(world) {
            hostility::confirm(serving).await;
        }
        sleep(Duration::from_secs(5)).await;
    }
    sleep(Duration::from_secs(5)).await;
}
