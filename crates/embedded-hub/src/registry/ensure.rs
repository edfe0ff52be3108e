//! The calls of the provisioning service. Every call is one durable commit and may be repeated.

use model::{Carried, DeviceId, Generation, HubCredentials, InitialTwin, Timestamp, TwinSpec};
use wire::hub::Status;

use crate::{
    connections::DisconnectReason,
    failure::HubFailure,
    hub::Hub,
    registry::{
        identity::{Credentials, Identity},
        representation,
    },
    storage::{Rows, SealedDevice},
    twins::twin::Twin,
};

/// The settings of a device that the hub should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Its device ID.
    pub id: DeviceId,
    /// Its credentials.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
}

/// A device that the hub has as requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsuredDevice {
    /// What the call changed.
    pub effect: Effect,
    /// Its generation, which distinguishes it from earlier devices of the same name.
    pub generation: Generation,
}

/// What a call changed of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It was created.
    Created,
    /// It existed, and was changed as requested.
    Refreshed,
    /// It existed as requested, and got a new version, so that calls that expect the earlier one fail.
    Touched,
    /// It existed as requested; nothing was written.
    Unchanged,
}

/// The outcome of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The device was deleted, with its twin and messages.
    Deleted,
    /// The device did not exist.
    Absent,
}

impl Hub {
    /// Creates the device, or refreshes its credentials and capabilities and keeps the rest of it.
    ///
    /// `twin` is the content of the twin of a new device. A seed also replaces the twin of an existing device, with its
    /// reported properties. A device that changed is disconnected.
    pub async fn ensure_device(
        &self,
        spec: &DeviceSettings,
        twin: &TwinSpec,
    ) -> Result<EnsuredDevice, HubFailure> {
        let start = match twin.clone() {
            TwinSpec::Keep { initial: if_lost } | TwinSpec::Migrate { initial: if_lost } => {
                TwinStart::Keep { if_lost }
            }
            TwinSpec::Initialize(seed) => TwinStart::Seed(seed),
        };
        let touch = !matches!(twin, TwinSpec::Keep { .. });
        let goal = Goal::new(spec, start, self.creation_time());
        if !touch && let Some(identity) = self.core.storage.read(|rows| goal.find_met(rows))? {
            return Ok(EnsuredDevice {
                effect: Effect::Unchanged,
                generation: representation::generation(&identity)?,
            });
        }
        self.apply_goal(Goal { touch, ..goal }).await
    }

    /// Creates or changes a device that moves here from another hub with its twin, which replaces an existing one. A device that an
    /// operator disabled there is disabled here.
    pub async fn receive_device(
        &self,
        spec: &DeviceSettings,
        carried: &Carried,
    ) -> Result<EnsuredDevice, HubFailure> {
        let goal = Goal::new(spec, TwinStart::Carry(Box::new(carried.clone())), self.creation_time());
        self.apply_goal(Goal { touch: true, ..goal }).await
    }

    async fn apply_goal(&self, goal: Goal) -> Result<EnsuredDevice, HubFailure> {
        let hub = self.clone();
        self.run_to_completion(async move { hub.apply_goal_locked(goal).await }).await
    }

    async fn apply_goal_locked(&self, goal: Goal) -> Result<EnsuredDevice, HubFailure> {
        let id = goal.id.clone();
        // Devices are created and deleted only under their lock: one that is absent now stays so until it is inserted.
        let _device_lock = self.lock_device(&id).await;
        if self.core.storage.read(|rows| rows.identity(&id))?.is_none() {
            let (identity, twin) = goal.new_device()?;
            let sealed = self.core.storage.seal_device(&id, &identity, &twin)?;
            self.core.storage.write(move |rows| insert(rows, &sealed)).await?;
            return Ok(EnsuredDevice {
                effect: Effect::Created,
                generation: representation::generation(&identity)?,
            });
        }
        let ensured = self.core.storage.write(move |rows| goal.refresh(rows)).await?;
        if ensured.effect == Effect::Refreshed {
            self.core.connections.close(&id, DisconnectReason::CredentialsChanged);
        }
        Ok(ensured)
    }

    /// Deletes the device with its twin and messages, and disconnects it.
    pub async fn delete_device(&self, id: &DeviceId) -> Result<Deletion, HubFailure> {
        let (hub, id) = (self.clone(), id.clone());
        let deletion = async move {
            let _device_lock = hub.lock_device(&id).await;
            let gone = id.clone();
            let deleted = hub.core.storage.write(move |rows| rows.delete(&gone)).await?;
            hub.core.connections.close(&id, DisconnectReason::Deleted);
            Ok(if deleted { Deletion::Deleted } else { Deletion::Absent })
        };
        self.run_to_completion(deletion).await
    }
}

/// The state that a device should have.
struct Goal {
    id: DeviceId,
    credentials: Credentials,
    iot_edge: bool,
    start: TwinStart,
    /// Whether the device gets a new version even if its state is as it should be.
    touch: bool,
    now: Timestamp,
}

/// The content that the twin should have.
enum TwinStart {
    /// The existing content; `if_lost` for a new device.
    Keep { if_lost: InitialTwin },
    /// This content, without reported properties.
    Seed(InitialTwin),
    /// The content of the twin at another hub.
    Carry(Box<Carried>),
}

impl Goal {
    fn new(spec: &DeviceSettings, start: TwinStart, now: Timestamp) -> Goal {
        let credentials = Credentials::from(&spec.credentials);
        Goal { id: spec.id.clone(), credentials, iot_edge: spec.iot_edge, start, touch: false, now }
    }

    /// Returns the device if nothing has to be written for it; for devices that keep their twin.
    fn find_met(&self, rows: &Rows) -> Result<Option<Identity>, HubFailure> {
        Ok(rows.identity(&self.id)?.filter(|identity| self.is_met_by(identity)))
    }

    fn is_met_by(&self, identity: &Identity) -> bool {
        identity.credentials == self.credentials
            && identity.iot_edge == self.iot_edge
            && self.access().is_none_or(|(status, reason)| {
                identity.status == status && identity.status_reason.as_deref() == reason
            })
    }

    /// Returns the status and its reason, if the goal sets them.
    fn access(&self) -> Option<(Status, Option<&str>)> {
        match &self.start {
            TwinStart::Keep { .. } | TwinStart::Seed(_) => None,
            // A device that is disabled here stays so, even if it was enabled at the other hub.
            TwinStart::Carry(carried) => {
                let reason = carried.disabled.as_deref()?;
                Some((Status::Disabled, Some(reason).filter(|reason| !reason.is_empty())))
            }
        }
    }

    fn new_device(&self) -> Result<(Identity, Twin), HubFailure> {
        let identity = Identity::new(self.credentials.clone(), self.iot_edge, &self.id, self.now);
        let twin = match &self.start {
            TwinStart::Keep { if_lost: seed } | TwinStart::Seed(seed) => Twin::seeded(seed, self.now)?,
            TwinStart::Carry(carried) => Twin::carried(carried, self.now)?,
        };
        Ok((self.with_access(identity), twin))
    }

    /// Returns the twin to start again with, if it is not kept.
    fn initial_twin(&self) -> Result<Option<Twin>, HubFailure> {
        Ok(match &self.start {
            TwinStart::Keep { .. } => None,
            TwinStart::Seed(seed) => Some(Twin::seeded(seed, self.now)?),
            TwinStart::Carry(carried) => Some(Twin::carried(carried, self.now)?),
        })
    }

    fn with_access(&self, identity: Identity) -> Identity {
        match self.access() {
            Some((status, reason)) => identity.with_access(status, reason, self.now),
            None => identity,
        }
    }

    /// Changes what differs from the goal, of an existing device.
    fn refresh(&self, rows: &Rows) -> Result<EnsuredDevice, HubFailure> {
        let gone = || HubFailure::Broken(format!("the device '{}' was deleted without its lock", self.id));
        let identity = rows.identity(&self.id)?.ok_or_else(gone)?;
        let generation = representation::generation(&identity)?;
        let mut effect = match (self.is_met_by(&identity), self.touch) {
            (false, _) => Effect::Refreshed,
            (true, true) => Effect::Touched,
            (true, false) => Effect::Unchanged,
        };
        if effect != Effect::Unchanged {
            let refreshed = identity.refreshed(self.credentials.clone(), self.iot_edge, &self.id);
            rows.put_identity(&self.id, &self.with_access(refreshed))?;
        }
        if let Some(initial) = self.initial_twin()? {
            let twin = rows.twin(&self.id)?.ok_or_else(gone)?;
            if !twin.is_unchanged_since(&initial) {
                rows.put_twin(&self.id, &twin.restarted(initial))?;
                effect = Effect::Refreshed;
            }
        }
        Ok(EnsuredDevice { effect, generation })
    }
}

fn insert(rows: &Rows, device: &SealedDevice) -> Result<(), HubFailure> {
    let inserted = rows.insert(device)?;
    inserted
        .then_some(())
        .ok_or_else(|| HubFailure::Broken("a device was created without its lock".to_owned()))
}
