//! An operator's table of latencies from networks and regions to hubs.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::{HubName, Latency, LatencyRow, LatencySource};

/// How many rows a table may have, since each is compared with the address of a device.
pub const MAX_ROWS: usize = 4096;

/// The latencies to hubs.
pub type LatenciesByHub = Arc<HashMap<HubName, Latency>>;

/// A table of latencies; empty by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<LatencyRow>", into = "Vec<LatencyRow>")]
pub struct LatencyTable {
    /// The smallest networks first.
    networks: Vec<(IpNetwork, LatenciesByHub)>,
    /// By name in upper case.
    regions: BTreeMap<String, LatenciesByHub>,
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
    /// A row is neither for a network nor for a region.
    #[error("a row must be for a network, such as 10.20.0.0/16, or for a region")]
    NoNetwork,
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
        // By address as well, so that the order of the rows does not matter.
        table.networks.sort_by_key(|(network, _)| (std::cmp::Reverse(network.prefix()), network.network()));
        Ok(table)
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.regions.is_empty()
    }

    /// Returns the latencies from the smallest network that contains this address.
    pub fn of_address(&self, address: IpAddr) -> Option<(LatencySource, LatenciesByHub)> {
        let (network, row) = self.networks.iter().find(|(network, _)| network.contains(address))?;
        Some((LatencySource::Table(network.to_string()), Arc::clone(row)))
    }

    /// Returns the latencies from this region.
    pub fn of_region(&self, region: &str) -> Option<(LatencySource, LatenciesByHub)> {
        let region = region.to_ascii_uppercase();
        let row = Arc::clone(self.regions.get(&region)?);
        Some((LatencySource::Region(region), row))
    }

    /// Returns all rows: networks in the order of their precedence, then regions by name.
    pub fn rows(&self) -> Vec<LatencyRow> {
        let networks = self.networks.iter();
        let networks = networks.map(|(network, row)| shown(LatencySource::Table(network.to_string()), row));
        let regions = self.regions.iter();
        let regions = regions.map(|(region, row)| shown(LatencySource::Region(region.clone()), row));
        networks.chain(regions).collect()
    }
}

impl TryFrom<Vec<LatencyRow>> for LatencyTable {
    type Error = TableError;
    fn try_from(rows: Vec<LatencyRow>) -> Result<Self, TableError> {
        let (mut networks, mut regions) = (Vec::new(), Vec::new());
        for LatencyRow { source, hubs } in rows {
            let hubs: HashMap<HubName, Latency> = hubs.into_iter().collect();
            match source {
                LatencySource::Table(network) => {
                    networks.push((network.parse().map_err(|_| TableError::NoNetwork)?, hubs));
                }
                LatencySource::Region(region) => regions.push((region, hubs)),
                LatencySource::Probes => return Err(TableError::NoNetwork),
            }
        }
        LatencyTable::new(networks, regions)
    }
}

impl From<LatencyTable> for Vec<LatencyRow> {
    fn from(table: LatencyTable) -> Vec<LatencyRow> {
        table.rows()
    }
}

fn shown(source: LatencySource, row: &LatenciesByHub) -> LatencyRow {
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
            let found = found.map(|(_, row)| row[&HubName::parse("a.hub").unwrap()]);
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
    #[test]
    fn a_table_is_stored_by_its_rows() {
        let built = table(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 2)], &[("DE", 3)]).unwrap();
        let stored = serde_json::to_value(&built).unwrap();
        assert_eq!(serde_json::from_value::<LatencyTable>(stored).unwrap(), built);
        for wrong in [LatencySource::Table("10.0.0.0/33".into()), LatencySource::Probes] {
            let rows = vec![LatencyRow { source: wrong, hubs: vec![] }];
            assert_eq!(LatencyTable::try_from(rows), Err(TableError::NoNetwork));
        }
    }
}
