//! Everything that outlives the process: the disk, the hubs, the time, and what is written down about all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use durable::Sealer;
use model::{
    AllocationPolicy, AllocationWeight, CustomAllocation, DeviceId, EnrollmentGroup, EnrollmentGroupId,
    EnrollmentSettings, GroupAttestation, HubName, IdScope, InitialTwin, Instance, LinkedHub,
    ProvisioningStatus, Timestamp, TwinCollection,
};
use provisioning::ports::{Change, Clock, Commit, Expect, Store};
use serde_json::json;
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::{hub::FakeHubs, sample};
use tokio::time::Instant;

use crate::{
    dice::Dice,
    figures::Figures,
    intruder::Prey,
    store::finish,
    weather::{Flaw, Weather},
};

pub const SCOPE: &str = "0ne00000001";
pub const HUBS: [&str; 3] = ["hub-1.example", "hub-2.example", "hub-3.example"];

/// The groups, one for each way to choose a hub.
pub const GROUPS: [(&str, AllocationPolicy); 3] = [
    ("static", AllocationPolicy::Static),
    ("hashed", AllocationPolicy::Hashed),
    ("custom", AllocationPolicy::Custom),
];

/// 2026-11-23T00:00:00Z.
const BEGINNING: i64 = 1_795_392_000;

pub struct World {
    pub seed: u64,
    pub dice: Dice,
    pub weather: Weather,
    pub flaw: Flaw,
    pub disk: EmbeddedStore,
    pub hubs: FakeHubs,
    began: Instant,
    notes: Mutex<Notes>,
    _directory: TempDir,
}

/// What is written down.
#[derive(Default)]
pub struct Notes {
    pub events: Vec<String>,
    pub violations: Vec<String>,
    pub figures: Figures,
    /// Twins that devices have ever been given to start with.
    pub starts: Vec<InitialTwin>,
    /// Devices that an operator left at a hub by deleting their registrations, as these stood at that commit: no clean-up
    /// is owed for them until they live there again.
    pub left_behind: BTreeSet<(DeviceId, HubName)>,
    /// When a registration was last counted.
    pub last_counted: Duration,
    /// Groups that an operator has deleted, as they were.
    pub deleted: BTreeMap<String, EnrollmentGroup>,
    /// How many versions of groups there were.
    versions: u64,
    /// Groups that were ever deleted.
    pub ever_deleted: BTreeSet<String>,
}

impl Notes {
    fn new_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }
}

impl World {
    pub async fn new(seed: u64, flaw: Flaw) -> Arc<World> {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let disk = EmbeddedStore::open(&directory.path().join("sim.db"), Sealer::from_key([7; 32])).unwrap();
        let world = Arc::new(World {
            seed,
            dice: Dice::new(seed),
            weather: Weather::default(),
            flaw,
            disk,
            hubs: FakeHubs::new(HUBS.map(sample::hub_name)),
            began: Instant::now(),
            notes: Mutex::default(),
            _directory: directory,
        });
        let registrations = Prey::of(seed).rule(flaw);
        let failover = seed.is_multiple_of(2);
        let instance = Instance { failover, registrations, ..sample::instance(SCOPE) };
        world.put_instance(Instance { linked_hubs: world.links(|_| 1), ..instance });
        for (name, policy) in GROUPS {
            world.put_group(&world.group(name, policy));
        }
        world
    }

    /// Links to all hubs, with these weights.
    pub fn links(&self, weight: impl Fn(usize) -> u16) -> Vec<LinkedHub> {
        let template = sample::instance(SCOPE).linked_hubs.swap_remove(0);
        let link = |(index, name): (usize, &&str)| LinkedHub {
            name: sample::hub_name(name),
            weight: AllocationWeight::new(weight(index)).unwrap(),
            takes_new_devices: true,
            ..template.clone()
        };
        HUBS.iter().enumerate().map(link).collect()
    }

    fn group(&self, name: &str, policy: AllocationPolicy) -> EnrollmentGroup {
        let custom = CustomAllocation {
            webhook_url: "https://webhook.example/".to_owned(),
            api_version: "2021-10-01".to_owned(),
        };
        let settings = EnrollmentSettings {
            initial_twin: Some(self.new_start()),
            allocation_policy: Some(policy),
            hubs: if policy == AllocationPolicy::Static {
                vec![sample::hub_name(HUBS[0])]
            } else {
                Vec::new()
            },
            custom_allocation: (policy == AllocationPolicy::Custom).then_some(custom),
            ..EnrollmentSettings::default()
        };
        let key_number = 20 + 2 * GROUPS.iter().position(|(known, _)| *known == name).unwrap() as u8;
        let attestation = GroupAttestation::SymmetricKey(sample::keys(key_number));
        EnrollmentGroup { attestation, settings, ..sample::group(name) }
    }

    /// A twin to start with that no device was given before.
    pub fn new_start(&self) -> InitialTwin {
        let mut notes = self.notes();
        let desired = json!({"version": notes.starts.len()}).as_object().cloned().unwrap();
        let start = InitialTwin { tags: None, desired: Some(TwinCollection::from(desired)) };
        notes.starts.push(start.clone());
        start
    }

    pub fn scope(&self) -> IdScope {
        sample::scope(SCOPE)
    }

    pub fn instance(&self) -> Arc<Instance> {
        finish(self.disk.instance(&self.scope())).unwrap().unwrap()
    }

    pub fn put_instance(&self, instance: Instance) {
        finish(self.disk.put_instance(instance)).unwrap();
    }

    /// A group as it is, or was when it was deleted.
    pub fn stored_group(&self, name: &str) -> EnrollmentGroup {
        if let Some(deleted) = self.notes().deleted.get(name) {
            return deleted.clone();
        }
        let group = finish(self.disk.group(&self.scope(), &sample::group_id(name))).unwrap().unwrap();
        EnrollmentGroup::clone(&group)
    }

    /// Changes a group; one that is deleted is as it is put when it comes back.
    pub fn put_group(&self, group: &EnrollmentGroup) {
        if let Some(deleted) = self.notes().deleted.get_mut(group.group_id.as_str()) {
            *deleted = group.clone();
            return;
        }
        // As with every write of the service, it has another version afterwards.
        let mut group = group.clone();
        group.record.etag = sample::etag(&self.notes().new_version().to_string());
        let changes = vec![(Expect::Anything, Change::PutGroup(Box::new(group)))];
        finish(self.disk.commit(&self.scope(), Commit { changes, ..Commit::default() })).unwrap();
    }

    /// An operator deletes a group.
    pub fn delete_group(&self, name: &str) {
        let group = self.stored_group(name);
        let changes = vec![(Expect::Present, Change::DeleteGroup(group.group_id.clone()))];
        finish(self.disk.commit(&self.scope(), Commit { changes, ..Commit::default() })).unwrap();
        let mut notes = self.notes();
        notes.deleted.insert(name.to_owned(), group);
        notes.ever_deleted.insert(name.to_owned());
    }

    /// All groups that were deleted are there again.
    pub fn restore_groups(&self) {
        let deleted = std::mem::take(&mut self.notes().deleted);
        deleted.values().for_each(|group| self.put_group(group));
    }

    /// Why no device arrives through this group, by what is on disk at this moment.
    pub fn refuses(&self, group: &EnrollmentGroupId) -> Option<&'static str> {
        match finish(self.disk.group(&self.scope(), group)).unwrap() {
            None => Some("deleted"),
            Some(group) if group.settings.provisioning_status == ProvisioningStatus::Disabled => {
                Some("disabled")
            }
            Some(_) => None,
        }
    }

    /// Hubs that have this device.
    pub fn hubs_with(&self, device: &DeviceId) -> Vec<HubName> {
        self.hubs.hubs_with(device)
    }

    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what happened.
    pub fn note(&self, event: impl Display) {
        let line = format!("{:10.3} {event}", self.elapsed().as_secs_f64());
        self.notes().events.push(line);
    }

    /// Writes down what must not be.
    pub fn violated(&self, what: impl Display) {
        self.note(format_args!("VIOLATION {what}"));
        self.notes().violations.push(what.to_string());
    }

    pub fn count(&self, count: impl FnOnce(&mut Figures)) {
        count(&mut self.notes().figures);
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(BEGINNING).plus(self.elapsed())
    }
}

/// The virtual time, as a clock.
pub struct WorldClock(pub Arc<World>);

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}
