//! Moves against the service: operators of hubs who disable devices and make them anew, and operators of the service who
//! enroll a device individually that belongs to a group, to take it over or to block it.

use std::time::Duration;

use model::{
    Assignment, DeviceId, EnrollmentSettings, HubName, IndividualAttestation, IndividualEnrollment,
    ProvisioningStatus, RegistrationId, Status, SymmetricKey, SymmetricKeyPair,
};
use provisioning::{
    enroll::ends_with_individual,
    ports::{Change, PageRequest},
};
use testkit::sample;

use crate::{
    finish::finish,
    nodes::Nodes,
    world::{HUBS, World},
};

/// An individual enrollment that was made for a device of a group.
#[derive(Debug, Clone)]
pub struct Individual {
    /// Since when it is there.
    pub since: Duration,
    /// What the device must hold.
    key: SymmetricKey,
    /// Whether it lets nothing in.
    blocks: bool,
}

impl Individual {
    /// Whether a device with this key is let in, by this enrollment alone.
    pub fn admits(&self, key: &SymmetricKey) -> bool {
        !self.blocks && self.key == *key
    }
}

/// The keys of individual enrollments that are not those of their devices.
const OTHER_KEYS: u8 = 100;

/// Makes a move.
pub async fn strike(service: &Nodes, id: &RegistrationId) {
    let world = &service.world;
    match world.dice.roll(8) {
        0 | 1 => make_anew(world, id),
        2 | 3 => make_a_cleanup_anew(world),
        4 | 5 => disable_at_hub(world, id),
        6 => enroll_individually(world, id),
        _ => confirm(service).await,
    }
}

/// A device is deleted at a hub and made anew, with all that it had.
fn make_anew(world: &World, id: &RegistrationId) {
    let name = *world.dice.pick(&HUBS);
    let hub = sample::hub_name(name);
    recreate(world, &hub, &DeviceId::from(id));
}

/// One that is to be removed, if there is one.
fn make_a_cleanup_anew(world: &World) {
    let page = PageRequest { after: None, limit: 10 };
    let owed = finish(world.disk().cleanups(&world.scope(), page)).unwrap().items;
    if let Some(cleanup) = owed.first() {
        let place = &cleanup.residue.hub_device;
        recreate(world, &place.hub, &place.device_id);
    }
}

fn recreate(world: &World, name: &HubName, device: &DeviceId) {
    let hub = world.hubs.hub(name).unwrap();
    hub.recreate(device);
    if let Some(made) = hub.device(device) {
        world.note(format_args!("{name}: {device} is deleted and made anew"));
        world.notes().foreign.insert((name.clone(), made.generation));
    }
}

/// Or enables it again. Only of a device that has arrived: one that is on its way was looked at before.
fn disable_at_hub(world: &World, id: &RegistrationId) {
    let found = finish(world.disk().registration(&world.scope(), id)).unwrap();
    let Some(Status::Assigned(at)) = found.map(|found| found.status) else { return };
    if world.instance().linked_hub(&at.hub).is_none() {
        return;
    }
    let hub = world.hubs.hub(&at.hub).unwrap();
    let Some(device) = hub.device(&at.device_id) else { return };
    let disabled = device.disabled.is_none().then(|| "stolen".to_owned());
    world.note(format_args!("{}: {id} is disabled: {}", at.hub, disabled.is_some()));
    match disabled {
        Some(_) => world.notes().disabled.insert(at.device_id.clone()),
        None => world.notes().disabled.remove(&at.device_id),
    };
    // Any write of an identity gives it another version.
    hub.change(&at.device_id, |device| {
        (device.disabled, device.version) = (disabled, device.version + 1_000_000);
    });
}

/// What is disabled at a hub stays disabled, whatever the service tells it.
pub fn watch_disabled(world: &World, hub: &HubName, device: &DeviceId) {
    let is_disabled = world.notes().disabled.contains(device);
    let there = world.hubs.hub(hub).and_then(|hub| hub.device(device));
    if is_disabled && there.is_some_and(|there| there.disabled.is_none()) {
        world.violated(format_args!("{device} was disabled, and {hub} has it enabled"));
    }
}

/// A hub that is unlinked is given up, and so is what it knows of its devices.
pub fn give_up(world: &World, hub: &HubName) {
    let there = world.hubs.hub(hub).unwrap().devices();
    world.notes().disabled.retain(|device| !there.contains_key(device));
}

/// The same for a device that arrives at a hub after that was unlinked.
pub fn watch_arrival(world: &World, at: &Assignment) {
    if world.instance().linked_hub(&at.hub).is_none() {
        world.notes().disabled.remove(&at.device_id);
    }
}

/// An individual enrollment for a device that a group lets in: with its own key, with another one, or disabled. Or it is
/// deleted again.
fn enroll_individually(world: &World, id: &RegistrationId) {
    if world.notes().individuals.contains_key(id) {
        return delete_individual(world, id);
    }
    let own = world.notes().keys.get(id).cloned().unwrap();
    let (key, blocks) = match world.dice.roll(3) {
        0 => (own, false),
        1 => (sample::key(OTHER_KEYS), false),
        _ => (own, true),
    };
    world.note(format_args!("operator: enrolls {id} individually; blocks it: {blocks}"));
    let pair = SymmetricKeyPair { primary: key.clone(), secondary: sample::key(OTHER_KEYS + 1) };
    let mut enrollment = IndividualEnrollment {
        attestation: IndividualAttestation::SymmetricKey(pair),
        device_id: None,
        settings: EnrollmentSettings {
            initial_twin: Some(world.new_start()),
            ..EnrollmentSettings::default()
        },
        ..sample::individual(id.as_str())
    };
    if blocks {
        enrollment.settings.provisioning_status = ProvisioningStatus::Disabled;
    }
    enrollment.record.etag = sample::etag(&world.notes().new_version().to_string());
    world.put(Change::PutIndividual(Box::new(enrollment)));
    let mut notes = world.notes();
    notes.individuals.insert(id.clone(), Individual { since: world.elapsed(), key, blocks });
    notes.ever_individual.insert(id.clone());
}

/// Deletes an individual enrollment: its device belongs to its group again.
pub fn delete_individual(world: &World, id: &RegistrationId) {
    world.note(format_args!("operator: deletes the individual enrollment {id}"));
    let registration = || finish(world.disk().registration(&world.scope(), id)).unwrap();
    let registration = registration();
    world.put(Change::DeleteIndividual(id.clone()));
    world.notes().individuals.remove(id);
    // In one moment, as in one commit.
    if let Some(removed) = registration.filter(ends_with_individual) {
        world.put(Change::DeleteRegistration(id.clone()));
        world.forget_registration(&removed);
    }
}

/// Deletes all of them.
pub fn delete_individuals(world: &World) {
    let ids: Vec<_> = world.notes().individuals.keys().cloned().collect();
    ids.iter().for_each(|id| delete_individual(world, id));
}

/// An operator confirms the cleanups that are held.
pub async fn confirm(service: &Nodes) {
    service.world.note("operator: confirms the cleanups");
    let (node, instance) = (service.node(), service.world.instance());
    let by = testkit::sample::operator();
    let confirming = node.provisioning.confirm_cleanups(&instance, &by);
    let _ = tokio::time::timeout(Duration::from_secs(5), confirming).await;
}
