//! Latencies: how far hubs are from devices, and from nodes of the service.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{HubName, Timestamp};

/// Where latencies are from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LatencySource {
    /// The operator's table, by this range of addresses.
    Table(String),
    /// The operator's table, by this region, in which a GeoIP database puts the device's address.
    Region(String),
    /// Measured by the node that the device came to.
    Probes,
}

/// A round trip between a device and a hub, or between a node and a hub, in microseconds. Kept to the microsecond,
/// because hubs in one house are less than a millisecond away; at most 71 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latency(u32);

impl Latency {
    /// From microseconds.
    pub const fn from_micros(micros: u32) -> Self {
        Latency(micros)
    }

    /// From whole milliseconds.
    pub const fn from_millis(millis: u32) -> Self {
        Latency(millis.saturating_mul(1000))
    }

    /// Microseconds.
    pub const fn micros(self) -> u32 {
        self.0
    }

    /// Milliseconds with their fraction.
    pub fn millis(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Latency {
    /// `12.3 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.millis())
    }
}

/// What is known of latencies, for operators.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyReport {
    /// The operator's table: networks in the order in which they are looked at, then regions.
    pub rows: Vec<LatencyRow>,
    /// What this node measured, by the names of the hubs.
    pub probes: Vec<HubProbe>,
    /// From the address that was asked for, if one was.
    pub seen: Option<SeenFrom>,
}

/// A row of an operator's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyRow {
    /// For which devices.
    pub source: LatencySource,
    /// How far the hubs are, by their names.
    pub hubs: Vec<(HubName, Latency)>,
}

/// What a node knows of a hub by looking at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProbe {
    /// The hub.
    pub hub: HubName,
    /// How long it takes to connect; `None` when it has not answered lately.
    pub latency: Option<Latency>,
    /// The mean deviation from that.
    pub variation: Option<Latency>,
    /// Probes without an answer since the last one with one.
    pub misses: u32,
    /// When it was probed last.
    pub probed: Option<Timestamp>,
    /// How many devices it has; `None` while nobody needs to know.
    pub devices: Option<u64>,
}

/// The hubs from where a device stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFrom {
    /// The device's address.
    pub address: IpAddr,
    /// Where the latencies are from; `None` when none are known.
    pub source: Option<LatencySource>,
    /// The hubs that take new devices, as they are linked, and how far they are as far as is known.
    pub hubs: Vec<(HubName, Option<Latency>)>,
    /// Those that share the new devices from there by the weighted hash.
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
