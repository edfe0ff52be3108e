//! The device registry as operators use it.

use model::{DeviceId, Timestamp};
use wire::hub::{Device, IfMatch, Status};

use crate::{
    device_link::Parting,
    failure::{HubFailure, NO_ETAG, OTHER_ETAG},
    hub::{Hub, new_key},
    identity::{Identity, edge_device_of},
    storage::{Rows, StoredDevice},
    twin::Twin,
    view,
};

impl Hub {
    /// A device as the registry shows it, keys included.
    pub fn device(&self, id: &DeviceId) -> Result<Option<Device>, HubFailure> {
        let device = self.core.storage.read(|rows| rows.device(id))?;
        Ok(device.map(|device| view::device(device, self.core.connections.of(id).as_deref())))
    }

    /// A device's twin as the service shows it.
    pub fn twin(&self, id: &DeviceId) -> Result<Option<wire::hub::Twin>, HubFailure> {
        let device = self.core.storage.read(|rows| rows.device(id))?;
        Ok(device.map(|device| view::twin(device, self.core.connections.of(id).as_deref())))
    }

    /// How many telemetry messages a device has sent.
    pub fn telemetry_of(&self, id: &DeviceId) -> Result<Option<u64>, HubFailure> {
        let device = self.core.storage.read(|rows| rows.device(id))?;
        let live = self.core.connections.of(id);
        Ok(device.map(|device| device.seen.telemetry + live.map_or(0, |live| live.telemetry())))
    }

    /// Devices by name, those after `after`, at most `limit`.
    pub fn devices(&self, after: &str, limit: usize) -> Result<Vec<Device>, HubFailure> {
        let devices = self.core.storage.read(|rows| rows.devices_after(after, limit))?;
        let shown = devices.into_iter().map(|device| {
            let live = self.core.connections.of(&device.id);
            view::device(device, live.as_deref())
        });
        Ok(shown.collect())
    }

    /// Creates a device (`If-Match` absent) or replaces one, as an operator describes it.
    pub async fn put_device(
        &self,
        id: &DeviceId,
        device: Device,
        if_match: IfMatch,
    ) -> Result<Device, HubFailure> {
        let (hub, id) = (self.clone(), id.clone());
        let change = async move {
            let now = hub.creation_time();
            let _turn = hub.turn(&id).await;
            let owned = id.clone();
            let write = hub.core.storage.write(move |rows| put(rows, &owned, &device, &if_match, now));
            let Put { device, barred } = write.await?;
            barred.iter().for_each(|parting| hub.core.connections.close(&id, *parting));
            Ok(view::device(device, hub.core.connections.of(&id).as_deref()))
        };
        self.carry_out(change).await
    }

    /// Deletes a device as an operator asks: only with an `If-Match`.
    pub async fn delete_matching(&self, id: &DeviceId, if_match: IfMatch) -> Result<(), HubFailure> {
        let (hub, id) = (self.clone(), id.clone());
        let deletion = async move {
            let _turn = hub.turn(&id).await;
            let gone = id.clone();
            hub.core.storage.write(move |rows| delete(rows, &gone, &if_match)).await?;
            hub.core.connections.close(&id, Parting::Deleted);
            Ok(())
        };
        self.carry_out(deletion).await
    }
}

/// A device that was created or replaced.
pub(crate) struct Put {
    /// As it is now.
    pub device: StoredDevice,
    /// Why a connection that it had before cannot go on.
    pub barred: Option<Parting>,
}

/// Creates or replaces one device inside a write.
pub(crate) fn put(
    rows: &Rows,
    id: &DeviceId,
    device: &Device,
    if_match: &IfMatch,
    now: Timestamp,
) -> Result<Put, HubFailure> {
    let barred = match if_match {
        IfMatch::Absent => {
            create(rows, id, device, now)?;
            None
        }
        IfMatch::Any | IfMatch::Etag(_) => {
            let identity = rows.identity(id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
            check_etag(&identity, if_match)?;
            let replaced = identity.replaced(id, device, new_key, now)?;
            if replaced.parent_scopes != identity.parent_scopes {
                check_parents(rows, &replaced)?;
            }
            rows.put_identity(id, &replaced)?;
            barred(&identity, &replaced)
        }
    };
    let device = rows.device(id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
    Ok(Put { device, barred })
}

/// Certificates do not expire as tokens do: whoever came in by one that is replaced would stay.
fn barred(before: &Identity, after: &Identity) -> Option<Parting> {
    if after.status == Status::Disabled {
        return Some(Parting::Disabled);
    }
    (before.credentials != after.credentials).then_some(Parting::OtherCredentials)
}

/// Deletes one device inside a write.
pub(crate) fn delete(rows: &Rows, id: &DeviceId, if_match: &IfMatch) -> Result<(), HubFailure> {
    if *if_match == IfMatch::Absent {
        return Err(NO_ETAG);
    }
    let identity = rows.identity(id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
    check_etag(&identity, if_match)?;
    rows.delete(id)?;
    Ok(())
}

fn create(rows: &Rows, id: &DeviceId, device: &Device, now: Timestamp) -> Result<(), HubFailure> {
    let identity = Identity::created(id, device, new_key, now)?;
    check_parents(rows, &identity)?;
    let sealed = rows.seal_device(id, &identity, &Twin::new(now))?;
    if rows.insert(&sealed)? { Ok(()) } else { Err(HubFailure::Exists(id.to_string())) }
}

/// Refuses a device below an edge device that the hub does not have: it could never reach the hub through it.
fn check_parents(rows: &Rows, identity: &Identity) -> Result<(), HubFailure> {
    for scope in identity.parents() {
        let parent = edge_device_of(scope).map(|id| rows.identity(&id)).transpose()?.flatten();
        if parent.and_then(|parent| parent.device_scope.filter(|_| parent.iot_edge)).as_deref() != Some(scope)
        {
            let text = format!("InvalidDeviceScope: no edge device of this hub has the scope '{scope}'");
            return Err(HubFailure::Invalid(text));
        }
    }
    Ok(())
}

fn check_etag(identity: &Identity, if_match: &IfMatch) -> Result<(), HubFailure> {
    match if_match {
        IfMatch::Etag(etag) if *etag != view::identity_etag(identity) => Err(OTHER_ETAG),
        IfMatch::Absent | IfMatch::Any | IfMatch::Etag(_) => Ok(()),
    }
}
