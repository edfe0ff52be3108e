//! The stored MQTT sessions of devices.

use codec::mqtt::Subscriptions;
use model::DeviceId;

use crate::{failure::HubFailure, hub::Hub};

impl Hub {
    /// Returns the subscriptions of the stored session of a device.
    pub(crate) fn session(&self, id: &DeviceId) -> Result<Option<Subscriptions>, HubFailure> {
        self.core.storage.read(|rows| rows.session(id))
    }

    /// Stores a device's session, or removes it.
    pub(crate) async fn store_session(
        &self,
        id: &DeviceId,
        session: Option<Subscriptions>,
    ) -> Result<(), HubFailure> {
        let id = id.clone();
        self.core.storage.write(move |rows| rows.put_session(&id, session.as_ref())).await
    }
}
