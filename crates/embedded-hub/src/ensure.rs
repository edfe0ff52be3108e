//! What the provisioning service asks of a hub. Every call is one durable commit and may be repeated.

use model::{DeviceId, HubCredentials, Timestamp, TwinOrder};

use crate::{
    failure::HubFailure,
    hub::Hub,
    identity::{Credentials, Identity},
    line::Parting,
    storage::{Rows, SealedDevice},
    twin::Twin,
};

/// A device that a hub shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Its name.
    pub id: DeviceId,
    /// What it connects with.
    pub credentials: HubCredentials,
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
}

/// What became of a device that the hub was to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It is new.
    Created,
    /// It was there and is now as specified.
    Refreshed,
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
    pub async fn ensure_device(&self, spec: &DeviceSpec, twin: &TwinOrder) -> Result<Ensured, HubFailure> {
        let goal = Goal::new(spec, twin, self.now());
        if self.core.storage.read(|rows| goal.is_met(rows))? {
            return Ok(Ensured::Unchanged);
        }
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
            return Ok(Ensured::Created);
        }
        let ensured = self.core.storage.write(move |rows| goal.refresh(rows)).await?;
        if ensured == Ensured::Refreshed {
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
    twin: TwinOrder,
    now: Timestamp,
}

impl Goal {
    fn new(spec: &DeviceSpec, twin: &TwinOrder, now: Timestamp) -> Goal {
        let credentials = Credentials::from(&spec.credentials);
        Goal { id: spec.id.clone(), credentials, iot_edge: spec.iot_edge, twin: twin.clone(), now }
    }

    fn is_met(&self, rows: &Rows) -> Result<bool, HubFailure> {
        let Some(identity) = rows.identity(&self.id)? else { return Ok(false) };
        if !self.is_met_by(&identity) {
            return Ok(false);
        }
        let Some(seeded) = self.seeded()? else { return Ok(true) };
        Ok(rows.twin(&self.id)?.is_some_and(|twin| twin.stands_as_seeded(&seeded)))
    }

    fn is_met_by(&self, identity: &Identity) -> bool {
        identity.credentials == self.credentials && identity.iot_edge == self.iot_edge
    }

    fn as_new(&self) -> Result<(Identity, Twin), HubFailure> {
        let identity = Identity::new(self.credentials.clone(), self.iot_edge, &self.id, self.now);
        Ok((identity, Twin::seeded(self.twin.start(), self.now)?))
    }

    /// What the twin shall begin again with; absent when it stays as it is.
    fn seeded(&self) -> Result<Option<Twin>, HubFailure> {
        match &self.twin {
            TwinOrder::Keep { .. } => Ok(None),
            TwinOrder::Seed(seed) => Ok(Some(Twin::seeded(seed, self.now)?)),
        }
    }

    /// Changes what is not yet as it shall be, of a device that is there.
    fn refresh(&self, rows: &Rows) -> Result<Ensured, HubFailure> {
        let gone = || HubFailure::Broken(format!("the device '{}' went out of its turn", self.id));
        let identity = rows.identity(&self.id)?.ok_or_else(gone)?;
        let mut ensured = Ensured::Unchanged;
        if !self.is_met_by(&identity) {
            let refreshed = identity.refreshed(self.credentials.clone(), self.iot_edge, &self.id);
            rows.put_identity(&self.id, &refreshed)?;
            ensured = Ensured::Refreshed;
        }
        if let Some(seeded) = self.seeded()? {
            let twin = rows.twin(&self.id)?.ok_or_else(gone)?;
            if !twin.stands_as_seeded(&seeded) {
                rows.put_twin(&self.id, &twin.restarted(seeded))?;
                ensured = Ensured::Refreshed;
            }
        }
        Ok(ensured)
    }
}

fn insert(rows: &Rows, device: &SealedDevice) -> Result<(), HubFailure> {
    let inserted = rows.insert(device)?;
    inserted.then_some(()).ok_or_else(|| HubFailure::Broken("a device came out of its turn".to_owned()))
}
