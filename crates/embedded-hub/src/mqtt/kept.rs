//! What the hub keeps of a device's MQTT connections: its session.

use codec::mqtt::Subscriptions;
use model::DeviceId;

use crate::{failure::HubFailure, hub::Hub};

impl Hub {
    /// The subscriptions of the session that a device has left, if it has one.
    pub(crate) fn session(&self, id: &DeviceId) -> Result<Option<Subscriptions>, HubFailure> {
        self.core.storage.read(|rows| rows.session(id))
    }

    /// Stores a device's session, or forgets it.
    pub(crate) async fn keep_session(
        &self,
        id: &DeviceId,
        session: Option<Subscriptions>,
    ) -> Result<(), HubFailure> {
        let id = id.clone();
        self.core.storage.write(move |rows| rows.put_session(&id, session.as_ref())).await
    }
}
