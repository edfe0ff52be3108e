//! Many devices in one request: each is changed or refused on its own.

use model::{Carried, DeviceId, Properties, Timestamp};
use serde_json::{Map, Value};
use wire::hub::{BulkDevice, BulkMode, Device, IfMatch, Part, PropertiesChange, TwinChange};

use crate::{
    connections::DisconnectReason,
    failure::{HubFailure, OTHER_ETAG},
    hub::Hub,
    registry::{PutOutcome, delete, put, representation},
    storage::Rows,
    twins::twin::{DesiredChange, Mode, Twin},
};

/// Devices in one request (IoT Hub documentation).
pub const MAX_BULK_DEVICES: usize = 100;

/// A device that a bulk request could not change.
#[derive(Debug)]
pub struct BulkRefusal {
    /// The device ID as in the request.
    pub device_id: String,
    /// The reason.
    pub failure: HubFailure,
}

impl Hub {
    /// Applies the entries of a request one by one, in order. One that cannot be decoded is refused like any other.
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
                Err(refusal) => {
                    refusals.push(refusal);
                    continue;
                }
            };
            let device_id = device.id.clone();
            let hub = self.clone();
            match self.run_to_completion(async move { hub.apply_entry(device).await }).await {
                Ok(()) => {}
                Err(failure @ (HubFailure::Broken(_) | HubFailure::Busy)) => return Err(failure),
                Err(failure) => refusals.push(BulkRefusal { device_id, failure }),
            }
        }
        Ok(refusals)
    }

    async fn apply_entry(&self, device: BulkDevice) -> Result<(), HubFailure> {
        let id = DeviceId::parse(&device.id).map_err(|error| HubFailure::Invalid(error.to_string()))?;
        if device.module_id.as_ref().is_some_and(|module| !module.is_empty()) {
            return Err(HubFailure::Invalid("modules are not supported".to_owned()));
        }
        let now = self.creation_time();
        let _device_lock = self.lock_device(&id).await;
        let outcome = {
            let id = id.clone();
            self.core.storage.write(move |rows| Entry { id: &id, device: &device, now }.apply(rows)).await?
        };
        match outcome {
            EntryOutcome::Deleted => self.core.connections.close(&id, DisconnectReason::Deleted),
            EntryOutcome::Put { disconnect, desired_change } => {
                desired_change.iter().for_each(|change| self.send_desired_change(&id, change));
                disconnect.iter().for_each(|reason| self.core.connections.close(&id, *reason));
            }
            EntryOutcome::Twin(desired_change) => {
                desired_change.iter().for_each(|change| self.send_desired_change(&id, change))
            }
        }
        Ok(())
    }
}

/// The outcome of one entry.
enum EntryOutcome {
    Deleted,
    Put { disconnect: Option<DisconnectReason>, desired_change: Option<DesiredChange> },
    Twin(Option<DesiredChange>),
}

struct Entry<'a> {
    id: &'a DeviceId,
    device: &'a BulkDevice,
    now: Timestamp,
}

impl Entry<'_> {
    fn apply(&self, rows: &Rows) -> Result<EntryOutcome, HubFailure> {
        match self.device.import_mode {
            BulkMode::Create => self.put(rows, &IfMatch::Absent),
            BulkMode::CreateOrUpdate => self.create_or_update(rows, &IfMatch::Any),
            BulkMode::CreateOrUpdateIfMatchEtag => self.create_or_update(rows, &self.expected()),
            BulkMode::Update => self.put(rows, &IfMatch::Any),
            BulkMode::UpdateIfMatchEtag => self.put(rows, &self.expected()),
            BulkMode::Delete => self.delete(rows, &IfMatch::Any),
            BulkMode::DeleteIfMatchEtag => self.delete(rows, &self.expected()),
            BulkMode::UpdateTwin => Ok(EntryOutcome::Twin(self.change_twin(rows)?)),
            BulkMode::UpdateTwinIfMatchEtag => {
                let twin = rows.twin(self.id)?.ok_or_else(|| HubFailure::Unknown(self.id.to_string()))?;
                let expected = IfMatch::parse(self.device.twin_etag.as_deref());
                if expected != IfMatch::Any && expected != IfMatch::Etag(representation::twin_etag(&twin)) {
                    return Err(OTHER_ETAG);
                }
                Ok(EntryOutcome::Twin(self.change_twin(rows)?))
            }
        }
    }

    /// Returns the version that the entry expects; one without a version matches none.
    fn expected(&self) -> IfMatch {
        match IfMatch::parse(self.device.etag.as_deref()) {
            IfMatch::Absent => IfMatch::Etag(String::new()),
            named => named,
        }
    }

    fn create_or_update(&self, rows: &Rows, update: &IfMatch) -> Result<EntryOutcome, HubFailure> {
        let exists = rows.identity(self.id)?.is_some();
        self.put(rows, if exists { update } else { &IfMatch::Absent })
    }

    fn put(&self, rows: &Rows, if_match: &IfMatch) -> Result<EntryOutcome, HubFailure> {
        let PutOutcome { disconnect, .. } = put(rows, self.id, &self.described(), if_match, self.now)?;
        if let Part::Object(reported) = &self.device.properties.reported {
            self.import_twin(rows, reported)?;
            return Ok(EntryOutcome::Put {
                disconnect: disconnect.or(Some(DisconnectReason::CredentialsChanged)),
                desired_change: None,
            });
        }
        let desired_change = if self.has_twin_changes() { self.change_twin(rows)? } else { None };
        Ok(EntryOutcome::Put { disconnect, desired_change })
    }

    /// Imports a twin. An entry with reported properties is the export of a device, and its twin is stored with its versions.
    fn import_twin(&self, rows: &Rows, reported: &Map<String, Value>) -> Result<(), HubFailure> {
        let twin = rows.twin(self.id)?.ok_or_else(|| HubFailure::Unknown(self.id.to_string()))?;
        let carried = Carried {
            tags: object(&self.device.tags),
            desired: section(&object(&self.device.properties.desired)),
            reported: section(reported),
            disabled: None,
        };
        let imported = Twin::carried(&carried, self.now)?;
        if !twin.is_unchanged_since(&imported) {
            rows.put_twin(self.id, &twin.restarted(imported))?;
        }
        Ok(())
    }

    fn delete(&self, rows: &Rows, if_match: &IfMatch) -> Result<EntryOutcome, HubFailure> {
        delete(rows, self.id, if_match)?;
        Ok(EntryOutcome::Deleted)
    }

    fn change_twin(&self, rows: &Rows) -> Result<Option<DesiredChange>, HubFailure> {
        let mut twin = rows.twin(self.id)?.ok_or_else(|| HubFailure::Unknown(self.id.to_string()))?;
        let desired = self.device.properties.desired.clone();
        let change = TwinChange { tags: self.device.tags.clone(), properties: PropertiesChange { desired } };
        let desired_change = twin.change(change, Mode::Patch, self.now)?;
        rows.put_twin(self.id, &twin)?;
        Ok(desired_change)
    }

    fn has_twin_changes(&self) -> bool {
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

/// Returns a section of an exported twin, which includes its version.
fn section(exported: &Map<String, Value>) -> Properties {
    let version = exported.get("$version").and_then(Value::as_u64).unwrap_or_default();
    Properties { value: exported.clone(), version }
}
