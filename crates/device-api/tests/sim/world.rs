//! Everything that outlives the process: the disk, the hubs, the time, and what is written down about all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use durable::Epoch;
use model::{
    AllocationPolicy, AllocationWeight, CustomAllocation, DeviceId, EnrollmentGroup, EnrollmentGroupId,
    EnrollmentSettings, GroupAttestation, HubName, IdScope, InitialTwin, Instance, LeaseToken, LinkedHub,
    OperationId, ProvisioningStatus, Registration, RegistrationId, StatusKind, SymmetricKey, Timestamp,
    TwinCollection,
};
use provisioning::ports::{Change, Commit, Expect, Outcome, Store};
use serde_json::json;
use tempfile::TempDir;
use testkit::{clock::SteppedClock, hub::FakeHubs, sample};
use tokio::time::Instant;

use crate::{
    database::Database,
    deployment::Deployment,
    dice::Dice,
    figures::Figures,
    finish::finish,
    hostility::Individual,
    intruder::Prey,
    lane::LaneRow,
    process::Process,
    rivals,
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
    pub deployment: Deployment,
    pub dice: Dice,
    pub weather: Weather,
    pub flaw: Flaw,
    pub hubs: FakeHubs,
    began: Instant,
    /// Follows the virtual time: the store looks at it on a thread where time is real.
    pub lease_clock: Arc<SteppedClock>,
    notes: Mutex<Notes>,
    /// A restore puts another one in its place.
    database: Mutex<Database>,
    /// The rows of the lanes in the database, by the number of the process.
    lanes: Mutex<BTreeMap<u64, LaneRow>>,
    /// What the file outside of that folder says.
    mark: Mutex<Epoch>,
    folders: AtomicU64,
    /// The calls of hubs by assignment runs: of which process, and for which device.
    calls: Mutex<Vec<(Arc<Process>, String)>>,
    directory: TempDir,
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
    /// How many versions of enrollments there were.
    versions: u64,
    /// When groups that were deleted came back.
    returned: BTreeMap<String, Duration>,
    /// Registrations as they were last written.
    pub written: BTreeMap<RegistrationId, Registration>,
    /// Registrations whose runs ended without an assignment although the hub may have been told: their devices may have begun
    /// anew.
    pub in_doubt: BTreeSet<RegistrationId>,
    /// Devices at hubs that other clients of the hub made.
    pub foreign: BTreeSet<(HubName, u64)>,
    /// Devices at hubs that the service made, took over, or looked at to move them.
    pub own: BTreeSet<(HubName, u64)>,
    /// Devices that an operator disabled at a hub.
    pub disabled: BTreeSet<DeviceId>,
    /// Individual enrollments of devices that groups let in.
    pub individuals: BTreeMap<RegistrationId, Individual>,
    /// Devices that ever had one.
    pub ever_individual: BTreeSet<RegistrationId>,
    /// The keys of the devices.
    pub keys: BTreeMap<RegistrationId, SymmetricKey>,
    /// How often an older state of the store was restored.
    pub restores: u64,
    /// Leases that another holder has taken over, or that were released.
    pub lost_leases: BTreeSet<LeaseToken>,
    /// Groups that were ever deleted.
    pub ever_deleted: BTreeSet<String>,
    /// Groups that let nothing in, and since when.
    pub refusing: BTreeMap<String, Duration>,
    /// How many commits were sent.
    transactions: u64,
    /// Assignment runs that have ended, each by the version that its registration had.
    pub ended_runs: BTreeSet<(RegistrationId, String)>,
    /// The outcomes of commits that took effect, by their numbers.
    pub effective: BTreeMap<u64, Vec<Outcome>>,
}

impl Notes {
    pub fn new_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    pub fn new_transaction(&mut self) -> u64 {
        self.transactions += 1;
        self.transactions
    }
}

impl World {
    pub async fn new(seed: u64, flaw: Flaw) -> Arc<World> {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let folder = directory.path().to_owned();
        let lease_clock = Arc::new(SteppedClock::default());
        let deployment = Deployment::of(seed);
        let database = match deployment {
            Deployment::Embedded => Database::open_file(folder, Arc::clone(&lease_clock) as _),
            Deployment::Cluster => Database::start_server(Arc::clone(&lease_clock) as _),
        };
        let world = Arc::new(World {
            seed,
            deployment,
            dice: Dice::new(seed),
            weather: Weather::default(),
            flaw,
            hubs: FakeHubs::new(HUBS.map(sample::hub_name)),
            began: Instant::now(),
            lease_clock,
            notes: Mutex::default(),
            database: Mutex::new(database),
            lanes: Mutex::default(),
            mark: Mutex::new(Epoch::first().unwrap()),
            folders: AtomicU64::new(0),
            calls: Mutex::default(),
            directory,
        });
        if deployment == Deployment::Embedded {
            let first = world.mark();
            world.put_mark(first);
        }
        let registrations = Prey::of(seed).rule(flaw);
        let failover = seed.is_multiple_of(2);
        let instance = Instance { failover, registrations, ..sample::instance(SCOPE) };
        world.put_instance(Instance { linked_hubs: world.links(|_| 1), ..instance });
        for (name, policy) in GROUPS {
            world.put_group(&world.group(name, policy));
        }
        rivals::enroll(&world);
        world
    }

    pub fn calls(&self) -> MutexGuard<'_, Vec<(Arc<Process>, String)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the leases of a process that has died, as its successor does when it opens the file.
    pub fn end_leases(&self) {
        for lease in finish(self.disk().leases()).unwrap() {
            finish(self.disk().release(lease.token)).unwrap();
        }
    }

    /// The store as it is now, through the handle of the world itself.
    pub fn disk(&self) -> Arc<dyn Store> {
        self.database.lock().unwrap().store()
    }

    /// Opens a handle on the store for a process.
    pub fn open_handle(&self) -> Arc<dyn Store> {
        self.database.lock().unwrap().open()
    }

    /// The rows of the lanes in the database.
    pub fn lanes(&self) -> MutexGuard<'_, BTreeMap<u64, LaneRow>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn group_on_disk(&self, id: &EnrollmentGroupId) -> Option<Arc<EnrollmentGroup>> {
        let configuration = finish(self.disk().configuration(&self.scope())).unwrap();
        configuration.group(id).unwrap().cloned()
    }

    /// The folder of the store.
    pub fn folder(&self) -> PathBuf {
        self.database.lock().unwrap().file().1.to_owned()
    }

    /// A folder that is empty.
    pub fn new_folder(&self) -> PathBuf {
        let folder = self.directory.path().join(self.folders.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    /// Goes on with the store in this folder.
    pub fn open(&self, folder: PathBuf) {
        *self.database.lock().unwrap() = Database::open_file(folder, Arc::clone(&self.lease_clock) as _);
    }

    /// The mark in the file of the store.
    pub fn stored_mark(&self) -> Option<Epoch> {
        self.database.lock().unwrap().file().0.epoch().unwrap()
    }

    /// The mark beside the store.
    pub fn mark(&self) -> Epoch {
        self.mark.lock().unwrap().clone()
    }

    /// Marks the store, in it and beside it.
    pub fn put_mark(&self, epoch: Epoch) {
        finish(self.database.lock().unwrap().file().0.put_epoch(&epoch)).unwrap();
        *self.mark.lock().unwrap() = epoch;
    }

    /// Writes a change, as an operator.
    pub fn put(&self, change: Change) {
        let changes = vec![(Expect::Anything, change)];
        finish(self.disk().commit(&self.scope(), Commit { changes, ..Commit::by(sample::by()) })).unwrap();
    }

    /// Whether a group is there, and was there all this time.
    pub fn has_had(&self, group: &EnrollmentGroupId, time: Duration) -> bool {
        let is_there = self.group_on_disk(group).is_some();
        let returned = self.notes().returned.get(group.as_str()).copied();
        is_there && returned.is_none_or(|returned| returned + time < self.elapsed())
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
        finish(self.disk().instance(&self.scope())).unwrap().unwrap()
    }

    pub fn put_instance(&self, instance: Instance) {
        finish(self.disk().put_instance(instance, sample::by())).unwrap();
    }

    /// A group as it is, or was when it was deleted.
    pub fn stored_group(&self, name: &str) -> EnrollmentGroup {
        if let Some(deleted) = self.notes().deleted.get(name) {
            return deleted.clone();
        }
        let group = self.group_on_disk(&sample::group_id(name)).unwrap();
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
        let name = group.group_id.as_str().to_owned();
        self.put(Change::PutGroup(Box::new(group)));
        self.note_refusal(&name);
    }

    /// Writes down since when a group lets nothing in.
    pub fn note_refusal(&self, name: &str) {
        let (refusal, now) = (self.refuses(&sample::group_id(name)), self.elapsed());
        let refusing = &mut self.notes().refusing;
        match refusal {
            Some(_) => drop(refusing.entry(name.to_owned()).or_insert(now)),
            None => drop(refusing.remove(name)),
        }
    }

    /// An operator deletes a group.
    pub fn delete_group(&self, name: &str) {
        let group = self.stored_group(name);
        let changes = vec![(Expect::Present, Change::DeleteGroup(group.group_id.clone()))];
        finish(self.disk().commit(&self.scope(), Commit { changes, ..Commit::by(sample::by()) })).unwrap();
        let mut notes = self.notes();
        notes.deleted.insert(name.to_owned(), group);
        notes.ever_deleted.insert(name.to_owned());
        drop(notes);
        self.note_refusal(name);
    }

    /// All groups that were deleted are there again.
    pub fn restore_groups(&self) {
        let deleted = std::mem::take(&mut self.notes().deleted);
        let now = self.elapsed();
        self.notes().returned.extend(deleted.keys().map(|name| (name.clone(), now)));
        deleted.values().for_each(|group| self.put_group(group));
    }

    /// A registration was removed: a device that has arrived stays at its hub.
    pub fn forget_registration(&self, removed: &Registration) {
        let mut notes = self.notes();
        notes.written.remove(&removed.registration_id);
        if let Some(at) = removed.assignment() {
            notes.disabled.remove(&at.device_id);
            notes.left_behind.insert((at.device_id.clone(), at.hub.clone()));
        }
    }

    /// Why no device arrives through this group, by what is on disk at this moment.
    pub fn refuses(&self, group: &EnrollmentGroupId) -> Option<&'static str> {
        match self.group_on_disk(group) {
            None => Some("deleted"),
            Some(group) if group.settings.provisioning_status == ProvisioningStatus::Disabled => {
                Some("disabled")
            }
            Some(_) => None,
        }
    }

    /// Why no device arrives through the individual enrollment of this ID, by what is on disk at this moment.
    pub fn refuses_individual(&self, id: &RegistrationId) -> Option<&'static str> {
        match finish(self.disk().individual(&self.scope(), id)).unwrap() {
            None => Some("deleted"),
            Some(it) if it.settings.provisioning_status == ProvisioningStatus::Disabled => Some("disabled"),
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

    /// Returns the operation of the device's assignment run, if its registration has one. A confirmation leaves the
    /// registration as it is.
    pub fn unfinished_run_of(&self, device: &str) -> Option<OperationId> {
        let notes = self.notes();
        let found = notes.written.values().find(|registration| {
            registration.hub_devices().1.is_some_and(|to| to.device_id.as_str() == device)
                || registration.registration_id.as_str() == device
        });
        let unfinished = found.filter(|registration| registration.status.kind() == StatusKind::Assigning);
        unfinished.map(|registration| registration.operation_id.clone())
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
        self.time_of(0)
    }

    /// The time by a clock that is this many seconds off.
    pub fn time_of(&self, skew_secs: i64) -> Timestamp {
        Timestamp::from_unix_seconds(BEGINNING + skew_secs).plus(self.elapsed())
    }
}
