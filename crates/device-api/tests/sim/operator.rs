//! Operators who change their minds.

use std::time::Duration;

use model::{AllocationPolicy, HubName, ProvisioningStatus, RegistrationId, ReprovisionPolicy};
use testkit::sample;

use crate::{
    hostility,
    nodes::Nodes,
    world::{GROUPS, HUBS, World},
};

/// Makes one change. The devices whose twins may be affected forget theirs.
pub async fn intervene(service: &Nodes, devices: &[RegistrationId]) -> Option<RegistrationId> {
    let world = &service.world;
    world.count(|figures| figures.interventions += 1);
    let device = world.dice.pick(devices).clone();
    match world.dice.roll(22) {
        0..=2 => send_elsewhere(world),
        3 => shift_weights(world),
        4 | 5 => change_policy(world),
        6 => switch(world, world.dice.pick(&GROUPS).0),
        7 => take_a_hub_down(world),
        8 => unlink_a_hub(world),
        9 => change_start(world),
        12 | 13 => delete_a_group(world),
        10 => return cancel(service, device).await,
        14.. => hostility::strike(service, &device).await,
        _ => return delete(service, device).await,
    }
    None
}

fn any_hub(world: &World) -> HubName {
    let name = *world.dice.pick(&HUBS);
    sample::hub_name(name)
}

fn send_elsewhere(world: &World) {
    let hub = any_hub(world);
    world.note(format_args!("operator: the static group goes to {hub}"));
    let mut group = world.stored_group("static");
    group.settings.hubs = vec![hub];
    world.put_group(&group);
}

fn shift_weights(world: &World) {
    let weights = [(); 3].map(|()| u16::try_from(world.dice.roll(1000) + 1).unwrap());
    world.note(format_args!("operator: weights are {weights:?}"));
    let mut instance = model::Instance::clone(&world.instance());
    for link in &mut instance.linked_hubs {
        let index = HUBS.iter().position(|name| *name == link.name.as_str()).unwrap();
        link.weight = model::AllocationWeight::new(weights[index]).unwrap();
    }
    world.put_instance(instance);
}

fn change_policy(world: &World) {
    use ReprovisionPolicy::{Migrate, Reset, Stay};
    let (name, _) = *world.dice.pick(&GROUPS);
    let stay = Stay { migrate_device_data: false };
    let choices = [None, Some(Migrate), Some(Migrate), Some(Reset), Some(stay)];
    let mut group = world.stored_group(name);
    group.settings.reprovision_policy = *world.dice.pick(&choices);
    world.note(format_args!("operator: {name} has {:?}", group.settings.reprovision_policy));
    world.put_group(&group);
}

/// Disables a group, or enables it.
pub fn switch(world: &World, name: &str) {
    let mut group = world.stored_group(name);
    let status = &mut group.settings.provisioning_status;
    *status = match status {
        ProvisioningStatus::Enabled => ProvisioningStatus::Disabled,
        ProvisioningStatus::Disabled => ProvisioningStatus::Enabled,
    };
    world.note(format_args!("operator: {name} is {:?}", group.settings.provisioning_status));
    world.put_group(&group);
}

fn take_a_hub_down(world: &World) {
    let hub = any_hub(world);
    let time = world.dice.millis(1_000..=120_000);
    world.note(format_args!("{hub} is down for {time:?}"));
    world.weather.take_down(&hub, time);
}

/// Or links all of them again.
fn unlink_a_hub(world: &World) {
    let mut instance = model::Instance::clone(&world.instance());
    if instance.linked_hubs.len() == HUBS.len() {
        let hub = any_hub(world);
        world.note(format_args!("operator: {hub} is unlinked"));
        instance.linked_hubs.retain(|link| link.name != hub);
        hostility::give_up(world, &hub);
    } else {
        world.note("operator: all hubs are linked");
        instance.linked_hubs = world.links(|_| 1);
    }
    world.put_instance(instance);
}

/// Or puts those back that were deleted.
fn delete_a_group(world: &World) {
    if !world.notes().deleted.is_empty() {
        world.note("operator: all groups are there");
        return world.restore_groups();
    }
    let (name, _) = *world.dice.pick(&GROUPS);
    delete_group(world, name);
}

/// Deletes a group.
pub fn delete_group(world: &World, name: &str) {
    world.note(format_args!("operator: deletes the group {name}"));
    world.delete_group(name);
}

fn change_start(world: &World) {
    let (name, _) = *world.dice.pick(&GROUPS);
    let mut group = world.stored_group(name);
    group.settings.initial_twin = Some(world.new_start());
    world.put_group(&group);
}

/// Returns the device, if its assignment was called off.
async fn cancel(service: &Nodes, device: RegistrationId) -> Option<RegistrationId> {
    service.world.note(format_args!("operator: cancels {device}"));
    let (node, instance) = (service.node(), service.world.instance());
    let by = sample::operator();
    let cancelling = node.provisioning.cancel_registration(&instance, &by, &device, None);
    let cancelled = tokio::time::timeout(Duration::from_secs(5), cancelling).await;
    // Without an answer it may have been done.
    (!matches!(cancelled, Ok(Err(_)))).then_some(device)
}

/// Returns the device, if its registration was deleted.
async fn delete(service: &Nodes, device: RegistrationId) -> Option<RegistrationId> {
    let world = &service.world;
    world.note(format_args!("operator: deletes {device}"));
    let (node, instance) = (service.node(), world.instance());
    let by = sample::operator();
    let deleting = node.provisioning.delete_registration(&instance, &by, device.clone(), None);
    let deleted = tokio::time::timeout(Duration::from_secs(5), deleting).await;
    (!matches!(deleted, Ok(Err(_)))).then_some(device)
}

/// The world as it should be in the end: everything is linked, enabled and sent to where it can go.
pub fn put_right(world: &World) {
    let instance = model::Instance::clone(&world.instance());
    world.put_instance(model::Instance { linked_hubs: world.links(|_| 1), ..instance });
    world.restore_groups();
    hostility::delete_individuals(world);
    for (name, policy) in GROUPS {
        let mut group = world.stored_group(name);
        group.settings.provisioning_status = ProvisioningStatus::Enabled;
        if policy == AllocationPolicy::Static {
            group.settings.hubs = vec![sample::hub_name(HUBS[1])];
        }
        world.put_group(&group);
    }
}
