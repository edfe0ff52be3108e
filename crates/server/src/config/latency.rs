//! Configuration of latencies: the latency table, a GeoIP database, and probes.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use hub::GeoIp;
use ipnetwork::IpNetwork;
use model::{HubName, Latency, LatencyTable};
use serde::{Deserialize, Deserializer, de::Error};

use super::listen::within;

/// The sources of latencies.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LatencyConfig {
    /// A MaxMind DB file with the members of GeoLite2 or GeoIP2, City or Country. Read again after it is replaced.
    pub geoip: Option<PathBuf>,
    /// The interval of the probes of each linked hub, in seconds: 5 to 3600.
    #[serde(deserialize_with = "within::<5, 3600, _>")]
    pub probe_interval_secs: u32,
    /// Latencies from networks.
    #[serde(rename = "network")]
    pub networks: Vec<NetworkRow>,
    /// Latencies from regions.
    #[serde(rename = "region")]
    pub regions: Vec<RegionRow>,
}

/// Latencies from a network.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRow {
    /// The network, such as `10.20.0.0/16`, or one address.
    pub network: IpNetwork,
    /// Milliseconds by hub.
    #[serde(deserialize_with = "latencies")]
    pub hubs: HashMap<HubName, Latency>,
}

/// Latencies from a region.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionRow {
    /// The region in GeoIP's terms: a continent (`EU`), a country (`DE`), or a country and subdivision (`DE-BY`).
    pub region: String,
    /// Milliseconds by hub.
    #[serde(deserialize_with = "latencies")]
    pub hubs: HashMap<HubName, Latency>,
}

impl Default for LatencyConfig {
    fn default() -> Self {
        LatencyConfig { geoip: None, probe_interval_secs: 10, networks: Vec::new(), regions: Vec::new() }
    }
}

/// The sources of latencies, with their files opened.
pub struct LatencySources {
    /// The latency table.
    pub table: LatencyTable,
    /// The GeoIP database.
    pub geoip: Option<Arc<GeoIp>>,
    /// The interval of the probes of a hub.
    pub probe_interval: Duration,
}

impl LatencyConfig {
    /// Opens the database. Fails for rows of regions without a database, because they would never apply.
    pub fn sources(&self) -> anyhow::Result<LatencySources> {
        let table = table(&self.networks, &self.regions).context("[latency]")?;
        if self.geoip.is_none() && !self.regions.is_empty() {
            anyhow::bail!("[[latency.region]] needs a GeoIP database: set `geoip` in [latency] to its file");
        }
        let geoip = self.geoip.as_ref().map(GeoIp::open).transpose().context("[latency] geoip")?;
        let probe_interval = Duration::from_secs(u64::from(self.probe_interval_secs));
        Ok(LatencySources { table, geoip: geoip.map(Arc::new), probe_interval })
    }
}

/// Makes a table of these rows.
pub(super) fn table(networks: &[NetworkRow], regions: &[RegionRow]) -> anyhow::Result<LatencyTable> {
    let networks = networks.iter().map(|row| (row.network, row.hubs.clone()));
    let regions = regions.iter().map(|row| (row.region.clone(), row.hubs.clone()));
    Ok(LatencyTable::new(networks, regions)?)
}

/// Parses milliseconds with a fraction, up to a minute.
fn latencies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashMap<HubName, Latency>, D::Error> {
    let millis = HashMap::<HubName, f64>::deserialize(deserializer)?;
    let latency = |(hub, millis): (HubName, f64)| {
        let latency = Latency::try_from_millis(millis);
        let refuse = || D::Error::custom(format!("the latency of {hub} must be 0 to 60000 milliseconds"));
        latency.ok_or_else(refuse).map(|latency| (hub.clone(), latency))
    };
    millis.into_iter().map(latency).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_rows_are_rejected() {
        let parse = |text: &str| {
            let config: LatencyConfig = toml::from_str(text).map_err(anyhow::Error::from)?;
            config.sources()
        };
        let row = |network: &str, millis: &str| {
            format!("[[network]]\nnetwork = \"{network}\"\nhubs = {{ \"a.hub\" = {millis} }}")
        };
        assert!(parse("").is_ok());
        assert!(parse(&row("10.0.0.0/8", "2.5")).is_ok());
        assert!(parse(&row("10.1.2.3", "2")).is_ok());
        let cases = [
            (row("10.0.0.0/33", "2"), "invalid"),
            (row("10.0.0.0/8", "-1"), "must be 0 to 60000"),
            (row("10.0.0.0/8", "nan"), "must be 0 to 60000"),
            (row("10.0.0.0/8", "\"2\""), "expected f64"),
            (format!("{}\n{}", row("10.0.0.0/8", "2"), row("10.1.0.0/8", "2")), "stands twice"),
            ("[[region]]\nregion = \"DE\"\nhubs = {}".to_owned(), "needs a GeoIP database"),
            ("geoip = \"/nowhere\"".to_owned(), "cannot read /nowhere"),
            ("probe_interval_secs = 1".to_owned(), "5 to 3600"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", parse(&text).err().unwrap());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
