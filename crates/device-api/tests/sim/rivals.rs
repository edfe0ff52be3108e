//! Devices that claim the same thing: a registration ID through several groups, and a device ID at a hub through several
//! individual enrollments.

use std::{sync::Arc, time::Duration};

use model::{
    AllocationPolicy, DeviceId, DeviceSpec, EnrollmentRef, EnrollmentSettings, GroupAttestation,
    HubDeviceRef, HubName, IndividualAttestation, IndividualEnrollment, Registration,
};
use provisioning::ports::Change;
use testkit::sample;
use tokio::time::sleep;

use crate::{
    device::Device,
    finish::finish,
    nodes::Nodes,
    run::UNREST,
    weather::Flaw,
    world::{GROUPS, HUBS, World},
};

/// A registration ID that devices of several groups use.
const CONTESTED: &str = "torn-1";

/// Two registrations that want one device ID at one hub, and the numbers of their keys.
const TWINS: [(&str, u8); 2] = [("twin-1", 80), ("twin-2", 90)];

/// How long a group must have been there for a decision to be sure to have seen it.
const SURELY_SEEN: Duration = Duration::from_secs(2);

/// Enrolls the twins, each by its own key.
pub fn enroll(world: &World) {
    for (index, (id, keys)) in TWINS.iter().enumerate() {
        let device_id = DeviceId::parse(twin_device_id(world.flaw, index)).unwrap();
        let settings = EnrollmentSettings {
            allocation_policy: Some(AllocationPolicy::Static),
            hubs: vec![sample::hub_name(HUBS[0])],
            initial_twin: Some(world.new_start()),
            ..EnrollmentSettings::default()
        };
        let enrollment = IndividualEnrollment {
            attestation: IndividualAttestation::SymmetricKey(sample::keys(*keys)),
            device_id: Some(device_id),
            settings,
            ..sample::individual(id)
        };
        world.put(Change::PutIndividual(Box::new(enrollment)));
    }
}

/// The same for both; but for a connector that confuses upper and lower case, two that only it takes for one.
fn twin_device_id(flaw: Flaw, index: usize) -> &'static str {
    match (flaw, index) {
        (Flaw::FoldsDeviceIds, 1) => "SHARED",
        _ => "shared",
    }
}

/// Registers them again and again, without following any operation to its end.
pub async fn life(service: Arc<Nodes>) {
    let world = &service.world;
    while world.elapsed() < UNREST {
        sleep(world.dice.millis(0..=20_000)).await;
        let device = match world.dice.roll(2) {
            0 => {
                let (group, _) = *world.dice.pick(&GROUPS);
                let GroupAttestation::SymmetricKey(keys) = world.stored_group(group).attestation else {
                    continue;
                };
                Device::with_key(world, CONTESTED, group, keys.primary.derive(CONTESTED))
            }
            _ => {
                let (id, keys) = *world.dice.pick(&TWINS);
                Device::with_key(world, id, "", sample::key(keys))
            }
        };
        // Others may be counted for it: no world with rivals is undisturbed.
        world.count(|figures| {
            (figures.requests, figures.interventions) = (figures.requests + 1, figures.interventions + 1)
        });
        device.is_let_in(&service).await;
    }
}

/// A device is sent to a hub: no other registration has the place.
pub fn watch_hub(world: &World, hub: &HubName, order: &DeviceSpec) {
    let is_told = |keys: u8| order.credentials == model::HubCredentials::SymmetricKeys(sample::keys(keys));
    let Some((id, _)) = TWINS.iter().find(|(_, keys)| is_told(*keys)) else { return };
    let place = HubDeviceRef { hub: hub.clone(), device_id: order.device_id.clone() };
    let id = sample::registration_id(id);
    let found = finish(world.disk().hub_device(&place, &world.scope(), &id)).unwrap();
    if let Some(owner) = found.other_owner {
        world.violated(format_args!("{id} took the device {} of {}", place.device_id, owner.registration_id));
    }
}

/// A registration that a group has, and that another enrollment has now, says so.
pub fn watch_move(world: &World, before: &Registration, now: &Registration) {
    let Some(group) = before.owning_group().filter(|_| before.enrollment != now.enrollment) else { return };
    if !world.has_had(group, SURELY_SEEN) {
        return;
    }
    let decision = now.decisions.latest();
    let is_on_record = decision.is_some_and(|decision| {
        decision.enrollment == now.enrollment && decision.moved_from.as_ref() == Some(group)
    });
    if !is_on_record {
        let to: &EnrollmentRef = &now.enrollment;
        world.violated(format_args!("{} moved in silence from {group} to {to:?}", now.registration_id));
    }
}
