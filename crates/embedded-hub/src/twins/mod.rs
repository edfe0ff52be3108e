//! Changes of twins, and their notifications to devices in the order of the commits.

mod model_id;
mod of_device;
pub mod twin;

use model::DeviceId;
use serde_json::{Map, Value};
use wire::{
    hub::{IfMatch, TwinChange},
    topics::DeviceFilter,
};

use crate::{
    connections::{DisconnectReason, SendError},
    failure::{HubFailure, OTHER_ETAG},
    hub::Hub,
    registry::representation,
    storage::StoredDevice,
    twins::twin::{DesiredChange, Mode},
};

pub use model_id::ModelId;

impl Hub {
    /// Changes tags and desired properties, and notifies a subscribed device. Returns the changed twin.
    pub async fn change_twin(
        &self,
        id: &DeviceId,
        change: TwinChange,
        mode: Mode,
        if_match: IfMatch,
    ) -> Result<wire::hub::Twin, HubFailure> {
        let (hub, id) = (self.clone(), id.clone());
        let change = async move {
            let now = hub.now();
            let _device_lock = hub.lock_device(&id).await;
            let owned = id.clone();
            let write = hub.core.storage.write(move |rows| {
                let device = rows.device(&owned)?.ok_or_else(|| HubFailure::Unknown(owned.to_string()))?;
                let mut device = of_version(device, &if_match)?;
                let desired_change = device.twin.change(change, mode, now)?;
                rows.put_twin(&owned, &device.twin)?;
                Ok((device, desired_change))
            });
            let (device, desired_change) = write.await?;
            desired_change.iter().for_each(|change| hub.send_desired_change(&id, change));
            Ok(representation::twin(device, hub.core.connections.of(&id).as_deref()))
        };
        self.run_to_completion(change).await
    }

    /// Applies a device's patch to its reported properties; returns the section's new version.
    pub async fn report(&self, id: &DeviceId, patch: Map<String, Value>) -> Result<u64, HubFailure> {
        let now = self.now();
        let id = id.clone();
        let write = self.core.storage.write(move |rows| {
            let mut twin = rows.twin(&id)?.ok_or_else(|| HubFailure::Unknown(id.to_string()))?;
            let version = twin.report(patch, now)?;
            rows.put_twin(&id, &twin)?;
            Ok(version)
        });
        write.await
    }

    /// Sends a change to a subscribed device. One whose queue is full is disconnected: it reads its whole twin when it
    /// reconnects.
    pub(crate) fn send_desired_change(&self, id: &DeviceId, change: &DesiredChange) {
        let Some(live) = self.core.connections.of(id) else { return };
        if !live.is_subscribed_to(DeviceFilter::Desired) {
            return;
        }
        // A device that has not subscribed to this topic is not notified.
        if let Err(SendError::Outbox(_)) = live.link.desired(change) {
            live.link.disconnect(DisconnectReason::NotReading);
        }
    }
}

/// Returns a device if its twin is of the version that the caller expects.
fn of_version(device: StoredDevice, if_match: &IfMatch) -> Result<StoredDevice, HubFailure> {
    match if_match {
        IfMatch::Etag(etag) if *etag != representation::twin_etag(&device.twin) => Err(OTHER_ETAG),
        IfMatch::Absent | IfMatch::Any | IfMatch::Etag(_) => Ok(device),
    }
}
