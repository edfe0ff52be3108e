//! Requests of connected devices about their own twin, over any transport. They are answered in the order in which they arrived.

use serde_json::{Map, Value, json};
use wire::{hub::ErrorDetail, without_bom};

use crate::{
    connections::LiveConnection,
    failure::HubFailure,
    hub::{Hub, tracking_id},
    twins::twin::{Twin, with_exact_integers},
};

impl Hub {
    /// Returns the desired and reported properties as the device reads them.
    pub(crate) async fn own_twin(&self, live: &LiveConnection) -> Result<Vec<u8>, HubFailure> {
        // Under the lock: a device must not read an old twin after it was notified of a newer one.
        let _device_lock = self.lock_device(&live.id).await;
        let twin = self.core.storage.read(|rows| rows.twin(&live.id))?;
        twin.map(|twin| properties(&twin)).ok_or_else(|| HubFailure::Unknown(live.id.to_string()))
    }

    /// Applies a patch to the reported properties; returns the section's new version once it is on disk.
    pub(crate) async fn own_report(&self, live: &LiveConnection, patch: &[u8]) -> Result<u64, HubFailure> {
        // Under the lock: the report of a device that was deleted or replaced meanwhile must not be applied.
        let _device_lock = self.lock_device(&live.id).await;
        if live.link.is_disconnected() {
            return Err(HubFailure::Offline(live.id.to_string()));
        }
        let patch = with_exact_integers(without_bom(patch))?;
        let object =
            |error| HubFailure::Invalid(format!("reported properties must be a JSON object: {error}"));
        let patch: Map<String, Value> = serde_json::from_slice(patch).map_err(object)?;
        self.report(&live.id, patch).await
    }

    /// Returns the body of the answer to a request that failed. Internals of the hub are logged only.
    pub(crate) fn twin_refusal(&self, live: &LiveConnection, failure: &HubFailure) -> Vec<u8> {
        let tracking_id = tracking_id();
        if let HubFailure::Broken(reason) = failure {
            tracing::error!(reason, tracking.id = tracking_id, hub.name = %self.name(), "a twin request failed");
        }
        tracing::debug!(device.id = %live.id, %failure, tracking.id = tracking_id, "twin request refused");
        let detail = ErrorDetail {
            error_code: failure.code().number(),
            tracking_id: &tracking_id,
            message: &failure.message_for_caller(),
            timestamp_utc: &self.now().to_string(),
        };
        json!(detail).to_string().into_bytes()
    }
}

/// Returns the twin for its device: without tags, and with `$version` inside each section, where SDKs read it.
fn properties(twin: &Twin) -> Vec<u8> {
    json!({"desired": twin.desired.for_device(), "reported": twin.reported.for_device()})
        .to_string()
        .into_bytes()
}
