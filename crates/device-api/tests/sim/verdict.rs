//! What must hold when everything has come to rest.

use model::{Day, OperationKind, Registration, Status};
use provisioning::ports::PageRequest;

use crate::{device::Device, finish::finish, world::World};

/// Whether nothing is under way and nothing is left to be cleaned up.
pub fn is_at_rest(world: &World) -> bool {
    let page = || PageRequest { after: None, limit: 100 };
    let scope = world.scope();
    let assigning =
        finish(world.disk().registrations_in(&scope, model::StatusKind::Assigning, page())).unwrap();
    let cleanups = finish(world.disk().cleanups(&scope, page())).unwrap();
    assigning.items.is_empty() && cleanups.items.is_empty()
}

/// Whether something is left to be cleaned up that is held until an operator confirms it.
pub fn waits_for_an_operator(world: &World) -> bool {
    let page = PageRequest { after: None, limit: 100 };
    let cleanups = finish(world.disk().cleanups(&world.scope(), page)).unwrap().items;
    let is_held = |cleanup: &model::Cleanup| cleanup.residue.generation.is_none() && !cleanup.confirmed;
    cleanups.iter().any(is_held) || (!cleanups.is_empty() && world.instance().cleanups_held.is_some())
}

/// A device is where its registration says, and nowhere else; one that is assigned to no hub is on none.
pub fn places(world: &World, devices: &[Device], is_back: bool) {
    for device in devices {
        let found = finish(world.disk().registration(&world.scope(), &device.id)).unwrap();
        let expected = found.as_ref().and_then(Registration::assignment).map(|at| at.hub.clone());
        let hubs = world.hubs_with(&device.device_id());
        // A record of an earlier time does not know where its device went, until that returns.
        let is_sure = world.notes().restores == 0 || is_back;
        if let Some(hub) = expected.as_ref().filter(|hub| is_sure && !hubs.contains(hub)) {
            world.violated(format_args!("{} is not at {hub}: {}", device.id, standing(found.as_ref())));
        }
        for hub in hubs {
            let generation =
                world.hubs.hub(&hub).and_then(|it| it.device(&device.device_id())).map(|it| it.generation);
            let is_foreign = generation.is_some_and(|it| world.notes().foreign.contains(&(hub.clone(), it)));
            let left_behind = world.notes().left_behind.contains(&(device.device_id(), hub.clone()));
            if expected.as_ref() != Some(&hub) && !left_behind && !is_foreign {
                world.violated(format_args!("{} is at {hub}: {}", device.id, standing(found.as_ref())));
            }
        }
    }
}

fn standing(registration: Option<&Registration>) -> String {
    registration.map_or("it has no registration".into(), |found| format!("{:?}", found.status.kind()))
}

/// Every registration is as the last commit left it.
pub fn stored(world: &World) {
    let written = world.notes().written.clone();
    for (id, registration) in written {
        let found = finish(world.disk().registration(&world.scope(), &id)).unwrap();
        if found.as_ref() != Some(&registration) {
            world.violated(format_args!("{id} is not as it was written: {}", standing(found.as_ref())));
        }
    }
}

/// Everybody is assigned, once all obstacles are gone.
pub fn all_assigned(world: &World, devices: &[Device]) {
    for device in devices {
        let found = finish(world.disk().registration(&world.scope(), &device.id)).unwrap();
        if !matches!(found.as_ref().map(|found| &found.status), Some(Status::Assigned(_))) {
            world.violated(format_args!("{} is not assigned: {}", device.id, standing(found.as_ref())));
        }
    }
}

/// What is counted is what was completed: no less than devices were told, whatever crashed, and no more than they asked
/// for.
pub fn metering(world: &World) {
    let days = (Day::from_number(0), Day::from_number(100_000));
    let rows = finish(world.disk().usage(&world.scope(), days.0, days.1)).unwrap();
    let of_devices =
        |kind: OperationKind| matches!(kind, OperationKind::Registration | OperationKind::Reregistration);
    let counted: u64 = rows.iter().filter(|row| of_devices(row.kind)).map(|row| row.count).sum();
    let figures = world.notes().figures.clone();
    if counted != figures.counted {
        world.violated(format_args!("{counted} operations are on disk, {} were committed", figures.counted));
    }
    // A restore takes back what was counted since the backup, not what devices were told.
    let is_whole = figures.restores == 0;
    if is_whole && (counted < figures.assigned || counted > figures.requests) {
        world.violated(format_args!("{counted} operations were counted: {figures}"));
    }
    let undisturbed = figures.faults == 0 && figures.crashes == 0 && figures.interventions == 0;
    if undisturbed && counted != figures.assigned {
        world.violated(format_args!("{counted} operations were counted in good weather: {figures}"));
    }
}
