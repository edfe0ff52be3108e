//! The situation of one device: its hub, its latencies, and the health of the hubs.

use std::{collections::HashMap, sync::Arc};

use model::{Exclusion, HubName, Latency, LatencySource};

/// What an allocation depends on beside the settings. By default nothing is known.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// The device's current hub.
    pub current: Option<HubName>,
    /// The latencies of the hubs to the device.
    pub latencies: Latencies,
    /// The hubs that are passed over; empty unless failover is on.
    pub unavailable: HashMap<HubName, Unavailability>,
}

/// The latencies of hubs to a device. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    source: Option<LatencySource>,
    by_hub: Arc<HashMap<HubName, Latency>>,
}

impl Latencies {
    /// Makes latencies of one source. Those of two sources are never compared, because they are not measured alike.
    pub fn from(source: LatencySource, by_hub: Arc<HashMap<HubName, Latency>>) -> Self {
        Latencies { source: Some(source), by_hub }
    }

    /// Returns the latency to this hub, if known.
    pub fn to(&self, hub: &HubName) -> Option<Latency> {
        self.by_hub.get(hub).copied()
    }

    /// Returns their source; `None` when none are known.
    pub fn source(&self) -> Option<&LatencySource> {
        self.source.as_ref()
    }
}

/// Why a linked hub is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailability {
    /// It does not answer.
    Down,
    /// It has as many devices as its link allows, or it reported being full.
    Full,
}

impl From<Unavailability> for Exclusion {
    fn from(unavailability: Unavailability) -> Exclusion {
        match unavailability {
            Unavailability::Down => Exclusion::Down,
            Unavailability::Full => Exclusion::Full,
        }
    }
}
