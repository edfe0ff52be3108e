//! What is known of the hubs at the moment, from where one device stands.

use std::{collections::HashMap, sync::Arc};

use model::{Exclusion, HubName, Latency, LatencySource};

/// What an allocation looks at beside the settings. By default nothing is known.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// Where the device lives now.
    pub current: Option<HubName>,
    /// How far the hubs are from it.
    pub latencies: Latencies,
    /// The hubs that new devices should be kept away from; empty unless the instance fails over.
    pub ailing: HashMap<HubName, Unavailability>,
}

/// How far hubs are from a device. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    source: Option<LatencySource>,
    by_hub: Arc<HashMap<HubName, Latency>>,
}

impl Latencies {
    /// From one source: latencies of two are not compared, because they are not measured alike.
    pub fn from(source: LatencySource, by_hub: Arc<HashMap<HubName, Latency>>) -> Self {
        Latencies { source: Some(source), by_hub }
    }

    /// To this hub, when it is known.
    pub fn to(&self, hub: &HubName) -> Option<Latency> {
        self.by_hub.get(hub).copied()
    }

    /// Where they are from; `None` when none are known.
    pub fn source(&self) -> Option<&LatencySource> {
        self.source.as_ref()
    }
}

/// Why new devices should be kept away from a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailability {
    /// It does not answer.
    Down,
    /// It has as many devices as it may have, by its link or in its own words.
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
