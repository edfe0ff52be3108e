//! Changing twins, and telling devices of it in the order of the commits.

use model::DeviceId;
use serde_json::{Map, Value};
use wire::{
    hub::{IfMatch, TwinChange},
    topics::DeviceFilter,
};

use crate::{
    device_link::{Parting, Unsent},
    failure::{HubFailure, OTHER_ETAG},
    hub::Hub,
    twin::{DesiredChange, Mode, Twin},
    view,
};

impl Hub {
    /// Changes tags and desired properties; a listening device is told. Returns the twin as it is then.
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
            let _turn = hub.turn(&id).await;
            let owned = id.clone();
            let write = hub.core.storage.write(move |rows| {
                let mut device =
                    rows.device(&owned)?.ok_or_else(|| HubFailure::Unknown(owned.to_string()))?;
                check_etag(&device.twin, &if_match)?;
                let heard = device.twin.change(change, mode, now)?;
                rows.put_twin(&owned, &device.twin)?;
                Ok((device, heard))
            });
            let (device, heard) = write.await?;
            heard.iter().for_each(|heard| hub.tell(&id, heard));
            Ok(view::twin(device, hub.core.connections.of(&id).as_deref()))
        };
        self.carry_out(change).await
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

    /// Tells a listening device of a change. One that cannot take it is disconnected: it reads its
    /// whole twin when it comes back.
    pub(crate) fn tell(&self, id: &DeviceId, heard: &DesiredChange) {
        let Some(live) = self.core.connections.of(id) else { return };
        if !live.listens_to(DeviceFilter::Desired) {
            return;
        }
        // A device that subscribed to other changes does not hear of this one.
        if let Err(Unsent::Outbox(_)) = live.line.desired(heard) {
            live.line.part(Parting::Stuck);
        }
    }
}

fn check_etag(twin: &Twin, if_match: &IfMatch) -> Result<(), HubFailure> {
    match if_match {
        IfMatch::Etag(etag) if *etag != view::twin_etag(twin) => Err(OTHER_ETAG),
        IfMatch::Absent | IfMatch::Any | IfMatch::Etag(_) => Ok(()),
    }
}
