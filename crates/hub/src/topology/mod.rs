//! What is known of the hubs' whereabouts and health: an operator's table, a GeoIP database, and what this node measures
//! itself.
//!
//! A device's latencies come from one source, the first of these that knows: the table's row for the smallest network that
//! the device's address lies in, the table's row for the region where GeoIP puts the address, this node's own probes.

mod estimate;
mod geoip;
mod prober;
mod table;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use model::{Instance, LatencyReport, LinkedHub};
use provisioning::{
    allocate::{Latencies, Unavailability},
    ports::{Circuit, HubTopology, Hubs},
};

pub use geoip::{GeoIp, GeoIpError};
pub use prober::{HubProber, HubProberPorts};
pub use table::{LatencyTable, TableError};

/// The surroundings as this node knows them.
pub struct KnownTopology {
    sources: ArcSwap<Sources>,
    survey: Arc<HubProber>,
    hubs: Arc<dyn Hubs>,
}

/// What operators say of latencies.
struct Sources {
    table: LatencyTable,
    geoip: Option<Arc<GeoIp>>,
}

impl KnownTopology {
    /// From these sources; the ways to the hubs tell which of them fail.
    pub fn new(
        table: LatencyTable,
        geoip: Option<Arc<GeoIp>>,
        survey: Arc<HubProber>,
        hubs: Arc<dyn Hubs>,
    ) -> Self {
        let sources = ArcSwap::from_pointee(Sources { table, geoip });
        KnownTopology { sources, survey, hubs }
    }

    /// Asks these sources from now on.
    pub fn configure(&self, table: LatencyTable, geoip: Option<Arc<GeoIp>>) {
        self.sources.store(Arc::new(Sources { table, geoip }));
    }

    /// The GeoIP database, if there is one.
    pub fn geoip(&self) -> Option<Arc<GeoIp>> {
        self.sources.load().geoip.clone()
    }
}

impl Sources {
    fn of_address(&self, address: IpAddr) -> Option<Latencies> {
        self.table.of_address(address).or_else(|| self.of_region(address))
    }

    fn of_region(&self, address: IpAddr) -> Option<Latencies> {
        let regions = self.geoip.as_ref()?.regions(address);
        regions.iter().find_map(|region| self.table.of_region(region))
    }
}

impl HubTopology for KnownTopology {
    fn latencies(&self, instance: &Instance, device: Option<IpAddr>) -> Latencies {
        // An IPv4 address that arrived at an IPv6 socket is an IPv4 address.
        let by_table = device
            .map(|address| address.to_canonical())
            .and_then(|address| self.sources.load().of_address(address));
        by_table.unwrap_or_else(|| self.survey.latencies(instance))
    }

    fn unavailability(&self, hub: &LinkedHub) -> Option<Unavailability> {
        let health = self.hubs.connector(hub).map(|connector| connector.health());
        let is_spared = health.as_ref().is_none_or(|health| health.circuit == Circuit::Open);
        if is_spared || self.survey.is_silent(hub) {
            return Some(Unavailability::Down);
        }
        let says_so = health.is_some_and(|health| health.full_at.is_some());
        let is_full = hub.max_devices.is_some_and(|most| self.survey.devices(hub) >= Some(most));
        (says_so || is_full).then_some(Unavailability::Full)
    }

    fn report(&self, instance: &Instance) -> LatencyReport {
        LatencyReport {
            rows: self.sources.load().table.rows(),
            probes: self.survey.probes(instance),
            seen: None,
        }
    }
}
