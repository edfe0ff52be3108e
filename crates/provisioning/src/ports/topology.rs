//! The hub topology: latencies to the linked hubs, and their health.

use std::net::IpAddr;

use model::{Instance, LatencyReport, LinkedHub};

use crate::allocate::{Latencies, Unavailability};

/// Reads the hub topology. Every allocation that needs it does, so it answers from memory.
pub trait HubTopology: Send + Sync {
    /// Returns the latencies of the instance's hubs from a device with this address, or from this node when nothing is known
    /// of the address.
    fn latencies(&self, instance: &Instance, device: Option<IpAddr>) -> Latencies;

    /// Returns why new devices should be kept away from a linked hub.
    fn unavailability(&self, hub: &LinkedHub) -> Option<Unavailability>;

    /// Returns the table of latencies, and the probes of the instance's hubs, for operators.
    fn report(&self, instance: &Instance) -> LatencyReport;
}

/// A hub topology of which nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unknown;

impl HubTopology for Unknown {
    fn latencies(&self, _instance: &Instance, _device: Option<IpAddr>) -> Latencies {
        Latencies::default()
    }

    fn unavailability(&self, _hub: &LinkedHub) -> Option<Unavailability> {
        None
    }

    fn report(&self, _instance: &Instance) -> LatencyReport {
        LatencyReport::default()
    }
}
