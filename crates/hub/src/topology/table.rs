//! An operator's table of latencies from networks and regions to hubs.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use model::{HubName, Latency, LatencyRow, LatencySource};
use provisioning::allocate::Latencies;

/// How many rows a table may have, since each is compared with the address of a device.
const MAX_ROWS: usize = 4096;

/// The latencies to hubs.
type Row = Arc<HashMap<HubName, Latency>>;

/// A table of latencies; empty by default.
#[derive(Debug, Clone, Default)]
pub struct LatencyTable {
    /// The smallest networks first.
    networks: Vec<(IpNetwork, Row)>,
    /// By name in upper case.
    regions: HashMap<String, Row>,
}

/// Why rows cannot be used as a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two rows are for the same network or region.
    #[error("{0} stands twice")]
    Twice(String),
    /// There are too many rows.
    #[error("more than {MAX_ROWS} rows")]
    TooMany,
}

impl LatencyTable {
    /// Makes a table of these rows. Regions have the names of GeoIP databases: `DE`, `US-CA`.
    pub fn new(
        networks: impl IntoIterator<Item = (IpNetwork, HashMap<HubName, Latency>)>,
        regions: impl IntoIterator<Item = (String, HashMap<HubName, Latency>)>,
    ) -> Result<LatencyTable, TableError> {
        let mut table = LatencyTable::default();
        for (network, row) in networks {
            // 10.1.2.3/8 is the network 10.0.0.0/8.
            let network = IpNetwork::new(network.network(), network.prefix()).unwrap_or(network);
            if table.networks.iter().any(|(other, _)| *other == network) {
                return Err(TableError::Twice(network.to_string()));
            }
            table.networks.push((network, Arc::new(row)));
        }
        for (region, row) in regions {
            if table.regions.insert(region.to_ascii_uppercase(), Arc::new(row)).is_some() {
                return Err(TableError::Twice(region));
            }
        }
        if table.networks.len() + table.regions.len() > MAX_ROWS {
            return Err(TableError::TooMany);
        }
        table.networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix()));
        Ok(table)
    }

    /// Returns the latencies from the smallest network that contains this address.
    pub(super) fn of_address(&self, address: IpAddr) -> Option<Latencies> {
        let (network, row) = self.networks.iter().find(|(network, _)| network.contains(address))?;
        Some(Latencies::from(LatencySource::Table(network.to_string()), Arc::clone(row)))
    }

    /// Returns the latencies from this region.
    pub(super) fn of_region(&self, region: &str) -> Option<Latencies> {
        let region = region.to_ascii_uppercase();
        let row = Arc::clone(self.regions.get(&region)?);
        Some(Latencies::from(LatencySource::Region(region), row))
    }

    /// Returns all rows: networks in the order of their precedence, then regions by name.
    pub(super) fn rows(&self) -> Vec<LatencyRow> {
        let networks = self.networks.iter();
        let networks = networks.map(|(network, row)| shown(LatencySource::Table(network.to_string()), row));
        let mut regions: Vec<_> = self.regions.iter().collect();
        regions.sort_by_key(|(region, _)| *region);
        let regions =
            regions.into_iter().map(|(region, row)| shown(LatencySource::Region(region.clone()), row));
        networks.chain(regions).collect()
    }
}

fn shown(source: LatencySource, row: &Row) -> LatencyRow {
    let mut hubs: Vec<_> = row.iter().map(|(hub, latency)| (hub.clone(), *latency)).collect();
    hubs.sort();
    LatencyRow { source, hubs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(millis: u32) -> HashMap<HubName, Latency> {
        HashMap::from([(HubName::parse("a.hub").unwrap(), Latency::from_millis(millis))])
    }

    fn table(networks: &[(&str, u32)], regions: &[(&str, u32)]) -> Result<LatencyTable, TableError> {
        LatencyTable::new(
            networks.iter().map(|(network, millis)| (network.parse().unwrap(), row(*millis))),
            regions.iter().map(|(region, millis)| ((*region).to_owned(), row(*millis))),
        )
    }

    #[test]
    fn the_smallest_network_takes_precedence() {
        let networks =
            [("0.0.0.0/0", 1), ("10.1.0.0/16", 3), ("10.0.0.0/8", 2), ("10.1.2.3", 4), ("fd00::/8", 5)];
        let table = table(&networks, &[]).unwrap();
        let check = |address: &str, expected: Option<u32>| {
            let found = table.of_address(address.parse().unwrap());
            let found = found.and_then(|it| it.to(&HubName::parse("a.hub").unwrap()));
            assert_eq!(found, expected.map(Latency::from_millis), "{address}");
        };
        check("192.0.2.1", Some(1));
        check("10.9.9.9", Some(2));
        check("10.1.9.9", Some(3));
        check("10.1.2.3", Some(4));
        check("fd12::1", Some(5));
        check("2001:db8::1", None);
    }

    #[test]
    fn regions_are_compared_without_case_and_no_row_may_occur_twice() {
        let built = table(&[("10.1.2.3/8", 1)], &[("de-by", 2)]).unwrap();
        assert!(built.of_region("DE-BY").is_some() && built.of_region("DE").is_none());
        let sources: Vec<_> = built.rows().into_iter().map(|row| row.source).collect();
        let expected = [LatencySource::Table("10.0.0.0/8".into()), LatencySource::Region("DE-BY".into())];
        assert_eq!(sources, expected);
        let twice = table(&[("10.0.0.0/8", 1), ("10.9.0.0/8", 1)], &[]).unwrap_err();
        assert_eq!(twice, TableError::Twice("10.0.0.0/8".into()));
        assert!(table(&[], &[("DE", 1), ("de", 1)]).is_err());
    }
}
