//! Random histories: devices that register and poll, hubs that are down, refuse or lose their answers, operators that rotate keys,
//! disable enrollments, change policies and weights, cancel and delete, and a service that crashes. Each seed is one history.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::Duration,
};

use model::{
    AllocationWeight, DeviceId, DeviceSpec, HubName, InitialTwin, Registration, ReprovisionPolicy, Status,
    Substatus, TwinSpec,
};
use provisioning::{
    Error,
    ports::{Entropy, HubError, PageRequest},
    register::{AssignmentRun, CleanupOutcome, RegisterOutcome, RunOutcome},
};
use testkit::{entropy::SeededEntropy, hub::Failure, sample};

use super::world::{Device, HUBS, SCOPE, World, assigned, disable, keys, with_keys};

const SEEDS: u32 = 300;
const STEPS: usize = 40;
const DEVICES: usize = 3;

#[tokio::test]
async fn every_history_ends_with_every_device_at_its_hub() {
    for seed in 0..u64::from(crate::cases(SEEDS)) {
        let mut history = History::new(seed).await;
        for step in 0..STEPS {
            history.step().await;
            history.check(&format!("seed {seed}, step {step}")).await;
        }
        history.settle(&format!("seed {seed}")).await;
    }
}

struct History {
    world: Option<World>,
    dice: SeededEntropy,
    devices: Vec<Operated>,
    /// The runs in memory, which a crash loses. As in the service, one run of a device at a time.
    runs: BTreeMap<usize, VecDeque<Queued>>,
    /// Completions that were reported to a device.
    acknowledged: u64,
    /// Completions that may have happened just before a crash.
    unknown: u64,
}

/// A run, and the keys that the last device that asked for it connects with.
#[derive(Clone)]
struct Queued {
    run: AssignmentRun,
    keys: Option<u8>,
}

/// A device with its enrollment as the operator left it.
struct Operated {
    device: Device,
    keys: u8,
    disabled: bool,
    policy: Option<ReprovisionPolicy>,
}

impl History {
    async fn new(seed: u64) -> History {
        let world = World::new().await;
        let mut devices = Vec::new();
        for number in 0..DEVICES {
            devices.push(Operated {
                device: world.device(&format!("dev-{number}")).await,
                keys: 10,
                disabled: false,
                policy: None,
            });
        }
        let dice = SeededEntropy::new(seed);
        History { world: Some(world), dice, devices, runs: BTreeMap::new(), acknowledged: 0, unknown: 0 }
    }

    fn world(&self) -> &World {
        self.world.as_ref().unwrap()
    }

    fn roll(&self, sides: usize) -> usize {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % sides as u64).unwrap()
    }

    async fn step(&mut self) {
        let which = self.roll(DEVICES);
        self.world().clock.advance(Duration::from_millis(1));
        match self.roll(21) {
            16 => self.operate(which, |operated, dice| operated.policy = POLICIES[usize::from(dice)]).await,
            17 | 18 => self.clean_up(which).await,
            19 => self.cancel(which).await,
            20 => self.delete(which).await,
            0..=4 => self.register(which).await,
            5..=9 => self.execute(which).await,
            10 => self.poll(which).await,
            11 => self.operate(which, |operated, dice| operated.keys = 10 + 2 * dice).await,
            12 => self.operate(which, |operated, _| operated.disabled = !operated.disabled).await,
            13 => self.shift_weights().await,
            14 => self.crash_while_registering(which).await,
            _ => self.crash_while_executing(which).await,
        }
    }

    async fn register(&mut self, which: usize) {
        let begun = self.world().begin(&self.devices[which].device).await;
        if let RegisterOutcome::Running(run) = begun {
            let keys = Some(self.devices[which].keys);
            self.queue(which, Queued { run: *run, keys });
        }
    }

    /// Queues a run. The same run twice is one, and a device has at most two.
    fn queue(&mut self, which: usize, new: Queued) {
        let queue = self.runs.entry(which).or_default();
        let id = &new.run.registration.operation_id;
        let places = 2 - queue.len();
        match queue.iter_mut().find(|queued| queued.run.registration.operation_id == *id) {
            Some(same) => same.keys = new.keys.or(same.keys),
            None if places > 0 => queue.push_back(new),
            None => {}
        }
    }

    fn next_run(&self, which: usize) -> Option<AssignmentRun> {
        self.runs.get(&which)?.front().map(|queued| queued.run.clone())
    }

    async fn execute(&mut self, which: usize) {
        let Some(run) = self.next_run(which) else { return };
        self.curse(&run);
        let ended = self.world().provisioning.execute(&run).await;
        self.lift();
        self.ended(which, &run, &ended);
    }

    /// Tries a cleanup; as in the service, not during a run of the device.
    async fn clean_up(&mut self, which: usize) {
        if self.next_run(which).is_some() {
            return;
        }
        let name = HUBS[self.roll(2)];
        self.world().clock.advance(Duration::from_secs(self.roll(30) as u64));
        let scope = sample::scope(SCOPE);
        let instance = self.world().instance(SCOPE).await;
        let due =
            self.world().provisioning.cleanups_due(&instance, &sample::hub_name(name), 10).await.unwrap();
        let id = sample::registration_id(&self.devices[which].device.id);
        for cleanup in due.iter().filter(|cleanup| cleanup.registration_id == id) {
            self.curse_hub(name);
            if self.roll(4) == 0 {
                cut_off(self.world().provisioning.clean_up(&scope, cleanup, None)).await;
                self.lift();
                return self.crash().await;
            }
            self.world().provisioning.clean_up(&scope, cleanup, None).await.unwrap();
            self.lift();
        }
    }

    async fn clean_up_all(&self) {
        let (scope, page) = (sample::scope(SCOPE), PageRequest { after: None, limit: 1000 });
        for cleanup in self.world().store.cleanups(&scope, page).await.unwrap().items {
            let cleaned = self.world().provisioning.clean_up(&scope, &cleanup, None).await.unwrap();
            assert!(!matches!(cleaned, CleanupOutcome::Retry(..)), "{cleaned:?}");
        }
    }

    async fn cancel(&mut self, which: usize) {
        let instance = self.world().instance(SCOPE).await;
        let id = sample::registration_id(&self.devices[which].device.id);
        let cancelled =
            self.world().provisioning.cancel_registration(&instance, &sample::operator(), &id, None).await;
        assert!(matches!(&cancelled, Ok(_) | Err(Error::Invalid(_) | Error::NotFound(_))), "{cancelled:?}");
    }

    /// Deletes a registration without an assignment: an assigned device would stay at its hub unnoticed.
    async fn delete(&mut self, which: usize) {
        let id = self.devices[which].device.id.clone();
        let Some(record) = self.world().record(&id).await else { return };
        if record.assignment().is_none() {
            let instance = self.world().instance(SCOPE).await;
            let id = record.registration_id.clone();
            self.world()
                .provisioning
                .delete_registration(&instance, &sample::operator(), id, None)
                .await
                .unwrap();
        }
    }

    fn curse_hub(&self, name: &str) {
        let down = HubError::Unavailable("down".into());
        match self.roll(6) {
            0 => self.world().hub(name).fail_next(Failure::Before(down)),
            1 => self.world().hub(name).fail_next(Failure::After(down)),
            _ => {}
        }
    }

    /// Lets the run's hub and the old hub of its device fail, or not.
    fn curse(&self, run: &AssignmentRun) {
        if let Some(from) = run.registration.assignment() {
            self.curse_hub(from.hub.as_str());
        }
        let (hub, device) = target(&run.registration);
        let hub = self.world().hub(&hub);
        let down = HubError::Unavailable("down".into());
        match self.roll(8) {
            0 => hub.fail_next(Failure::Before(down)),
            1 | 2 => hub.fail_next(Failure::After(down)),
            // A hub that has accepted a device does not refuse it later.
            3 if hub.device(&device).is_none() => {
                hub.fail_next(Failure::Before(HubError::Refused("quota".into())));
            }
            _ => {}
        }
    }

    fn lift(&self) {
        HUBS.iter().for_each(|name| self.world().hub(name).clear_failures());
    }

    fn ended(&mut self, which: usize, run: &AssignmentRun, ended: &RunOutcome) {
        if matches!(ended, RunOutcome::Retry(_)) {
            return;
        }
        let done = self.runs.get_mut(&which).unwrap().pop_front().unwrap();
        let RunOutcome::Registration(registration) = ended else { return };
        let Status::Assigned(place) = &registration.status else { return };
        if registration.operation_id == run.registration.operation_id {
            self.acknowledged += 1;
            let at_hub = self.world().hub(place.hub.as_str()).device(&place.device_id).unwrap();
            let with = done.keys.map(keys);
            assert!(
                with.is_none_or(|keys| keys == at_hub.credentials),
                "a device is told and cannot connect"
            );
        }
    }

    /// Polls; as in the service, a poll resumes a run that is not in memory.
    async fn poll(&mut self, which: usize) {
        let device = self.devices[which].device.clone();
        let Some(record) = self.world().record(&device.id).await else { return };
        let polled = self.world().poll(&device, &record.operation_id).await.unwrap();
        assert_eq!(polled, record);
        if let Some(run) = AssignmentRun::from_store(&sample::scope(SCOPE), &polled) {
            self.queue(which, Queued { run, keys: None });
        }
    }

    /// The operator changes the enrollment; the device follows at once.
    async fn operate(&mut self, which: usize, change: impl FnOnce(&mut Operated, u8)) {
        let dice = u8::try_from(self.roll(3)).unwrap();
        let operated = &mut self.devices[which];
        change(operated, dice);
        operated.device.key = sample::key(operated.keys + 1);
        let mut enrollment = with_keys(&operated.device.id, operated.keys);
        enrollment.settings.reprovision_policy = operated.policy;
        if operated.disabled {
            disable(&mut enrollment.settings);
        }
        self.world().enroll(enrollment).await;
    }

    async fn shift_weights(&self) {
        let weights = [self.roll(1000), self.roll(1000)];
        let shift = |instance: &mut model::Instance| {
            for (hub, weight) in instance.linked_hubs.iter_mut().zip(weights) {
                hub.weight = AllocationWeight::new(u16::try_from(weight).unwrap() + 1).unwrap();
            }
        };
        self.world().change_instance(shift).await;
    }

    async fn crash_while_registering(&mut self, which: usize) {
        cut_off(self.world().begin(&self.devices[which].device)).await;
        self.crash().await;
    }

    async fn crash_while_executing(&mut self, which: usize) {
        if let Some(run) = self.next_run(which) {
            self.curse(&run);
            let ended = cut_off(self.world().provisioning.execute(&run)).await;
            self.lift();
            match ended {
                Some(ended) => self.ended(which, &run, &ended),
                None => self.unknown += 1,
            }
        }
        self.crash().await;
    }

    /// Loses the runs in memory, and resumes those on disk.
    async fn crash(&mut self) {
        self.runs.clear();
        let world = self.world.take().unwrap().restarted().await;
        let found = world.unfinished(usize::MAX).await;
        self.world = Some(world);
        for run in found {
            let id = run.registration.registration_id.as_str();
            let which = self.devices.iter().position(|operated| operated.device.id == id).unwrap();
            self.queue(which, Queued { run, keys: None });
        }
    }

    async fn check(&self, when: &str) {
        for operated in &self.devices {
            let id = DeviceId::parse(&operated.device.id).unwrap();
            let record = self.world().record(&operated.device.id).await;
            let mut hubs = self.world().hubs.hubs_with(&id);
            let leaving = self.hubs_to_clean(&id).await;
            hubs.retain(|hub| !leaving.contains(hub));
            let homes = record.as_ref().map(possible_hubs).unwrap_or_default();
            assert!(hubs.iter().all(|hub| homes.contains(hub)), "{when}: {id} is on {hubs:?}, {record:?}");
            assert!(leaving.iter().all(|hub| !homes.contains(hub)), "{when}: {leaving:?}, {record:?}");
            if let Some(registration) = record {
                self.check_assigned(when, &registration);
            }
        }
        let (first, again) = self.world().counted(SCOPE).await;
        let possible = self.acknowledged..=self.acknowledged + self.unknown;
        assert!(
            possible.contains(&(first + again)),
            "{when}: counted {first} and {again}, expected {possible:?}"
        );
    }

    /// Returns the hubs with a pending cleanup of a device.
    async fn hubs_to_clean(&self, id: &DeviceId) -> Vec<HubName> {
        let page = PageRequest { after: None, limit: 1000 };
        let cleanups = self.world().store.cleanups(&sample::scope(SCOPE), page).await.unwrap().items;
        let places = cleanups.into_iter().map(|cleanup| cleanup.residue.hub_device);
        places.filter(|place| place.device_id == *id).map(|place| place.hub).collect()
    }

    /// Checks that an assigned device is at its hub as its registration says.
    fn check_assigned(&self, when: &str, registration: &Registration) {
        let Status::Assigned(assignment) = &registration.status else { return };
        let device = self.world().hub(assignment.hub.as_str()).device(&assignment.device_id);
        let Some(device) = device else { panic!("{when}: {registration:?} is not at its hub") };
        assert_eq!(device.twin, sample::twin(), "{when}");
        let spec = DeviceSpec {
            hub: assignment.hub.clone(),
            device_id: assignment.device_id.clone(),
            substatus: Substatus::InitialAssignment,
            credentials: device.credentials,
            iot_edge: device.iot_edge,
            twin: TwinSpec::Keep { initial: InitialTwin::default() },
            sent: Vec::new(),
            existing: Default::default(),
        };
        assert_eq!(spec.digest(), assignment.spec, "{when}: other credentials than the record says");
    }

    /// Lets the hubs recover, enables everything, and registers every device once more; twice if a run was under way.
    async fn settle(&mut self, when: &str) {
        for which in 0..DEVICES {
            self.operate(which, |operated, _| operated.disabled = false).await;
            for _ in 0..2 {
                self.register(which).await;
                while let Some(run) = self.next_run(which) {
                    let ended = self.world().provisioning.execute(&run).await;
                    assert!(!matches!(ended, RunOutcome::Retry(_)), "{when}: {ended:?}");
                    self.ended(which, &run, &ended);
                }
            }
        }
        // An operator confirms the cleanups of devices whose generation no hub answered.
        self.world()
            .provisioning
            .confirm_cleanups(&*self.world().instance(SCOPE).await, &sample::operator())
            .await
            .unwrap();
        // Not earlier, for no run may be under way.
        self.clean_up_all().await;
        for which in 0..DEVICES {
            let (device, number) = (&self.devices[which].device, self.devices[which].keys);
            let place = assigned(&self.world().record(&device.id).await.unwrap());
            let at_hub = self.world().hub(place.hub.as_str()).device(&place.device_id).unwrap();
            assert_eq!(at_hub.credentials, keys(number), "{when}");
            assert_eq!(self.world().hubs.hubs_with(&place.device_id), [place.hub], "{when}: on no other hub");
        }
        self.check(&format!("{when}, at the end")).await;
    }
}

/// Returns the hubs where a device may be by its registration: the current one, and the one that it moves to.
fn possible_hubs(registration: &Registration) -> Vec<HubName> {
    let lives = registration.assignment().map(|at| at.hub.clone());
    let bound_for = match &registration.status {
        Status::Assigning { step, .. } => step.spec().map(|spec| spec.hub.clone()),
        _ => None,
    };
    lives.into_iter().chain(bound_for).collect()
}

/// The policies stay, migrate and reset.
const POLICIES: [Option<ReprovisionPolicy>; 3] = [
    Some(ReprovisionPolicy::Stay { migrate_device_data: true }),
    Some(ReprovisionPolicy::Migrate),
    Some(ReprovisionPolicy::Reset),
];

/// Returns the hub of a run, and the device ID there.
fn target(registration: &Registration) -> (String, DeviceId) {
    match &registration.status {
        Status::Assigning { step, .. } => {
            let spec = step.spec().unwrap();
            (spec.hub.to_string(), spec.device_id.clone())
        }
        Status::Assigned(assignment) => (assignment.hub.to_string(), assignment.device_id.clone()),
        other => panic!("{other:?}"),
    }
}

/// Polls a future up to its first wait, mostly for the disk; `None` if that was not its end.
pub async fn cut_off<T: Debug>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
