//! The rows of devices.

use codec::mqtt::Subscriptions;
use durable::Sealer;
use model::{DeviceId, Timestamp};
use rusqlite::{OptionalExtension, Row, params};
use wire::hub::Status;

use crate::{failure::HubFailure, registry::identity::Identity, twins::twin::Twin};

use super::{Kind, Rows, Storage, seal, unseal};

/// A stored device.
#[derive(Debug, Clone)]
pub struct StoredDevice {
    /// Its device ID.
    pub id: DeviceId,
    /// Its identity.
    pub identity: Identity,
    /// Its twin.
    pub twin: Twin,
    /// Its recorded activity.
    pub seen: LastSeen,
    /// Its queued messages.
    pub waiting: u64,
    /// The digital twin model that it announced.
    pub model: Option<String>,
}

/// The recorded activity of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// When it last connected or disconnected.
    pub state_at: Option<Timestamp>,
    /// When it was last active.
    pub active_at: Option<Timestamp>,
    /// Telemetry messages.
    pub telemetry: u64,
}

/// Activity of a device that is not recorded yet.
#[derive(Debug, Clone)]
pub struct Activity {
    /// The device.
    pub id: DeviceId,
    /// When it last connected or disconnected, if it did.
    pub state_at: Option<Timestamp>,
    /// When it was last active.
    pub active_at: Timestamp,
    /// Telemetry messages since the last record.
    pub telemetry: u64,
}

/// A device ready to be inserted.
pub struct SealedDevice {
    id: DeviceId,
    disabled: bool,
    identity: Vec<u8>,
    twin: Vec<u8>,
}

impl SealedDevice {
    fn new(
        id: &DeviceId,
        identity: &Identity,
        twin: &Twin,
        sealer: &Sealer,
    ) -> Result<SealedDevice, HubFailure> {
        Ok(SealedDevice {
            id: id.clone(),
            disabled: identity.status == Status::Disabled,
            identity: seal(sealer, Kind::Identity, id.as_str(), identity)?,
            twin: seal(sealer, Kind::Twin, id.as_str(), twin)?,
        })
    }
}

impl Storage {
    /// Seals a new device on the calling thread, to spare the writer thread.
    pub fn seal_device(
        &self,
        id: &DeviceId,
        identity: &Identity,
        twin: &Twin,
    ) -> Result<SealedDevice, HubFailure> {
        SealedDevice::new(id, identity, twin, &self.sealer)
    }
}

impl Rows<'_> {
    /// Seals a new device inside a write.
    pub fn seal_device(
        &self,
        id: &DeviceId,
        identity: &Identity,
        twin: &Twin,
    ) -> Result<SealedDevice, HubFailure> {
        SealedDevice::new(id, identity, twin, self.sealer)
    }

    /// Inserts a device; returns false if one of this name exists.
    pub fn insert(&self, device: &SealedDevice) -> Result<bool, HubFailure> {
        let sql = "INSERT INTO device (id, disabled, identity, twin) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING";
        let row = params![device.id.as_str(), device.disabled, device.identity, device.twin];
        Ok(self.connection.prepare_cached(sql)?.execute(row)? == 1)
    }

    /// Replaces the identity of an existing device.
    pub fn put_identity(&self, id: &DeviceId, identity: &Identity) -> Result<(), HubFailure> {
        let sealed = seal(self.sealer, Kind::Identity, id.as_str(), identity)?;
        let sql = "UPDATE device SET disabled = ?2, identity = ?3 WHERE id = ?1";
        let disabled = identity.status == Status::Disabled;
        self.connection.prepare_cached(sql)?.execute(params![id.as_str(), disabled, sealed])?;
        Ok(())
    }

    /// Replaces the twin of an existing device.
    pub fn put_twin(&self, id: &DeviceId, twin: &Twin) -> Result<(), HubFailure> {
        let sealed = seal(self.sealer, Kind::Twin, id.as_str(), twin)?;
        let sql = "UPDATE device SET twin = ?2 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute(params![id.as_str(), sealed])?;
        Ok(())
    }

    /// Returns the identity of a device.
    pub fn identity(&self, id: &DeviceId) -> Result<Option<Identity>, HubFailure> {
        let sealed = self.blob("SELECT identity FROM device WHERE id = ?1", id)?;
        sealed.map(|sealed| unseal(self.sealer, Kind::Identity, id.as_str(), &sealed)).transpose()
    }

    /// Returns the twin of a device.
    pub fn twin(&self, id: &DeviceId) -> Result<Option<Twin>, HubFailure> {
        let sealed = self.blob("SELECT twin FROM device WHERE id = ?1", id)?;
        sealed.map(|sealed| unseal(self.sealer, Kind::Twin, id.as_str(), &sealed)).transpose()
    }

    /// Returns the stored MQTT session of a device.
    pub fn session(&self, id: &DeviceId) -> Result<Option<Subscriptions>, HubFailure> {
        let sealed = self.optional_blob("SELECT session FROM device WHERE id = ?1", id)?;
        sealed.map(|sealed| unseal(self.sealer, Kind::Session, id.as_str(), &sealed)).transpose()
    }

    /// Stores the MQTT session of a device, or removes it.
    pub fn put_session(&self, id: &DeviceId, session: Option<&Subscriptions>) -> Result<(), HubFailure> {
        let sealed =
            session.map(|session| seal(self.sealer, Kind::Session, id.as_str(), session)).transpose()?;
        let sql = "UPDATE device SET session = ?2 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute(params![id.as_str(), sealed])?;
        Ok(())
    }

    /// Returns the digital twin model that a device announced.
    pub fn model(&self, id: &DeviceId) -> Result<Option<String>, HubFailure> {
        let sealed = self.optional_blob("SELECT model FROM device WHERE id = ?1", id)?;
        sealed.map(|sealed| unseal(self.sealer, Kind::Model, id.as_str(), &sealed)).transpose()
    }

    /// Stores the digital twin model that a device announced.
    pub fn put_model(&self, id: &DeviceId, model: &str) -> Result<(), HubFailure> {
        let sealed = seal(self.sealer, Kind::Model, id.as_str(), &model)?;
        let sql = "UPDATE device SET model = ?2 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute(params![id.as_str(), sealed])?;
        Ok(())
    }

    /// Returns a device.
    pub fn device(&self, id: &DeviceId) -> Result<Option<StoredDevice>, HubFailure> {
        let mut statement = self.connection.prepare_cached(concat!(device_columns!(), " WHERE id = ?1"))?;
        let columns = statement.query_row([id.as_str()], columns).optional()?;
        columns.map(|columns| self.stored(columns)).transpose()
    }

    /// Returns at most `limit` devices after `after`, by device ID.
    pub fn devices_after(&self, after: &str, limit: usize) -> Result<Vec<StoredDevice>, HubFailure> {
        let sql = concat!(device_columns!(), " WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, limit], columns)?.collect::<Result<Vec<_>, _>>()?;
        rows.into_iter().map(|columns| self.stored(columns)).collect()
    }

    /// Deletes a device and its queued messages; returns false if it does not exist.
    pub fn delete(&self, id: &DeviceId) -> Result<bool, HubFailure> {
        let deleted =
            self.connection.prepare_cached("DELETE FROM device WHERE id = ?1")?.execute([id.as_str()])?;
        if deleted == 1 {
            self.purge(id)?;
        }
        Ok(deleted == 1)
    }

    /// Returns how many devices exist.
    pub fn device_count(&self) -> Result<u64, HubFailure> {
        self.number("SELECT count(*) FROM device")
    }

    /// Returns how many devices are disabled.
    pub fn disabled_count(&self) -> Result<u64, HubFailure> {
        self.number("SELECT count(*) FROM device WHERE disabled = 1")
    }

    /// Records activity. A deleted device is ignored.
    pub fn record_activity(&self, activity: &Activity) -> Result<(), HubFailure> {
        // In SQLite `max` of a value and NULL is NULL.
        let sql = "UPDATE device SET state_at = coalesce(max(coalesce(state_at, 0), ?2), state_at), \
                   seen_at = max(coalesce(seen_at, 0), ?3), messages = messages + ?4 WHERE id = ?1";
        let telemetry = i64::try_from(activity.telemetry).unwrap_or(i64::MAX);
        self.connection.prepare_cached(sql)?.execute(params![
            activity.id.as_str(),
            activity.state_at.map(Timestamp::ticks),
            activity.active_at.ticks(),
            telemetry,
        ])?;
        Ok(())
    }

    pub(super) fn number(&self, sql: &str) -> Result<u64, HubFailure> {
        let number: i64 = self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(number.unsigned_abs())
    }

    fn optional_blob(&self, sql: &str, id: &DeviceId) -> Result<Option<Vec<u8>>, HubFailure> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let found: Option<Option<Vec<u8>>> =
            statement.query_row([id.as_str()], |row| row.get(0)).optional()?;
        Ok(found.flatten())
    }

    fn blob(&self, sql: &str, id: &DeviceId) -> Result<Option<Vec<u8>>, HubFailure> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([id.as_str()], |row| row.get(0)).optional()?)
    }

    fn stored(&self, columns: Columns) -> Result<StoredDevice, HubFailure> {
        let Columns { id, identity, twin, seen, model } = columns;
        let id = DeviceId::parse(&id).map_err(|error| HubFailure::Broken(error.to_string()))?;
        Ok(StoredDevice {
            identity: unseal(self.sealer, Kind::Identity, id.as_str(), &identity)?,
            twin: unseal(self.sealer, Kind::Twin, id.as_str(), &twin)?,
            waiting: self.waiting(&id)?,
            model: model.map(|sealed| unseal(self.sealer, Kind::Model, id.as_str(), &sealed)).transpose()?,
            seen,
            id,
        })
    }
}

/// A row of the table.
struct Columns {
    id: String,
    identity: Vec<u8>,
    twin: Vec<u8>,
    seen: LastSeen,
    model: Option<Vec<u8>>,
}

fn columns(row: &Row) -> rusqlite::Result<Columns> {
    let time = |ticks: Option<i64>| ticks.map(Timestamp::from_ticks);
    let seen = LastSeen {
        state_at: time(row.get(3)?),
        active_at: time(row.get(4)?),
        telemetry: row.get::<_, i64>(5)?.unsigned_abs(),
    };
    let (id, identity, twin, model) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(6)?);
    Ok(Columns { id, identity, twin, seen, model })
}

/// What [`columns`] reads, in its order.
macro_rules! device_columns {
    () => {
        "SELECT id, identity, twin, state_at, seen_at, messages, model FROM device"
    };
}
use device_columns;
