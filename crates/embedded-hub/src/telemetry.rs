//! Device-to-cloud messages. Nobody reads them here: they are counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::DeviceId;

use crate::{connections::Live, hub::Hub};

/// Largest device-to-cloud message, and batch of them (IoT Hub documentation).
pub const MAX_TELEMETRY_BYTES: usize = 256 * 1024;

impl Hub {
    /// Counts a message of a connected device.
    pub(crate) fn take_telemetry(&self, live: &Arc<Live>) {
        live.count_telemetry();
        self.core.telemetry.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts messages of a device that came by without a connection.
    pub(crate) fn take_telemetry_of(&self, id: &DeviceId, count: u64) {
        self.core.connections.pass_by(id, count, self.now());
        self.core.telemetry.fetch_add(count, Ordering::Relaxed);
    }

    /// Notes that a device came by without a connection.
    pub(crate) fn pass_by(&self, id: &DeviceId) {
        self.core.connections.pass_by(id, 0, self.now());
    }
}
