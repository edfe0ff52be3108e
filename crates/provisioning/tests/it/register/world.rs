//! A service with its store on disk, hubs that fail on command, and devices that register.

use std::sync::Arc;

use model::{
    Assignment, Day, EnrollmentGroup, EnrollmentSettings, GroupAttestation, HubCredentials,
    IndividualAttestation, IndividualEnrollment, Instance, LinkedHub, OperationId, OperationKind,
    ProvisioningStatus, Registration, RegistrationId, ReprovisionPolicy, Status, SymmetricKey,
};
use provisioning::{
    Error, Ports, Provisioning,
    attest::Evidence,
    ports::{Change, Commit, DeviceRecords, Expect, PageRequest, Store, Unknown},
    register::{
        AssignmentRun, DefaultReprovision, RegisterOutcome, RegisterRequest, ResumeOutcome, RunOutcome,
    },
};
use testkit::{
    clock::SteppedClock,
    entropy::SeededEntropy,
    hub::{FakeHub, FakeHubs},
    sample,
    webhook::FakeWebhook,
};

use super::{records::Records, token::Token};

pub const SCOPE: &str = "0ne00000001";
pub const OTHER_SCOPE: &str = "0ne00000002";
pub const HUBS: [&str; 3] = ["hub-1.example", "hub-2.example", "hub-3.example"];

/// Two instances, both linked to the first two hubs.
pub struct World {
    pub store: Arc<dyn Store>,
    pub hubs: Arc<FakeHubs>,
    pub clock: Arc<SteppedClock>,
    pub entropy: Arc<SeededEntropy>,
    pub webhook: Arc<FakeWebhook>,
    pub provisioning: Arc<Provisioning>,
    records: Records,
}

/// A device with a key of its own.
#[derive(Clone)]
pub struct Device {
    pub scope: String,
    pub id: String,
    pub key: SymmetricKey,
}

impl World {
    /// Opens a service on the store that `MUSTER_TEST_STORE` names.
    pub async fn new() -> World {
        World::on(Records::new().await).await
    }

    /// Opens a service on a file, whatever `MUSTER_TEST_STORE` says: for tests of the file.
    pub async fn in_file() -> World {
        World::on(Records::in_file()).await
    }

    async fn on(records: Records) -> World {
        let hubs = FakeHubs::new(HUBS.map(sample::hub_name));
        let parts = (Arc::new(hubs), Arc::default(), Arc::new(SeededEntropy::new(1)));
        let world = World::over(records, parts);
        for scope in [SCOPE, OTHER_SCOPE] {
            let linked_hubs = HUBS[..2].iter().map(|name| linked(name)).collect();
            let number = scope.as_bytes()[scope.len() - 1];
            let instance = Instance {
                linked_hubs,
                operation_key: sample::key(number),
                managed: model::ManagedBy::Operators,
                ..sample::instance(scope)
            };
            world.store.put_instance(instance, sample::by()).await.unwrap();
        }
        world
    }

    fn over(
        records: Records,
        (hubs, clock, entropy): (Arc<FakeHubs>, Arc<SteppedClock>, Arc<SeededEntropy>),
    ) -> World {
        let (webhook, store) = (Arc::new(FakeWebhook::default()), records.store());
        let provisioning = Provisioning::new(Ports {
            store: store.clone(),
            hubs: hubs.clone(),
            webhook: webhook.clone(),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        World { store, hubs, clock, entropy, webhook, provisioning: Arc::new(provisioning), records }
    }

    /// Opens a second process on the same store.
    pub async fn beside(&self) -> World {
        let parts = (Arc::clone(&self.hubs), Arc::clone(&self.clock), Arc::clone(&self.entropy));
        World::over(self.records.beside().await, parts)
    }

    /// Closes the file of the store while the service runs.
    pub async fn close_file(&self) {
        self.records.close_file().await;
    }

    /// Restarts the service. The hubs keep running.
    pub async fn restarted(self) -> World {
        self.restarted_after(|_| ()).await
    }

    /// Restarts the service after something happened to its closed file, if it has one.
    pub async fn restarted_after(self, happens: impl FnOnce(&std::path::Path)) -> World {
        let World { store, hubs, clock, entropy, webhook: _, provisioning, records } = self;
        drop((store, provisioning));
        World::over(records.reopened_after(happens).await, (hubs, clock, entropy))
    }

    pub async fn instance(&self, scope: &str) -> Arc<Instance> {
        self.store.instance(&sample::scope(scope)).await.unwrap().unwrap()
    }

    /// Returns what is stored of a device.
    pub async fn stored(&self, scope: &str, id: &str) -> DeviceRecords {
        let (scope, id) = (sample::scope(scope), RegistrationId::parse(id).unwrap());
        self.provisioning.device(&scope, &id).await.unwrap().unwrap()
    }

    pub async fn change_instance(&self, change: impl FnOnce(&mut Instance)) {
        let mut instance = Instance::clone(&*self.instance(SCOPE).await);
        change(&mut instance);
        self.store.put_instance(instance, sample::by()).await.unwrap();
    }

    /// Links only these hubs, with equal weights.
    pub async fn link(&self, names: &[&str]) {
        self.change_instance(|instance| {
            instance.linked_hubs = names.iter().map(|name| linked(name)).collect();
        })
        .await;
    }

    pub fn hub(&self, name: &str) -> Arc<FakeHub> {
        self.hubs.hub(&sample::hub_name(name)).unwrap()
    }

    /// Returns how many calls all hubs got.
    pub fn calls(&self) -> usize {
        HUBS.iter().map(|name| self.hub(name).calls().len()).sum()
    }

    async fn write(&self, scope: &str, change: Change) {
        let commit = Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(sample::by()) };
        self.store.commit(&sample::scope(scope), commit).await.unwrap();
    }

    pub async fn enroll(&self, enrollment: IndividualEnrollment) {
        self.write(SCOPE, Change::PutIndividual(Box::new(enrollment))).await;
    }

    /// Deletes an individual enrollment, as an operator.
    pub async fn delete_enrollment(&self, id: &str) {
        let (instance, id) = (self.instance(SCOPE).await, sample::registration_id(id));
        let deleted = self
            .provisioning
            .delete_enrollment::<IndividualEnrollment>(&instance, &sample::operator(), id, None)
            .await;
        deleted.unwrap();
    }

    pub async fn enroll_group(&self, group: EnrollmentGroup) {
        self.write(SCOPE, Change::PutGroup(Box::new(group))).await;
    }

    pub async fn enroll_in(&self, scope: &str, change: Change) {
        self.write(scope, change).await;
    }

    pub async fn delete_registration(&self, id: &str) {
        self.write(SCOPE, Change::DeleteRegistration(sample::registration_id(id))).await;
    }

    /// Enrolls a new device individually, with the sample key and twin.
    pub async fn device(&self, id: &str) -> Device {
        self.enroll(individual(id)).await;
        Device { scope: SCOPE.into(), id: id.into(), key: sample::key(10) }
    }

    pub async fn begin_with(
        &self,
        scope: &str,
        id: &str,
        evidence: Evidence,
    ) -> Result<RegisterOutcome, Error> {
        let request = RegisterRequest {
            evidence,
            payload: None,
            address: None,
            default_reprovision: DefaultReprovision::Migrate,
            runner: None,
        };
        self.provisioning.begin(self.stored(scope, id).await, &request).await
    }

    /// Returns the unfinished runs of all instances, as they are resumed after a start.
    pub async fn unfinished(&self, at_most: usize) -> Vec<AssignmentRun> {
        let mut runs = Vec::new();
        for instance in self.provisioning.instances().await.unwrap() {
            let page = PageRequest { after: None, limit: 1000 };
            for waiting in self.provisioning.unfinished_runs(&instance.id_scope, page).await.unwrap().items {
                match self.provisioning.resume(&waiting, None).await.unwrap() {
                    ResumeOutcome::Running(run) => runs.push(*run),
                    ResumeOutcome::Ended(ended) => panic!("nothing was at work on it: {ended:?}"),
                }
            }
        }
        runs.truncate(at_most);
        runs
    }

    pub async fn begin(&self, device: &Device) -> RegisterOutcome {
        self.begin_with(&device.scope, &device.id, device.evidence()).await.unwrap()
    }

    /// Begins a registration that must call a hub.
    pub async fn run(&self, device: &Device) -> AssignmentRun {
        match self.begin(device).await {
            RegisterOutcome::Running(run) => *run,
            other => panic!("it does not run: {other:?}"),
        }
    }

    /// Registers once, without retries.
    pub async fn register(&self, device: &Device) -> Registration {
        match self.begin(device).await {
            RegisterOutcome::Settled(registration) => *registration,
            RegisterOutcome::Running(run) => self.finish(&run).await,
            RegisterOutcome::Challenged(_) => panic!("a challenge"),
        }
    }

    /// Executes a run, which must end at once with a registration.
    pub async fn finish(&self, run: &AssignmentRun) -> Registration {
        match self.provisioning.execute(run).await {
            RunOutcome::Registration(registration) => *registration,
            other => panic!("{other:?}"),
        }
    }

    pub async fn record(&self, id: &str) -> Option<Registration> {
        let id = sample::registration_id(id);
        self.store.registration(&sample::scope(SCOPE), &id).await.unwrap()
    }

    pub async fn poll(&self, device: &Device, operation_id: &OperationId) -> Result<Registration, Error> {
        let stored = self.stored(&device.scope, &device.id).await;
        self.provisioning.poll(&stored, operation_id, &device.evidence()).await
    }

    pub async fn look_up(&self, device: &Device) -> Result<Registration, Error> {
        let stored = self.stored(&device.scope, &device.id).await;
        self.provisioning.look_up(&stored, &device.evidence()).await
    }

    /// Returns how many first registrations, and how many later ones, were counted.
    pub async fn counted(&self, scope: &str) -> (u64, u64) {
        let all = (Day::from_number(0), Day::from_number(100_000));
        let rows = self.store.usage(&sample::scope(scope), all.0, all.1).await.unwrap();
        let of = |kind| rows.iter().filter(|row| row.kind == kind).map(|row| row.count).sum();
        (of(OperationKind::Registration), of(OperationKind::Reregistration))
    }

    /// Checks that the device is at the hub of its registration and at no other, with these credentials and the enrollment's twin,
    /// which was initialized this many times.
    pub fn check_at_hub(&self, registration: &Registration, credentials: &HubCredentials, seeds: u32) {
        let Assignment { hub, device_id, .. } = assigned(registration);
        assert_eq!(self.hubs.hubs_with(&device_id), std::slice::from_ref(&hub));
        let device = self.hub(hub.as_str()).device(&device_id).unwrap();
        assert_eq!(device.credentials, *credentials);
        assert_eq!((device.twin, device.seeds), (sample::twin(), seeds));
    }
}

impl Device {
    pub fn evidence(&self) -> Evidence {
        Token::new(&format!("{}/registrations/{}", self.scope, self.id), &self.key).evidence()
    }

    pub fn with_key(&self, key: SymmetricKey) -> Device {
        Device { key, ..self.clone() }
    }

    pub fn called(&self, id: &str) -> Device {
        Device { id: id.into(), ..self.clone() }
    }
}

/// Returns an enabled individual enrollment with `sample::keys(10)`, which names no hub or device ID.
pub fn individual(id: &str) -> IndividualEnrollment {
    IndividualEnrollment { device_id: None, settings: settings(), ..sample::individual(id) }
}

/// Returns such an enrollment with other keys.
pub fn with_keys(id: &str, number: u8) -> IndividualEnrollment {
    let attestation = IndividualAttestation::SymmetricKey(sample::keys(number));
    IndividualEnrollment { attestation, ..individual(id) }
}

/// Returns an enabled group with `sample::keys(20)`.
pub fn group(id: &str) -> EnrollmentGroup {
    EnrollmentGroup { settings: settings(), ..sample::group(id) }
}

/// Returns a group with another attestation.
pub fn group_by(id: &str, attestation: GroupAttestation) -> EnrollmentGroup {
    EnrollmentGroup { attestation, ..group(id) }
}

pub fn disable(settings: &mut EnrollmentSettings) {
    settings.provisioning_status = ProvisioningStatus::Disabled;
}

/// Returns settings by which devices stay at their hubs.
fn settings() -> EnrollmentSettings {
    let stays = ReprovisionPolicy::Stay { migrate_device_data: false };
    EnrollmentSettings {
        initial_twin: Some(sample::twin()),
        reprovision_policy: Some(stays),
        ..EnrollmentSettings::default()
    }
}

/// Returns a hub that takes new devices.
pub fn linked(name: &str) -> LinkedHub {
    let mut hubs = sample::instance(SCOPE).linked_hubs;
    LinkedHub { name: sample::hub_name(name), ..hubs.swap_remove(0) }
}

pub fn assigned(registration: &Registration) -> Assignment {
    match &registration.status {
        Status::Assigned(assignment) => assignment.clone(),
        other => panic!("{other:?}"),
    }
}

/// Returns the keys with this number as hub credentials.
pub fn keys(number: u8) -> HubCredentials {
    HubCredentials::SymmetricKeys(sample::keys(number))
}
