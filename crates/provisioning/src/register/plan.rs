//! What a device that has proved itself gets: one pure function.

use model::{
    Assignment, DeviceId, Failure, HubName, Instance, Order, ProvisioningStatus, Registration,
    RegistrationId, Status, Substatus, TwinOrder,
};

use crate::{
    allocate::{self, Choice, Situation, Unallocatable},
    attest::Attested,
};

/// What should happen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    /// Tell the device that its enrollment is disabled.
    Disable,
    /// Tell it that it cannot be assigned.
    Fail(Failure),
    /// Its assignment is under way, as it should be.
    Join,
    /// It stays where it is, with what it has; make sure that the hub still has it.
    Confirm(Order),
    /// Put it on a hub: a new one, or its own with other credentials, capabilities or name.
    Assign(Order),
}

/// Decides for the device called `name`: the registration ID in the spelling of its first registration. Reprovisioning
/// joins here: a device that comes back keeps its hub as long as that is linked.
pub(super) fn plan(
    instance: &Instance,
    attested: &Attested,
    name: &RegistrationId,
    previous: Option<&Registration>,
    situation: &Situation,
) -> Plan {
    if attested.settings().provisioning_status == ProvisioningStatus::Disabled {
        return Plan::Disable;
    }
    let is_linked = |hub: &HubName| allocate::may_stay(instance, hub);
    if let Some(order) = previous.and_then(under_way).filter(|order| is_linked(&order.hub)) {
        return follow_through(order, attested);
    }
    let device_id = attested.device_id().unwrap_or_else(|| DeviceId::from(name));
    let standing = previous.and_then(Registration::assignment);
    match standing.filter(|assignment| is_linked(&assignment.hub)) {
        Some(standing) => stay(standing, attested, device_id, previous),
        None => match allocate::choose(instance, attested.settings(), name, situation).choice {
            Choice::Hub(chosen) => Plan::Assign(first_order(&chosen.hub, attested, device_id)),
            Choice::Ask(..) => Plan::Fail(Unallocatable::NoWebhook.failure()),
            Choice::None(problem) => Plan::Fail(problem.failure()),
        },
    }
}

fn under_way(registration: &Registration) -> Option<&Order> {
    match &registration.status {
        Status::Assigning { order, .. } => Some(order),
        Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => None,
    }
}

/// The hub may have been told already, so the device goes there and nowhere else, under the name that was decided. But
/// it must be able to connect with what it holds now.
fn follow_through(order: &Order, attested: &Attested) -> Plan {
    let now = Order {
        credentials: attested.credentials().clone(),
        iot_edge: attested.settings().iot_edge.unwrap_or_default(),
        ..order.clone()
    };
    if now.digest() == order.digest() { Plan::Join } else { Plan::Assign(now) }
}

/// At the same hub: as it is, refreshed, or, when the enrollment wants another device ID, as a new device.
fn stay(
    standing: &Assignment,
    attested: &Attested,
    device_id: DeviceId,
    previous: Option<&Registration>,
) -> Plan {
    if standing.device_id != device_id {
        return Plan::Assign(first_order(&standing.hub, attested, device_id));
    }
    let order = Order {
        hub: standing.hub.clone(),
        device_id,
        substatus: standing.substatus,
        credentials: attested.credentials().clone(),
        iot_edge: attested.settings().iot_edge.unwrap_or_default(),
        twin: TwinOrder::Keep { if_lost: attested.initial_twin() },
    };
    let assigned = previous.is_some_and(|registration| is_assigned_through(registration, attested));
    if assigned && order.digest() == standing.order { Plan::Confirm(order) } else { Plan::Assign(order) }
}

/// Whether the record as it stands says all that a new one would.
fn is_assigned_through(registration: &Registration, attested: &Attested) -> bool {
    matches!(registration.status, Status::Assigned(_)) && came_through(registration, attested)
}

/// Whether the registration names the enrollment that lets the device in now, and its way of proving itself.
pub(super) fn came_through(registration: &Registration, attested: &Attested) -> bool {
    registration.enrollment == attested.enrollment() && registration.attested_by == attested.by()
}

/// A new device, with its initial twin.
fn first_order(hub: &HubName, attested: &Attested, device_id: DeviceId) -> Order {
    Order {
        hub: hub.clone(),
        device_id,
        substatus: Substatus::InitialAssignment,
        credentials: attested.credentials().clone(),
        iot_edge: attested.settings().iot_edge.unwrap_or_default(),
        twin: TwinOrder::Seed(attested.initial_twin()),
    }
}
