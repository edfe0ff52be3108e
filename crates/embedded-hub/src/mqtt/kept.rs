//! What the hub keeps of a device's MQTT connections: its session and its digital twin model.

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

    /// Notes the model that a device says it follows, unless that is known; a device that says none keeps it.
    pub(crate) async fn note_model(&self, id: &DeviceId, model: Option<String>) -> Result<(), HubFailure> {
        let Some(model) = model else { return Ok(()) };
        if self.core.storage.read(|rows| rows.model(id))?.as_ref() == Some(&model) {
            return Ok(());
        }
        let id = id.clone();
        self.core.storage.write(move |rows| rows.put_model(&id, &model)).await
    }
}
