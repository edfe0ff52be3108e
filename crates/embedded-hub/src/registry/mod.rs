//! The device registry: devices as services read and change them.

mod bulk;
mod ensure;
pub mod identity;
mod regenerate_keys;
pub mod representation;

use model::{DeviceId, Timestamp};
use wire::hub::{Device, IfMatch, Status};

use crate::{
    connections::DisconnectReason,
    failure::{HubFailure, NO_ETAG, OTHER_ETAG},
    hub::{Hub, new_key},
    storage::{Rows, StoredDevice},
    twins::twin::Twin,
};

use identity::{Identity, edge_device_of};

pub use bulk::{BulkRefusal, MAX_BULK_DEVICES};
pub use ensure::{Deletion, DeviceSettings, Effect, EnsuredDevice};
pub use regenerate_keys::KeyRegeneration;

impl Hub {
    /// Returns a device as the REST API represents it, keys included.
    pub fn device(&self, id: &DeviceId) -> Result<Option<Device>, HubFailure> {
        let device = self.core.storage.read(|rows| rows.device(id))?;
        Ok(device.map(|device| representation::device(device, self.core.connections.of(id).as_deref())))
    }

    /// Returns a device's twin as the REST API represents it.
    pub fn twin(&self, id: &DeviceId) -> Result<Option<wire::hub::Twin>, HubFailure> {
        let device = self.core.storage.read(|rows| rows.device(id))?;
        Ok(device.map(|device| representation::twin(device, self.core.connections.of(id).as_deref())))
    }

    /// Returns how many telemetry messages a device has sent.
    pub fn telemetry_count(&self, id: &DeviceId) -> Result<Option<u64>, HubFailure> {
        let device = self.core.storage.read(|rows| rows.device(id))?;
        let live = self.core.connections.of(id);
        Ok(device.map(|device| device.seen.telemetry + live.map_or(0, |live| live.telemetry())))
    }

    /// Returns at most `limit` devices after `after`, by device ID.
    pub fn devices(&self, after: &str, limit: usize) -> Result<Vec<Device>, HubFailure> {
        let devices = self.core.storage.read(|rows| rows.devices_after(after, limit))?;
        let devices = devices.into_iter().map(|device| {
            let live = self.core.connections.of(&device.id);
            representation::device(device, live.as_deref())
        });
        Ok(devices.collect())
    }

    /// Creates a device (`If-Match` absent) or replaces one.
    pub async fn put_device(
        &self,
        id: &DeviceId,
        device: Device,
        if_match: IfMatch,
    ) -> Result<Device, HubFailure> {
        let (hub, id) = (self.clone(), id.clone());
        let change = async move {
            let now = hub.creation_time();
            let _device_lock = hub.lock_device(&id).await;
            let owned = id.clone();
            let write = hub.core.storage.write(move |rows| put(rows, &owned, &device, &if_match, now));
            let PutOutcome { device, disconnect } = write.await?;
            disconnect.iter().for_each(|reason| hub.core.connections.close(&id, *reason));
            Ok(representation::device(device, hub.core.connections.of(&id).as_deref()))
        };
        self.run_to_completion(change).await
    }

    /// Deletes a device; requires an `If-Match`.
    pub async fn delete_matching(&self, id: &DeviceId, if_match: IfMatch) -> Result<(), HubFailure> {
        let (hub, id) = (self.clone(), id.clone());
        let deletion = async move {
            let _device_lock = hub.lock_device(&id).await;
            let owned = id.clone();
            hub.core.storage.write(move |rows| delete(rows, &owned, &if_match)).await?;
            hub.core.connections.close(&id, DisconnectReason::Deleted);
            Ok(())
        };
        self.run_to_completion(deletion).await
    }
}

/// A device that was created or replaced.
pub(crate) struct PutOutcome {
    /// The device after the change.
    pub device: StoredDevice,
    /// Why its connection must end, if it must.
    pub disconnect: Option<DisconnectReason>,
}

/// Creates or replaces one device inside a write.
pub(crate) fn put(
    rows: &Rows,
    id: &DeviceId,
    device: &Device,
    if_match: &IfMatch,
    now: Timestamp,
) -> Result<PutOutcome, HubFailure> {
    let disconnect = match if_match {
        IfMatch::Absent => {
            create(rows, id, device, now)?;
            None
        }
        IfMatch::Any | IfMatch::Etag(_) => {
            let identity = rows.identity(id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
            let identity = of_version(identity, if_match)?;
            let replaced = identity.replaced(id, device, new_key, now)?;
            let replaced = match replaced.parent_scopes == identity.parent_scopes {
                true => replaced,
                false => with_known_parents(rows, replaced)?,
            };
            rows.put_identity(id, &replaced)?;
            disconnect_reason(&identity, &replaced)
        }
    };
    let device = rows.device(id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
    Ok(PutOutcome { device, disconnect })
}

/// Returns why a connection must end after a change. A client with a replaced certificate would stay connected: certificates do not
/// expire as tokens do.
fn disconnect_reason(before: &Identity, after: &Identity) -> Option<DisconnectReason> {
    if after.status == Status::Disabled {
        return Some(DisconnectReason::Disabled);
    }
    (before.credentials != after.credentials).then_some(DisconnectReason::CredentialsChanged)
}

/// Deletes one device inside a write.
pub(crate) fn delete(rows: &Rows, id: &DeviceId, if_match: &IfMatch) -> Result<(), HubFailure> {
    if *if_match == IfMatch::Absent {
        return Err(NO_ETAG);
    }
    let identity = rows.identity(id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
    of_version(identity, if_match)?;
    rows.delete(id)?;
    Ok(())
}

fn create(rows: &Rows, id: &DeviceId, device: &Device, now: Timestamp) -> Result<(), HubFailure> {
    let identity = with_known_parents(rows, Identity::created(id, device, new_key, now)?)?;
    let sealed = rows.seal_device(id, &identity, &Twin::new(now))?;
    if rows.insert(&sealed)? { Ok(()) } else { Err(HubFailure::Exists(id.to_string())) }
}

/// Returns an identity if its parents are edge devices of the hub: the device could not connect through others.
fn with_known_parents(rows: &Rows, identity: Identity) -> Result<Identity, HubFailure> {
    for scope in identity.parents() {
        let parent = edge_device_of(scope).map(|id| rows.identity(&id)).transpose()?.flatten();
        if parent.and_then(|parent| parent.device_scope.filter(|_| parent.iot_edge)).as_deref() != Some(scope)
        {
            let text = format!("InvalidDeviceScope: no edge device of this hub has the scope '{scope}'");
            return Err(HubFailure::Invalid(text));
        }
    }
    Ok(identity)
}

/// Returns an identity if it is of the version that the caller expects.
fn of_version(identity: Identity, if_match: &IfMatch) -> Result<Identity, HubFailure> {
    match if_match {
        IfMatch::Etag(etag) if *etag != representation::identity_etag(&identity) => Err(OTHER_ETAG),
        IfMatch::Absent | IfMatch::Any | IfMatch::Etag(_) => Ok(identity),
    }
}
