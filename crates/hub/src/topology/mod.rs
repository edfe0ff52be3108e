//! The hub topology: latencies from an operator's table, a GeoIP database and this node's probes, and the health of hubs.
//!
//! A device's latencies come from one source, the first of these that has any: the row of the instance's table for the smallest
//! network that contains the device's address, its row for the region of the address by GeoIP, both of the service's table, and
//! this node's probes.

mod estimate;
mod geoip;
mod prober;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use model::{Instance, LatencyReport, LatencyTable, LinkedHub};
use provisioning::{
    allocate::{Latencies, Unavailability},
    ports::{HubTopology, Hubs},
};

pub use geoip::{GeoIp, GeoIpError};
pub use prober::{HubProber, HubProberPorts};

/// The hub topology as this node knows it.
pub struct KnownTopology {
    sources: ArcSwap<Sources>,
    prober: Arc<HubProber>,
    hubs: Arc<dyn Hubs>,
}

/// The latencies that operators configure.
struct Sources {
    table: LatencyTable,
    geoip: Option<Arc<GeoIp>>,
}

impl KnownTopology {
    /// Creates the topology from these sources; the connectors report the health of hubs.
    pub fn new(
        table: LatencyTable,
        geoip: Option<Arc<GeoIp>>,
        prober: Arc<HubProber>,
        hubs: Arc<dyn Hubs>,
    ) -> Self {
        let sources = ArcSwap::from_pointee(Sources { table, geoip });
        KnownTopology { sources, prober, hubs }
    }

    /// Replaces the sources.
    pub fn configure(&self, table: LatencyTable, geoip: Option<Arc<GeoIp>>) {
        self.sources.store(Arc::new(Sources { table, geoip }));
    }

    /// Returns the GeoIP database, if there is one.
    pub fn geoip(&self) -> Option<Arc<GeoIp>> {
        self.sources.load().geoip.clone()
    }
}

impl Sources {
    /// Returns the latencies from an address by the table of the instance, or else by that of the service.
    fn of_address(&self, instance: &Instance, address: IpAddr) -> Option<Latencies> {
        let tables = [&instance.latency_table, &self.table];
        tables.into_iter().find_map(|table| self.by_table(table, address))
    }

    fn by_table(&self, table: &LatencyTable, address: IpAddr) -> Option<Latencies> {
        let by_region = || {
            let regions = self.geoip.as_ref()?.regions(address);
            regions.iter().find_map(|region| table.of_region(region))
        };
        let (source, row) = table.of_address(address).or_else(by_region)?;
        Some(Latencies::from(source, row))
    }
}

impl HubTopology for KnownTopology {
    fn latencies(&self, instance: &Instance, device: Option<IpAddr>) -> Latencies {
        // An IPv4 address that arrived at an IPv6 socket is an IPv4 address.
        let by_table = device
            .map(|address| address.to_canonical())
            .and_then(|address| self.sources.load().of_address(instance, address));
        by_table.unwrap_or_else(|| self.prober.latencies(instance))
    }

    fn unavailability(&self, hub: &LinkedHub) -> Option<Unavailability> {
        let health = self.hubs.connector(hub).map(|connector| connector.health());
        let is_open = health.as_ref().is_none_or(|health| health.circuit.is_open());
        if is_open || self.prober.is_silent(hub) {
            return Some(Unavailability::Down);
        }
        let reported_full = health.is_some_and(|health| health.full_at.is_some());
        let is_full = hub.max_devices.is_some_and(|max| self.prober.devices(hub) >= Some(max));
        (reported_full || is_full).then_some(Unavailability::Full)
    }

    fn report(&self, instance: &Instance) -> LatencyReport {
        LatencyReport {
            rows: [instance.latency_table.rows(), self.sources.load().table.rows()].concat(),
            probes: self.prober.probes(instance),
            seen: None,
        }
    }
}
