//! A hostile device: it holds the keys of enrollment groups, and tries to register as devices that are not theirs.

use std::{sync::Arc, time::Duration};

use model::{
    EnrollmentRef, EnrollmentSettings, GroupAttestation, IndividualAttestation, IndividualEnrollment,
    Registration, RegistrationOwnership, SymmetricKey,
};
use provisioning::ports::{Change, Commit, Expect};
use testkit::sample;
use tokio::time::sleep;

use crate::{
    device::Device,
    finish::finish,
    nodes::Nodes,
    weather::Flaw,
    world::{GROUPS, World},
};

/// A device that is enrolled individually.
const OWNED: &str = "owned-1";

/// A device of a group of its own, which no operator touches.
const HELD: &str = "held-1";
const HELD_BY: &str = "held";

/// The keys of the individual enrollment and of that group; all others of this world have smaller numbers.
const OWN_KEYS: u8 = 60;
const HELD_KEYS: u8 = 70;

/// Which devices of a world an intruder is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prey {
    /// None: there is no intruder.
    None,
    /// The one that is enrolled individually. Where registrations are movable, another group may take over any other.
    Owned,
    /// Also the one of a group, which another group must not take over.
    OwnedAndHeld,
}

impl Prey {
    /// A quarter of all seeds have an intruder; the others replay as they did before there was one.
    pub fn of(seed: u64) -> Prey {
        match seed % 8 {
            1 => Prey::OwnedAndHeld,
            5 => Prey::Owned,
            _ => Prey::None,
        }
    }

    /// The rule of the instance in which it is.
    pub fn rule(self, flaw: Flaw) -> RegistrationOwnership {
        match (self, flaw) {
            (Prey::OwnedAndHeld, Flaw::LetsGroupsTakeOver) => RegistrationOwnership::Movable,
            (Prey::OwnedAndHeld, _) => RegistrationOwnership::FirstCome,
            (Prey::None | Prey::Owned, _) => RegistrationOwnership::Movable,
        }
    }
}

/// Enrolls what the intruder is after, and returns the devices that it belongs to.
pub fn victims(world: &World, prey: Prey) -> Vec<Device> {
    if prey == Prey::None {
        return Vec::new();
    }
    let settings = EnrollmentSettings { initial_twin: Some(world.new_start()), ..Default::default() };
    let attestation = IndividualAttestation::SymmetricKey(sample::keys(OWN_KEYS));
    let owned = IndividualEnrollment {
        attestation,
        device_id: None,
        settings: settings.clone(),
        ..sample::individual(OWNED)
    };
    put(world, Change::PutIndividual(Box::new(owned)));
    let mut victims = vec![Device::with_key(world, OWNED, "", sample::key(OWN_KEYS))];
    if prey == Prey::OwnedAndHeld {
        let attestation = GroupAttestation::SymmetricKey(sample::keys(HELD_KEYS));
        let group = model::EnrollmentGroup { attestation, settings, ..sample::group(HELD_BY) };
        put(world, Change::PutGroup(Box::new(group)));
        victims.push(Device::with_key(world, HELD, HELD_BY, sample::key(HELD_KEYS).derive(HELD)));
    }
    victims
}

fn put(world: &World, change: Change) {
    let changes = vec![(Expect::Anything, change)];
    finish(world.disk().commit(&world.scope(), Commit { changes, ..Commit::by(sample::by()) })).unwrap();
}

/// Tries again and again, with the derived and the group's own keys of every group.
pub async fn life(service: Arc<Nodes>, prey: Prey) {
    let world = &service.world;
    let ids: &[&str] = match prey {
        Prey::None => return,
        Prey::Owned => &[OWNED],
        Prey::OwnedAndHeld => &[OWNED, HELD],
    };
    loop {
        sleep(world.dice.millis(0..=15_000)).await;
        let id = *world.dice.pick(ids);
        if id == HELD && !is_assigned(world, id) {
            continue;
        }
        let (group, _) = *world.dice.pick(&GROUPS);
        let GroupAttestation::SymmetricKey(keys) = world.stored_group(group).attestation else { continue };
        let derived: SymmetricKey = keys.secondary.derive(id);
        let key = if world.dice.roll(4) == 0 { keys.primary } else { derived };
        world.note(format_args!("the intruder registers as {id} by the group {group}"));
        if Device::with_key(world, id, group, key).is_let_in(&service).await {
            world.violated(format_args!("the intruder was let in as {id} by the group {group}"));
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Whether a hub has the device: from then on its ID is held. An ID that is free is the first comer's.
fn is_assigned(world: &World, id: &str) -> bool {
    let found = finish(world.disk().registration(&world.scope(), &sample::registration_id(id))).unwrap();
    found.is_some_and(|registration| registration.assignment().is_some())
}

/// What is written of a victim names its own enrollment, always.
pub fn watch(world: &World, registration: &Registration) {
    let enrollment = &registration.enrollment;
    let is_own = match registration.registration_id.as_str() {
        OWNED => *enrollment == EnrollmentRef::Individual,
        HELD => *enrollment == EnrollmentRef::Group(sample::group_id(HELD_BY)),
        _ => true,
    };
    if !is_own {
        world.violated(format_args!("{} came through {enrollment:?}", registration.registration_id));
    }
}
