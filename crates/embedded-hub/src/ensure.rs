//! What the provisioning service asks of a hub. Every call is one durable commit and may be repeated.

use model::{Carried, DeviceId, Generation, HubCredentials, InitialTwin, Timestamp, TwinSpec};
use wire::hub::Status;

use crate::{
    device_link::Parting,
    failure::HubFailure,
    hub::Hub,
    identity::{Credentials, Identity},
    storage::{Rows, SealedDevice},
    twin::Twin,
    view,
};

/// A device that a hub shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Its name.
    pub id: DeviceId,
    /// What it connects with.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
}

/// A device that the hub was to have, and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// What became of it.
    pub effect: Effect,
    /// Which creation of a device of this name it is.
    pub generation: Generation,
}

/// What became of a device that the hub was to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is new.
    Created,
    /// It was there and is now as specified.
    Refreshed,
    /// It was there as specified and has a new version, so that nobody takes it for an earlier one.
    Marked,
    /// It was there as specified; nothing was written.
    Unchanged,
}

/// What became of a device that the hub was not to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, with its twin and messages.
    Deleted,
    /// There was none.
    Absent,
}

impl Hub {
    /// Creates the device, or refreshes its credentials and capabilities and keeps the rest of it.
    ///
    /// The order says what the twin of a new device starts with; with a seed so does that of a device
    /// that was there, which then has reported nothing. A device that changed is disconnected.
    pub async fn ensure_device(&self, spec: &DeviceSettings, twin: &TwinSpec) -> Result<Ensured, HubFailure> {
        let start = match twin.clone() {
            TwinSpec::Keep { initial: if_lost } | TwinSpec::Migrate { initial: if_lost } => {
                Start::Kept { if_lost }
            }
            TwinSpec::Initialize(seed) => Start::Anew(seed),
        };
        let marks = !matches!(twin, TwinSpec::Keep { .. });
        let goal = Goal::new(spec, start, self.creation_time());
        if !marks && let Some(identity) = self.core.storage.read(|rows| goal.met(rows))? {
            return Ok(Ensured { effect: Effect::Unchanged, generation: view::generation(&identity)? });
        }
        self.reach(Goal { marks, ..goal }).await
    }

    /// The same for a device that comes from another hub and brings its twin: that takes the place of
    /// whatever was there. A device that an operator disabled there is disabled here.
    pub async fn receive_device(
        &self,
        spec: &DeviceSettings,
        carried: &Carried,
    ) -> Result<Ensured, HubFailure> {
        let goal = Goal::new(spec, Start::Carried(Box::new(carried.clone())), self.creation_time());
        self.reach(Goal { marks: true, ..goal }).await
    }

    async fn reach(&self, goal: Goal) -> Result<Ensured, HubFailure> {
        let hub = self.clone();
        self.carry_out(async move { hub.meet(goal).await }).await
    }

    async fn meet(&self, goal: Goal) -> Result<Ensured, HubFailure> {
        let id = goal.id.clone();
        // Devices come and go only in their turn: one that is absent now stays so until it is inserted.
        let _turn = self.turn(&id).await;
        if self.core.storage.read(|rows| rows.identity(&id))?.is_none() {
            let (identity, twin) = goal.as_new()?;
            let sealed = self.core.storage.seal_device(&id, &identity, &twin)?;
            self.core.storage.write(move |rows| insert(rows, &sealed)).await?;
            return Ok(Ensured { effect: Effect::Created, generation: view::generation(&identity)? });
        }
        let ensured = self.core.storage.write(move |rows| goal.refresh(rows)).await?;
        if ensured.effect == Effect::Refreshed {
            self.core.connections.close(&id, Parting::OtherCredentials);
        }
        Ok(ensured)
    }

    /// Deletes the device with its twin and messages, and disconnects it.
    pub async fn delete_device(&self, id: &DeviceId) -> Result<Deleted, HubFailure> {
        let (hub, id) = (self.clone(), id.clone());
        let deletion = async move {
            let _turn = hub.turn(&id).await;
            let gone = id.clone();
            let deleted = hub.core.storage.write(move |rows| rows.delete(&gone)).await?;
            hub.core.connections.close(&id, Parting::Deleted);
            Ok(if deleted { Deleted::Deleted } else { Deleted::Absent })
        };
        self.carry_out(deletion).await
    }
}

/// What a device shall be.
struct Goal {
    id: DeviceId,
    credentials: Credentials,
    iot_edge: bool,
    start: Start,
    /// Whether the device gets a new version even if it is as it shall be.
    marks: bool,
    now: Timestamp,
}

/// What its twin holds.
enum Start {
    /// What it holds already; this when the device is new.
    Kept { if_lost: InitialTwin },
    /// This, and nothing was reported.
    Anew(InitialTwin),
    /// What it held at another hub.
    Carried(Box<Carried>),
}

impl Goal {
    fn new(spec: &DeviceSettings, start: Start, now: Timestamp) -> Goal {
        let credentials = Credentials::from(&spec.credentials);
        Goal { id: spec.id.clone(), credentials, iot_edge: spec.iot_edge, start, marks: false, now }
    }

    /// The device, if nothing need be written for one whose twin is kept.
    fn met(&self, rows: &Rows) -> Result<Option<Identity>, HubFailure> {
        Ok(rows.identity(&self.id)?.filter(|identity| self.is_met_by(identity)))
    }

    fn is_met_by(&self, identity: &Identity) -> bool {
        identity.credentials == self.credentials
            && identity.iot_edge == self.iot_edge
            && self.access().is_none_or(|(status, reason)| {
                identity.status == status && identity.status_reason.as_deref() == reason
            })
    }

    /// Whether the device may connect, where the goal says so, and why not.
    fn access(&self) -> Option<(Status, Option<&str>)> {
        match &self.start {
            Start::Kept { .. } | Start::Anew(_) => None,
            // One that is disabled here stays so: that its double elsewhere is not says nothing against it.
            Start::Carried(carried) => {
                let reason = carried.disabled.as_deref()?;
                Some((Status::Disabled, Some(reason).filter(|reason| !reason.is_empty())))
            }
        }
    }

    fn as_new(&self) -> Result<(Identity, Twin), HubFailure> {
        let identity = Identity::new(self.credentials.clone(), self.iot_edge, &self.id, self.now);
        let twin = match &self.start {
            Start::Kept { if_lost: seed } | Start::Anew(seed) => Twin::seeded(seed, self.now)?,
            Start::Carried(carried) => Twin::carried(carried, self.now)?,
        };
        Ok((self.with_access(identity), twin))
    }

    /// What the twin shall begin again with; absent when it stays as it is.
    fn begun(&self) -> Result<Option<Twin>, HubFailure> {
        Ok(match &self.start {
            Start::Kept { .. } => None,
            Start::Anew(seed) => Some(Twin::seeded(seed, self.now)?),
            Start::Carried(carried) => Some(Twin::carried(carried, self.now)?),
        })
    }

    fn with_access(&self, identity: Identity) -> Identity {
        match self.access() {
            Some((status, reason)) => identity.with_access(status, reason, self.now),
            None => identity,
        }
    }

    /// Changes what is not yet as it shall be, of a device that is there.
    fn refresh(&self, rows: &Rows) -> Result<Ensured, HubFailure> {
        let gone = || HubFailure::Broken(format!("the device '{}' went out of its turn", self.id));
        let identity = rows.identity(&self.id)?.ok_or_else(gone)?;
        let generation = view::generation(&identity)?;
        let mut effect = match (self.is_met_by(&identity), self.marks) {
            (false, _) => Effect::Refreshed,
            (true, true) => Effect::Marked,
            (true, false) => Effect::Unchanged,
        };
        if effect != Effect::Unchanged {
            let refreshed = identity.refreshed(self.credentials.clone(), self.iot_edge, &self.id);
            rows.put_identity(&self.id, &self.with_access(refreshed))?;
        }
        if let Some(begun) = self.begun()? {
            let twin = rows.twin(&self.id)?.ok_or_else(gone)?;
            if !twin.stands_as(&begun) {
                rows.put_twin(&self.id, &twin.restarted(begun))?;
                effect = Effect::Refreshed;
            }
        }
        Ok(Ensured { effect, generation })
    }
}

fn insert(rows: &Rows, device: &SealedDevice) -> Result<(), HubFailure> {
    let inserted = rows.insert(device)?;
    inserted.then_some(()).ok_or_else(|| HubFailure::Broken("a device came out of its turn".to_owned()))
}
