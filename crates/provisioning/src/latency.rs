//! What operators are shown of latencies.

use std::net::IpAddr;

use model::{Instance, LatencyReport};

use crate::{Provisioning, allocate};

impl Provisioning {
    /// The operator's table and this node's probes, as far as they are about hubs of the instance; and how those look from
    /// an address, if one is given. Free of charge.
    pub fn latencies(&self, instance: &Instance, address: Option<IpAddr>) -> LatencyReport {
        let mut report = self.topology.report(instance);
        for row in &mut report.rows {
            row.hubs.retain(|(hub, _)| instance.linked_hub(hub).is_some());
        }
        report.rows.retain(|row| !row.hubs.is_empty());
        report.seen = address.map(|address| {
            let latencies = self.topology.latencies(instance, Some(address));
            allocate::seen_from(instance, address, &latencies)
        });
        report
    }
}
