//! Telling a hub of a device, and fetching what the device brings along from another.

use std::{borrow::Cow, sync::Arc};

use model::{
    Assignment, Carried, DeviceSpec, ExistingDevices, Generation, Instance, LinkedHub, Properties, Substatus,
    TwinCollection, TwinSpec,
};

use super::AssignmentRun;
use crate::{
    Error, Provisioning,
    ports::{Ensured, HubConnector, HubDevice, HubError},
};

/// What a hub answered to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnsureOutcome {
    /// How the device got to its hub.
    pub(super) substatus: Substatus,
    /// Which device of its name it is there.
    pub(super) generation: Option<Generation>,
    /// Which device of its name was found at the hub that it comes from.
    pub(super) left: Option<Generation>,
    /// Whether it was at the hub already, and the registration had not made it.
    pub(super) took_over: bool,
}

impl EnsureOutcome {
    fn new(substatus: Substatus, ensured: Ensured) -> EnsureOutcome {
        let Ensured { generation, took_over } = ensured;
        EnsureOutcome { substatus, generation, left: None, took_over }
    }
}

impl Provisioning {
    /// The instance is looked up each time: an unlinked hub is not waited for.
    pub(super) async fn tell(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
    ) -> Result<Result<EnsureOutcome, HubError>, Error> {
        let instance = self.store.instance(&run.scope).await?;
        let linked = |name| instance.as_ref().and_then(|instance: &Arc<Instance>| instance.linked_hub(name));
        let Some(hub) = linked(&spec.hub).and_then(|hub| self.hubs.connector(hub)) else {
            let reason = format!("{} is not linked to the service any more", spec.hub);
            return Ok(Err(HubError::Refused(reason)));
        };
        let from = run.registration.assignment();
        let is_at_home = from.is_some_and(|from| from.hub_device() == spec.hub_device());
        let existing = instance.as_ref().map(|instance| instance.existing_devices).unwrap_or_default();
        // Where a device lives, what is there under its ID is the registration's.
        let spec = &if is_at_home { Cow::Borrowed(spec) } else { with_existing(spec, existing) };
        let carries = matches!(spec.twin, TwinSpec::Migrate { .. });
        let sent = if !carries && (is_at_home || from.is_none()) {
            hub.ensure_device(spec).await.map(|ensured| EnsureOutcome::new(spec.substatus, ensured))
        } else {
            // Also a device that starts anew elsewhere is looked at where it lives: one that an operator disabled there must not
            // enable itself by being moved.
            self.tell_of_move(&*hub, spec, from, from.and_then(|from| linked(&from.hub))).await
        };
        Ok(sent.map(|sent| EnsureOutcome { took_over: sent.took_over && !is_at_home, ..sent }))
    }

    async fn tell_of_move(
        &self,
        hub: &dyn HubConnector,
        spec: &DeviceSpec,
        from: Option<&Assignment>,
        old_hub: Option<&LinkedHub>,
    ) -> Result<EnsureOutcome, HubError> {
        match self.fetch(from, old_hub).await {
            Ok(found) => {
                let left = from.zip(found.as_ref()).and_then(|(from, found)| generation_of(from, found));
                let moved = move_in(hub, spec, found.map(|device| device.carried)).await;
                moved.map(|sent| EnsureOutcome { left, ..sent })
            }
            // That one has no room is no reason for the device to go to another than this.
            Err(HubError::Full(reason)) => Err(HubError::Unavailable(reason.into())),
            Err(error) => Err(error),
        }
    }

    /// The device at the hub where it lives, with what it takes along from there. A hub that is not linked any more has been given up, and
    /// so have the data there; one that is down is waited for.
    async fn fetch(
        &self,
        from: Option<&Assignment>,
        hub: Option<&LinkedHub>,
    ) -> Result<Option<HubDevice>, HubError> {
        let (Some(from), Some(hub)) = (from, hub) else { return Ok(None) };
        let unreachable = || HubError::Unavailable(format!("{}: nothing here leads to it", hub.name).into());
        let connector = self.hubs.connector(hub).ok_or_else(unreachable)?;
        connector.find_device(&from.device_id).await
    }
}

/// Tells a hub of a device that comes from another one, with what it brings.
async fn move_in(
    hub: &dyn HubConnector,
    spec: &DeviceSpec,
    carried: Option<Carried>,
) -> Result<EnsureOutcome, HubError> {
    let carries = matches!(spec.twin, TwinSpec::Migrate { .. });
    let as_ordered = |ensured| EnsureOutcome::new(spec.substatus, ensured);
    match carried {
        Some(carried) if carries => hub.receive_device(spec, &carried).await.map(as_ordered),
        Some(Carried { disabled: Some(reason), .. }) => {
            hub.receive_device(spec, &disabled_start(spec, reason)).await.map(as_ordered)
        }
        _ if !carries => hub.ensure_device(spec).await.map(as_ordered),
        _ => {
            let ensured = hub.ensure_device(&started_anew(spec)).await?;
            Ok(EnsureOutcome::new(Substatus::DeviceDataReset, ensured))
        }
    }
}

/// The generation of a device where it lives. One that does not have the credentials that the hub was told for the
/// assignment is another client's.
fn generation_of(from: &Assignment, found: &HubDevice) -> Option<Generation> {
    let is_assigned = found.credentials.as_ref().is_some_and(|it| from.residue().may_have(it));
    found.generation.clone().filter(|_| is_assigned)
}

/// What a device has that starts anew and stays disabled, for this reason: its initial twin, and nothing reported.
fn disabled_start(spec: &DeviceSpec, reason: String) -> Carried {
    let start = spec.twin.initial();
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
fn started_anew(spec: &DeviceSpec) -> DeviceSpec {
    DeviceSpec { twin: TwinSpec::Initialize(spec.twin.initial().clone()), ..spec.clone() }
}

/// The order, with what the instance says of devices that the registration did not make.
fn with_existing(spec: &DeviceSpec, existing: ExistingDevices) -> Cow<'_, DeviceSpec> {
    match existing {
        ExistingDevices::Adopt => Cow::Borrowed(spec),
        ExistingDevices::Refuse => Cow::Owned(DeviceSpec { existing, ..spec.clone() }),
    }
}
