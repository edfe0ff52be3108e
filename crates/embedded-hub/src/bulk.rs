//! Many devices in one request: each is done or refused by itself.

use model::{Carried, DeviceId, Properties, Timestamp};
use serde_json::{Map, Value};
use wire::hub::{BulkDevice, BulkMode, Device, IfMatch, Part, PropertiesChange, TwinChange};

use crate::{
    device_link::Parting,
    failure::{HubFailure, OTHER_ETAG},
    hub::Hub,
    registry::{Put, delete, put},
    storage::Rows,
    twin::{DesiredChange, Mode, Twin},
    view,
};

/// Most devices in one request (IoT Hub documentation).
pub const MAX_BULK_DEVICES: usize = 100;

/// One device that a bulk request could not do.
#[derive(Debug)]
pub struct BulkRefusal {
    /// As the request named it.
    pub device_id: String,
    /// Why not.
    pub failure: HubFailure,
}

impl Hub {
    /// Does the request's entries one by one, in order. One that cannot be read is refused like any other.
    pub async fn bulk(
        &self,
        devices: Vec<Result<BulkDevice, BulkRefusal>>,
    ) -> Result<Vec<BulkRefusal>, HubFailure> {
        if devices.len() > MAX_BULK_DEVICES {
            return Err(HubFailure::Invalid(format!("more than {MAX_BULK_DEVICES} devices in one request")));
        }
        let mut refusals = Vec::new();
        for device in devices {
            let device = match device {
                Ok(device) => device,
                Err(unreadable) => {
                    refusals.push(unreadable);
                    continue;
                }
            };
            let device_id = device.id.clone();
            let hub = self.clone();
            match self.carry_out(async move { hub.bulk_one(device).await }).await {
                Ok(()) => {}
                Err(failure @ (HubFailure::Broken(_) | HubFailure::Busy)) => return Err(failure),
                Err(failure) => refusals.push(BulkRefusal { device_id, failure }),
            }
        }
        Ok(refusals)
    }

    async fn bulk_one(&self, device: BulkDevice) -> Result<(), HubFailure> {
        let id = DeviceId::parse(&device.id).map_err(|error| HubFailure::Invalid(error.to_string()))?;
        if device.module_id.as_ref().is_some_and(|module| !module.is_empty()) {
            return Err(HubFailure::Invalid("modules are not supported".to_owned()));
        }
        let now = self.creation_time();
        let _turn = self.turn(&id).await;
        let done = {
            let id = id.clone();
            self.core
                .storage
                .write(move |rows| Entry { id: &id, device: &device, now }.carry_out(rows))
                .await?
        };
        match done {
            Done::Deleted => self.core.connections.close(&id, Parting::Deleted),
            Done::Put { barred, heard } => {
                heard.iter().for_each(|heard| self.tell(&id, heard));
                barred.iter().for_each(|parting| self.core.connections.close(&id, *parting));
            }
            Done::Twin(heard) => heard.iter().for_each(|heard| self.tell(&id, heard)),
        }
        Ok(())
    }
}

/// What became of one entry.
enum Done {
    Deleted,
    Put { barred: Option<Parting>, heard: Option<DesiredChange> },
    Twin(Option<DesiredChange>),
}

struct Entry<'a> {
    id: &'a DeviceId,
    device: &'a BulkDevice,
    now: Timestamp,
}

impl Entry<'_> {
    fn carry_out(&self, rows: &Rows) -> Result<Done, HubFailure> {
        match self.device.import_mode {
            BulkMode::Create => self.put(rows, &IfMatch::Absent),
            BulkMode::CreateOrUpdate => self.create_or(rows, &IfMatch::Any),
            BulkMode::CreateOrUpdateIfMatchEtag => self.create_or(rows, &self.expected()),
            BulkMode::Update => self.put(rows, &IfMatch::Any),
            BulkMode::UpdateIfMatchEtag => self.put(rows, &self.expected()),
            BulkMode::Delete => self.delete(rows, &IfMatch::Any),
            BulkMode::DeleteIfMatchEtag => self.delete(rows, &self.expected()),
            BulkMode::UpdateTwin => Ok(Done::Twin(self.change_twin(rows)?)),
            BulkMode::UpdateTwinIfMatchEtag => {
                let twin = rows.twin(self.id)?.ok_or_else(|| HubFailure::Unknown(self.id.to_string()))?;
                let expected = IfMatch::parse(self.device.twin_etag.as_deref());
                if expected != IfMatch::Any && expected != IfMatch::Etag(view::twin_etag(&twin)) {
                    return Err(OTHER_ETAG);
                }
                Ok(Done::Twin(self.change_twin(rows)?))
            }
        }
    }

    /// The version that the entry names; one that names none matches none.
    fn expected(&self) -> IfMatch {
        match IfMatch::parse(self.device.etag.as_deref()) {
            IfMatch::Absent => IfMatch::Etag(String::new()),
            named => named,
        }
    }

    fn create_or(&self, rows: &Rows, update: &IfMatch) -> Result<Done, HubFailure> {
        let there = rows.identity(self.id)?.is_some();
        self.put(rows, if there { update } else { &IfMatch::Absent })
    }

    fn put(&self, rows: &Rows, if_match: &IfMatch) -> Result<Done, HubFailure> {
        let Put { barred, .. } = put(rows, self.id, &self.described(), if_match, self.now)?;
        if let Part::Object(reported) = &self.device.properties.reported {
            self.import_twin(rows, reported)?;
            return Ok(Done::Put { barred: barred.or(Some(Parting::OtherCredentials)), heard: None });
        }
        let heard = if self.names_a_twin() { self.change_twin(rows)? } else { None };
        Ok(Done::Put { barred, heard })
    }

    /// An entry with reported properties is the export of a device: its twin is taken as it stands, versions included.
    fn import_twin(&self, rows: &Rows, reported: &Map<String, Value>) -> Result<(), HubFailure> {
        let twin = rows.twin(self.id)?.ok_or_else(|| HubFailure::Unknown(self.id.to_string()))?;
        let carried = Carried {
            tags: object(&self.device.tags),
            desired: section(&object(&self.device.properties.desired)),
            reported: section(reported),
            disabled: None,
        };
        let imported = Twin::carried(&carried, self.now)?;
        if !twin.stands_as(&imported) {
            rows.put_twin(self.id, &twin.restarted(imported))?;
        }
        Ok(())
    }

    fn delete(&self, rows: &Rows, if_match: &IfMatch) -> Result<Done, HubFailure> {
        delete(rows, self.id, if_match)?;
        Ok(Done::Deleted)
    }

    fn change_twin(&self, rows: &Rows) -> Result<Option<DesiredChange>, HubFailure> {
        let mut twin = rows.twin(self.id)?.ok_or_else(|| HubFailure::Unknown(self.id.to_string()))?;
        let desired = self.device.properties.desired.clone();
        let change = TwinChange { tags: self.device.tags.clone(), properties: PropertiesChange { desired } };
        let heard = twin.change(change, Mode::Patch, self.now)?;
        rows.put_twin(self.id, &twin)?;
        Ok(heard)
    }

    fn names_a_twin(&self) -> bool {
        self.device.tags != Part::Absent || self.device.properties.desired != Part::Absent
    }

    fn described(&self) -> Device {
        let device = self.device;
        Device {
            device_id: device.id.clone(),
            status: device.status,
            status_reason: device.status_reason.clone(),
            authentication: device.authentication.clone(),
            capabilities: device.capabilities,
            device_scope: device.device_scope.clone(),
            parent_scopes: device.parent_scopes.clone(),
            ..Device::default()
        }
    }
}

fn object(part: &Part) -> Map<String, Value> {
    match part {
        Part::Object(object) => object.clone(),
        Part::Absent | Part::Null => Map::new(),
    }
}

/// A section of an exported twin, which says its version.
fn section(exported: &Map<String, Value>) -> Properties {
    let version = exported.get("$version").and_then(Value::as_u64).unwrap_or_default();
    Properties { value: exported.clone(), version }
}
