//! The devices at hubs that registrations have: each belongs to at most one registration, of any instance.
//!
//! A registration has the device at the hub that it is assigned to, and the one at the hub that it is moved to. Both are
//! columns of its row, with an index each. The one writer looks a device up in the transaction that assigns it: of two
//! registrations that want one at the same time, one gets it. A device that a registration has already is not looked up: a
//! file of version 1 may hold two registrations with the same device, and both must be able to continue.
//!
//! A device costs one index entry of the hub's number and the device ID. The device ID is in the row only where it differs
//! from the registration's own.

use durable::{
    Database,
    rusqlite::{self, Connection, OptionalExtension},
};
use model::{HubDeviceRef, IdScope, Registration};
use provisioning::ports::StoreError;

use crate::{
    broken,
    document::{Documents, RowRef},
    table::Table,
};

/// The devices of a registration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HubDeviceIndex {
    at: Option<HubDeviceRef>,
    to: Option<HubDeviceRef>,
}

/// The columns of a row: hub number and device ID of both devices. A device ID is `None` if it is the registration ID.
type Columns = (Option<i64>, Option<String>, Option<i64>, Option<String>);

impl HubDeviceIndex {
    pub(crate) fn new((at, to): &(Option<HubDeviceRef>, Option<HubDeviceRef>)) -> HubDeviceIndex {
        HubDeviceIndex { at: at.clone(), to: to.clone() }
    }

    /// Returns the columns for this row; `None` when one of the devices belongs to another registration.
    pub(crate) fn claim(
        &self,
        connection: &Connection,
        instance: i64,
        id: &str,
    ) -> rusqlite::Result<Option<Columns>> {
        let before = connection.prepare_cached(PLACES)?.query_row((instance, id), columns).optional()?;
        let before = before.unwrap_or_default();
        let (at_hub, at_device) = spot(connection, self.at.as_ref(), id)?;
        let (to_hub, to_device) = spot(connection, self.to.as_ref(), id)?;
        let had = [(before.0, &before.1), (before.2, &before.3)];
        for (hub, device) in [(at_hub, &at_device), (to_hub, &to_device)] {
            let Some(number) = hub.filter(|_| !had.contains(&(hub, device))) else { continue };
            let device = device.as_deref().unwrap_or(id);
            if connection.prepare_cached(OTHER)?.exists((number, device, instance, id))? {
                return Ok(None);
            }
        }
        Ok(Some((at_hub, at_device, to_hub, to_device)))
    }
}

/// Writes the columns of an existing row, unless it has them already.
pub(crate) fn note(
    connection: &Connection,
    instance: i64,
    id: &str,
    (at_hub, at_device, to_hub, to_device): &Columns,
) -> rusqlite::Result<()> {
    let values = (instance, id, at_hub, at_device, to_hub, to_device);
    connection.prepare_cached(NOTE)?.execute(values)?;
    Ok(())
}

fn spot(
    connection: &Connection,
    place: Option<&HubDeviceRef>,
    id: &str,
) -> rusqlite::Result<(Option<i64>, Option<String>)> {
    let Some(place) = place else { return Ok((None, None)) };
    let device = place.device_id.as_str();
    Ok((Some(hub_number(connection, place.hub.as_str())?), (device != id).then(|| device.to_owned())))
}

fn hub_number(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let find = || connection.prepare_cached(HUB)?.query_row([name], |row| row.get(0)).optional();
    if let Some(number) = find()? {
        return Ok(number);
    }
    connection.prepare_cached("INSERT INTO hubs (name) VALUES (?1)")?.insert([name])
}

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

/// Returns ID scope and ID of the registration that a device belongs to, unless it is this one of the instance.
pub(super) fn owner(
    connection: &Connection,
    device: &HubDeviceRef,
    (instance, id): (i64, &str),
) -> rusqlite::Result<Option<(String, String)>> {
    let name = device.hub.as_str();
    let hub: Option<i64> = connection.prepare_cached(HUB)?.query_row([name], |row| row.get(0)).optional()?;
    let Some(hub) = hub else { return Ok(None) };
    let mut other = connection.prepare_cached(OTHER)?;
    let values = (hub, device.device_id.as_str(), instance, id);
    other.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Fills in the columns of registrations that were stored by version 1, batch by batch: after an interruption the next start
/// continues. A registration that cannot be read gets none; two that have the same device both keep it.
pub(crate) fn fill(database: &Database, documents: &Documents) -> Result<(), StoreError> {
    loop {
        let batch: Vec<Unplaced> = database
            .read(|connection| {
                connection.prepare_cached(UNPLACED)?.query_map([FILLED_AT_ONCE], unplaced)?.collect()
            })
            .map_err(|error: rusqlite::Error| broken(error))?;
        if batch.is_empty() {
            return Ok(());
        }
        let read: Vec<_> = batch.into_iter().map(|row| (row.places(documents), row)).collect();
        let write = move |connection: &Connection| {
            read.iter().try_for_each(|(places, row)| row.place(connection, places))
        };
        database.write_blocking(write).map_err(broken)?;
    }
}

/// A registration whose devices are only in its document.
struct Unplaced {
    instance: i64,
    id: String,
    scope: Option<String>,
    document: Option<Vec<u8>>,
}

impl Unplaced {
    fn places(&self, documents: &Documents) -> HubDeviceIndex {
        let none = HubDeviceIndex { at: None, to: None };
        let (Some(scope), Some(document)) = (&self.scope, &self.document) else { return none };
        let Ok(scope) = IdScope::parse(scope.clone()) else { return none };
        let place = RowRef { table: Table::Registrations, scope: &scope, id: &self.id };
        documents
            .open::<Registration>(place, document)
            .map_or(none, |registration| HubDeviceIndex::new(&registration.hub_devices()))
    }

    /// Writes the columns without a check for other registrations: stored data is never thrown away.
    fn place(&self, connection: &Connection, places: &HubDeviceIndex) -> rusqlite::Result<()> {
        let (at_hub, at_device) = spot(connection, places.at.as_ref(), &self.id)?;
        let (to_hub, to_device) = spot(connection, places.to.as_ref(), &self.id)?;
        note(connection, self.instance, &self.id, &(at_hub, at_device, to_hub, to_device))?;
        let sql = "DELETE FROM unplaced WHERE instance = ?1 AND id = ?2";
        connection.prepare_cached(sql)?.execute((self.instance, &self.id))?;
        Ok(())
    }
}

fn unplaced(row: &rusqlite::Row<'_>) -> rusqlite::Result<Unplaced> {
    Ok(Unplaced { instance: row.get(0)?, id: row.get(1)?, scope: row.get(2)?, document: row.get(3)? })
}

/// Registrations that are filled in at once; bounds the memory, since a document has a few kilobytes.
const FILLED_AT_ONCE: i64 = 500;

const UNPLACED: &str = "
    SELECT unplaced.instance, unplaced.id, scope, registrations.document FROM unplaced
    LEFT JOIN instances ON number = unplaced.instance
    LEFT JOIN registrations ON registrations.instance = unplaced.instance AND registrations.id = unplaced.id
    LIMIT ?1";

const HUB: &str = "SELECT number FROM hubs WHERE name = ?1";

const PLACES: &str =
    "SELECT at_hub, at_device, to_hub, to_device FROM registrations WHERE instance = ?1 AND id = ?2";

/// `?1` hub, `?2` device ID; not the registration `?4` of the instance `?3`. Returns ID scope and registration ID.
const OTHER: &str = "
    SELECT scope, id FROM (
        SELECT instance, id FROM registrations
        WHERE at_hub IS NOT NULL AND at_hub = ?1 AND ifnull(at_device, id) = ?2
        UNION ALL
        SELECT instance, id FROM registrations
        WHERE to_hub IS NOT NULL AND to_hub = ?1 AND ifnull(to_device, id) = ?2
    ) AS found JOIN instances ON number = instance
    WHERE NOT (instance = ?3 AND id = ?4) LIMIT 1";

const NOTE: &str = "
    UPDATE registrations SET at_hub = ?3, at_device = ?4, to_hub = ?5, to_device = ?6
    WHERE instance = ?1 AND id = ?2
      AND (at_hub IS NOT ?3 OR at_device IS NOT ?4 OR to_hub IS NOT ?5 OR to_device IS NOT ?6)";
