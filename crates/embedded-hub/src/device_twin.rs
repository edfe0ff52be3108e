//! A connected device's requests about its own twin, whatever the transport. They are answered in the order in which
//! they came.

use serde_json::{Map, Value, json};
use wire::{hub::ErrorDetail, without_bom};

use crate::{
    connections::Live,
    failure::HubFailure,
    hub::{Hub, tracking_id},
    twin::{Twin, check_integers},
};

impl Hub {
    /// The properties, desired and reported, as the device reads them.
    pub(crate) async fn own_twin(&self, live: &Live) -> Result<Vec<u8>, HubFailure> {
        // In turn with changes: a device must not read an old twin after it heard of a newer one.
        let _turn = self.turn(&live.id).await;
        let twin = self.core.storage.read(|rows| rows.twin(&live.id))?;
        twin.map(|twin| properties(&twin)).ok_or_else(|| HubFailure::Unknown(live.id.to_string()))
    }

    /// Applies a patch to the reported properties; on disk when it returns the section's new version.
    pub(crate) async fn own_report(&self, live: &Live, patch: &[u8]) -> Result<u64, HubFailure> {
        // In turn with deletions and new beginnings: a device that was disconnected meanwhile is not to be heard.
        let _turn = self.turn(&live.id).await;
        if live.line.is_parted() {
            return Err(HubFailure::Offline(live.id.to_string()));
        }
        let patch = without_bom(patch);
        check_integers(patch)?;
        let object =
            |error| HubFailure::Invalid(format!("reported properties must be a JSON object: {error}"));
        let patch: Map<String, Value> = serde_json::from_slice(patch).map_err(object)?;
        self.report(&live.id, patch).await
    }

    /// The body of the answer to a request that failed. What is inside the hub goes to the log.
    pub(crate) fn twin_refusal(&self, live: &Live, failure: &HubFailure) -> Vec<u8> {
        let tracking_id = tracking_id();
        if let HubFailure::Broken(reason) = failure {
            tracing::error!(reason, tracking.id = tracking_id, hub.name = %self.name(), "a twin request failed");
        }
        tracing::debug!(device.id = %live.id, %failure, tracking.id = tracking_id, "twin request refused");
        let detail = ErrorDetail {
            error_code: failure.code().number(),
            tracking_id: &tracking_id,
            message: &failure.told(),
            timestamp_utc: &self.now().to_string(),
        };
        json!(detail).to_string().into_bytes()
    }
}

/// What a device sees of its twin: no tags, and `$version` inside each section, where SDKs read it.
fn properties(twin: &Twin) -> Vec<u8> {
    json!({"desired": twin.desired.for_device(), "reported": twin.reported.for_device()})
        .to_string()
        .into_bytes()
}
