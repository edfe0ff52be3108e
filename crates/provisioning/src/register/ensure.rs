//! Gives a hub the device spec of a run, with the data that the device brings from the hub that it had.

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

/// What a hub did with a device spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnsureOutcome {
    /// How the device got to its hub, by Azure's terms.
    pub(super) substatus: Substatus,
    /// The generation of the device at its hub.
    pub(super) generation: Option<Generation>,
    /// The generation of the device that was found at the hub that it moved from.
    pub(super) old_generation: Option<Generation>,
    /// Whether the hub had a device of this ID that the registration did not create.
    pub(super) took_over: bool,
}

impl EnsureOutcome {
    fn new(substatus: Substatus, ensured: Ensured) -> EnsureOutcome {
        let Ensured { generation, took_over } = ensured;
        EnsureOutcome { substatus, generation, old_generation: None, took_over }
    }
}

impl Provisioning {
    /// Gives the hub the device spec of a run. The instance is as it was when the request read it, or is loaded, because a hub
    /// that was unlinked meanwhile is not waited for.
    pub(super) async fn ensure(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
    ) -> Result<Result<EnsureOutcome, HubError>, Error> {
        let instance = self.instance_of(run).await?;
        let linked = |name| instance.as_ref().and_then(|instance: &Arc<Instance>| instance.linked_hub(name));
        let Some(hub) = linked(&spec.hub).and_then(|hub| self.hubs.connector(hub)) else {
            let reason = format!("{} is not linked to the service any more", spec.hub);
            return Ok(Err(HubError::Refused(reason)));
        };
        let from = run.registration.assignment();
        let is_current = from.is_some_and(|from| from.hub_device() == spec.hub_device());
        let existing = instance.as_ref().map(|instance| instance.existing_devices).unwrap_or_default();
        // A device that has the ID of the current assignment at its hub is the registration's.
        let spec = &if is_current { Cow::Borrowed(spec) } else { with_existing(spec, existing) };
        let migrates = matches!(spec.twin, TwinSpec::Migrate { .. });
        let outcome = if !migrates && (is_current || from.is_none()) {
            hub.ensure_device(spec).await.map(|ensured| EnsureOutcome::new(spec.substatus, ensured))
        } else {
            // A device that starts anew elsewhere is looked up at its old hub as well: one that an operator disabled there must
            // not be enabled by a move.
            self.ensure_moved(&*hub, spec, from, from.and_then(|from| linked(&from.hub))).await
        };
        Ok(outcome.map(|outcome| EnsureOutcome { took_over: outcome.took_over && !is_current, ..outcome }))
    }

    /// Returns the instance of a run.
    pub(super) async fn instance_of(&self, run: &AssignmentRun) -> Result<Option<Arc<Instance>>, Error> {
        match &run.read {
            Some(read) => Ok(Some(Arc::clone(&read.instance))),
            None => Ok(self.store.instance(&run.scope).await?),
        }
    }

    async fn ensure_moved(
        &self,
        hub: &dyn HubConnector,
        spec: &DeviceSpec,
        from: Option<&Assignment>,
        old_hub: Option<&LinkedHub>,
    ) -> Result<EnsureOutcome, HubError> {
        match self.find_at_old_hub(from, old_hub).await {
            Ok(found) => {
                let old_generation =
                    from.zip(found.as_ref()).and_then(|(from, found)| generation_of(from, found));
                let moved = ensure_with_carried(hub, spec, found.map(|device| device.carried)).await;
                moved.map(|outcome| EnsureOutcome { old_generation, ..outcome })
            }
            // A full old hub is no reason to choose another new hub.
            Err(HubError::Full(reason)) => Err(HubError::Unavailable(reason.into())),
            Err(error) => Err(error),
        }
    }

    /// Returns the device at its old hub, with the data to move. A hub that was unlinked is given up, and its data with it; one
    /// that is down is waited for.
    async fn find_at_old_hub(
        &self,
        from: Option<&Assignment>,
        hub: Option<&LinkedHub>,
    ) -> Result<Option<HubDevice>, HubError> {
        let (Some(from), Some(hub)) = (from, hub) else { return Ok(None) };
        let unreachable =
            || HubError::Unavailable(format!("{}: this service has no connector to it", hub.name).into());
        let connector = self.hubs.connector(hub).ok_or_else(unreachable)?;
        connector.find_device(&from.device_id).await
    }
}

/// Gives a hub the spec of a device that moves there, with the data that it brings.
async fn ensure_with_carried(
    hub: &dyn HubConnector,
    spec: &DeviceSpec,
    carried: Option<Carried>,
) -> Result<EnsureOutcome, HubError> {
    let migrates = matches!(spec.twin, TwinSpec::Migrate { .. });
    let outcome = |ensured| EnsureOutcome::new(spec.substatus, ensured);
    match carried {
        Some(carried) if migrates => hub.receive_device(spec, &carried).await.map(outcome),
        Some(Carried { disabled: Some(reason), .. }) => {
            hub.receive_device(spec, &disabled_start(spec, reason)).await.map(outcome)
        }
        _ if !migrates => hub.ensure_device(spec).await.map(outcome),
        _ => {
            let ensured = hub.ensure_device(&initialized(spec)).await?;
            Ok(EnsureOutcome::new(Substatus::DeviceDataReset, ensured))
        }
    }
}

/// Returns the generation of the device that an assignment names; `None` if the device found there has credentials that the
/// registration never sent, so that it is another client's.
fn generation_of(from: &Assignment, found: &HubDevice) -> Option<Generation> {
    let is_assigned = found.credentials.as_ref().is_some_and(|it| from.residue().may_have(it));
    found.generation.clone().filter(|_| is_assigned)
}

/// Returns the data of a device that starts anew and stays disabled for this reason: its initial twin, and nothing reported.
fn disabled_start(spec: &DeviceSpec, reason: String) -> Carried {
    let initial = spec.twin.initial();
    let section =
        |part: &Option<TwinCollection>| part.as_ref().map(|it| it.as_map().clone()).unwrap_or_default();
    Carried {
        tags: section(&initial.tags),
        desired: Properties { value: section(&initial.desired), version: 1 },
        reported: Properties::default(),
        disabled: Some(reason),
    }
}

/// Returns the spec of a device that brings no data: a twin that the hub has from an earlier time is replaced.
fn initialized(spec: &DeviceSpec) -> DeviceSpec {
    DeviceSpec { twin: TwinSpec::Initialize(spec.twin.initial().clone()), ..spec.clone() }
}

/// Returns the spec with the instance's setting for devices that the registration did not create.
fn with_existing(spec: &DeviceSpec, existing: ExistingDevices) -> Cow<'_, DeviceSpec> {
    match existing {
        ExistingDevices::Adopt => Cow::Borrowed(spec),
        ExistingDevices::Refuse => Cow::Owned(DeviceSpec { existing, ..spec.clone() }),
    }
}
