//! Device-to-cloud messages. They are counted, not stored.

use std::sync::{Arc, atomic::Ordering};

use model::DeviceId;

use crate::{connections::LiveConnection, hub::Hub};

/// Bytes of a device-to-cloud message, and of a batch of them (IoT Hub documentation).
pub const MAX_TELEMETRY_BYTES: usize = 256 * 1024;

impl Hub {
    /// Counts a message of a connected device.
    pub(crate) fn count_telemetry(&self, live: &Arc<LiveConnection>) {
        live.count_telemetry();
        self.core.telemetry.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts messages of a device without a connection.
    pub(crate) fn count_telemetry_of(&self, id: &DeviceId, count: u64) {
        self.core.connections.note_activity_of(id, count, self.now());
        self.core.telemetry.fetch_add(count, Ordering::Relaxed);
    }

    /// Records activity of a device without a connection.
    pub(crate) fn note_activity_of(&self, id: &DeviceId) {
        self.core.connections.note_activity_of(id, 0, self.now());
    }
}
