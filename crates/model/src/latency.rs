//! Latencies from devices, and from nodes of the service, to hubs.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{HubName, Timestamp};

/// The source of latencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LatencySource {
    /// The row of the operator's table for this range of addresses.
    Table(String),
    /// The row of the operator's table for this region, which a GeoIP database gives for the device's address.
    Region(String),
    /// The probes of the node that the device called.
    Probes,
}

/// The time of a round trip to a hub, in microseconds, because hubs in the same building are less than a millisecond away; at most
/// 71 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latency(u32);

impl Latency {
    /// Makes a latency of microseconds.
    pub const fn from_micros(micros: u32) -> Self {
        Latency(micros)
    }

    /// Makes a latency of whole milliseconds.
    pub const fn from_millis(millis: u32) -> Self {
        Latency(millis.saturating_mul(1000))
    }

    /// Makes a latency of milliseconds with a fraction; `None` unless it is 0 to 60,000.
    pub fn try_from_millis(millis: f64) -> Option<Self> {
        (0.0..=60_000.0).contains(&millis).then(|| Latency((millis * 1000.0).round() as u32))
    }

    /// Returns microseconds.
    pub const fn micros(self) -> u32 {
        self.0
    }

    /// Returns milliseconds with their fraction.
    pub fn millis(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Latency {
    /// Writes `12.3 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.millis())
    }
}

/// A report of all latencies, for operators.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyReport {
    /// The operator's table: networks in the order of their precedence, then regions.
    pub rows: Vec<LatencyRow>,
    /// The probes of this node, by the names of the hubs.
    pub probes: Vec<HubProbe>,
    /// The latencies to the address that was asked for, if any.
    pub seen: Option<SeenFrom>,
}

/// A row of an operator's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyRow {
    /// The devices that it is for.
    pub source: LatencySource,
    /// The latencies by the names of the hubs.
    pub hubs: Vec<(HubName, Latency)>,
}

/// The results of probing a hub from one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProbe {
    /// The hub.
    pub hub: HubName,
    /// The last probe; `None` before the first.
    pub last: Option<LastProbe>,
    /// How many devices the hub has; `None` if no link limits them.
    pub devices: Option<u64>,
}

/// The last probe of a hub, and what is known since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastProbe {
    /// When it was made.
    pub at: Timestamp,
    /// The time that a connection takes; `None` if the hub has not answered the last probes.
    pub estimate: Option<LatencyEstimate>,
    /// How many probes in a row were not answered.
    pub misses: u32,
}

/// A smoothed latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyEstimate {
    /// The latency.
    pub latency: Latency,
    /// The mean deviation from it.
    pub variation: Latency,
}

/// The hubs as seen from the address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFrom {
    /// The device's address.
    pub address: IpAddr,
    /// The source of the latencies; `None` if none are known.
    pub source: Option<LatencySource>,
    /// The hubs that take new devices, in the order of their links, with their latencies if known.
    pub hubs: Vec<(HubName, Option<Latency>)>,
    /// The hubs that share new devices from there by the weighted hash.
    pub nearest: Vec<HubName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_written_in_milliseconds() {
        assert_eq!(Latency::from_micros(12_345).to_string(), "12.3 ms");
        assert_eq!(Latency::from_millis(80).to_string(), "80.0 ms");
        assert_eq!(Latency::from_millis(u32::MAX).micros(), u32::MAX);
    }
}
