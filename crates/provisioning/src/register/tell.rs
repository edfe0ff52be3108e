//! Telling a hub of a device, and fetching what the device brings along from another.

use std::sync::Arc;

use model::{
    Assignment, Carried, Instance, LinkedHub, Order, Properties, Substatus, TwinCollection, TwinOrder,
};

use super::Run;
use crate::{Error, Provisioning, ports::HubError};

/// What the hub was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The order as it is.
    AsOrdered,
    /// That the device starts from its initial twin, for there was nothing to carry.
    WithNothingCarried,
}

impl Told {
    /// How the device got to its hub.
    pub(super) fn substatus(self, order: &Order) -> Substatus {
        match self {
            Told::AsOrdered => order.substatus,
            Told::WithNothingCarried => Substatus::DeviceDataReset,
        }
    }
}

impl Provisioning {
    /// The instance is looked up each time: an unlinked hub is not waited for.
    pub(super) async fn tell(&self, run: &Run, order: &Order) -> Result<Result<Told, HubError>, Error> {
        let instance = self.store.instance(&run.scope).await?;
        let linked = |name| instance.as_ref().and_then(|instance: &Arc<Instance>| instance.linked_hub(name));
        let Some(hub) = linked(&order.hub).and_then(|hub| self.hubs.connector(hub)) else {
            let reason = format!("{} is not linked to the service any more", order.hub);
            return Ok(Err(HubError::Refused(reason)));
        };
        let from = run.registration.assignment();
        let carries = matches!(order.twin, TwinOrder::Carry { .. });
        if !carries && from.is_none_or(|from| from.place() == order.place()) {
            return Ok(hub.ensure_device(order).await.map(|()| Told::AsOrdered));
        }
        // Also a device that starts anew elsewhere is looked at where it lives: one that an operator disabled there must not
        // enable itself by being moved.
        let old_hub = from.and_then(|from| linked(&from.hub));
        Ok(match self.fetch(from, old_hub).await {
            Ok(Some(carried)) if carries => {
                hub.receive_device(order, &carried).await.map(|()| Told::AsOrdered)
            }
            Ok(Some(Carried { disabled: Some(reason), .. })) => {
                hub.receive_device(order, &disabled_start(order, reason)).await.map(|()| Told::AsOrdered)
            }
            Ok(_) if !carries => hub.ensure_device(order).await.map(|()| Told::AsOrdered),
            Ok(_) => hub.ensure_device(&started_anew(order)).await.map(|()| Told::WithNothingCarried),
            // That one has no room is no reason for the device to go to another than this.
            Err(HubError::Full(reason)) => Err(HubError::Unavailable(reason.into())),
            Err(error) => Err(error),
        })
    }

    /// What a device takes along from the hub where it lives. A hub that is not linked any more has been given up, and
    /// so have the data there; one that is down is waited for.
    async fn fetch(
        &self,
        from: Option<&Assignment>,
        hub: Option<&LinkedHub>,
    ) -> Result<Option<Carried>, HubError> {
        let (Some(from), Some(hub)) = (from, hub) else { return Ok(None) };
        let unreachable = || HubError::Unavailable(format!("{}: nothing here leads to it", hub.name).into());
        let connector = self.hubs.connector(hub).ok_or_else(unreachable)?;
        let found = connector.find_device(&from.device_id).await?;
        Ok(found.map(|device| device.carried))
    }
}

/// What a device has that starts anew and stays disabled, for this reason: its initial twin, and nothing reported.
fn disabled_start(order: &Order, reason: String) -> Carried {
    let start = order.twin.start();
    let section =
        |part: &Option<TwinCollection>| part.as_ref().map(|it| it.as_map().clone()).unwrap_or_default();
    Carried {
        tags: section(&start.tags),
        desired: Properties { value: section(&start.desired), version: 1 },
        reported: Properties::default(),
        disabled: Some(reason),
    }
}

/// The order for a device that brings nothing along: what the hub may have of it from an earlier time does not count.
fn started_anew(order: &Order) -> Order {
    Order { twin: TwinOrder::Seed(order.twin.start().clone()), ..order.clone() }
}
