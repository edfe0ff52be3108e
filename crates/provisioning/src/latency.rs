//! Reports latencies to operators.

use std::net::IpAddr;

use model::{Instance, LatencyReport};

use crate::{Provisioning, allocate};

impl Provisioning {
    /// Returns the operator's table and this node's probes for the hubs of an instance, and the latencies to an address, if one is
    /// given. The call is not metered.
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
