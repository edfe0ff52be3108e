//! Finds the regions of an address in a MaxMind DB file: GeoLite2 or GeoIP2, City or Country, or one with the same members. The
//! file is read again when it was replaced.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use maxminddb::{MaxMindDbError, Reader, geoip2::City};

/// A GeoIP database that follows its file.
pub struct GeoIp {
    path: PathBuf,
    loaded: ArcSwap<Loaded>,
}

struct Loaded {
    reader: Reader<Vec<u8>>,
    version: Option<Version>,
}

/// The version of a file, which changes when it is replaced or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// Why a file cannot be used as a GeoIP database.
#[derive(Debug, thiserror::Error)]
pub enum GeoIpError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not a MaxMind DB.
    #[error("{path} is no MaxMind DB: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: MaxMindDbError,
    },
}

impl GeoIp {
    /// Reads the file.
    pub fn open(path: impl Into<PathBuf>) -> Result<GeoIp, GeoIpError> {
        let path = path.into();
        let loaded = ArcSwap::from_pointee(Loaded::read(&path)?);
        Ok(GeoIp { path, loaded })
    }

    /// Reads the file again if it was replaced. A file that cannot be read changes nothing. Blocks.
    pub fn refresh(&self) {
        if version(&self.path) == self.loaded.load().version {
            return;
        }
        match Loaded::read(&self.path) {
            Ok(loaded) => {
                tracing::info!(file = %self.path.display(), "read the GeoIP database again");
                self.loaded.store(loaded.into());
            }
            Err(error) => tracing::warn!(reason = %error, "the GeoIP database stays as it was"),
        }
    }

    /// Returns the regions of an address, the smallest first: `DE-BY`, `DE`, `EU`; empty if none is known.
    pub fn regions(&self, address: IpAddr) -> Vec<String> {
        let loaded = self.loaded.load();
        let found = loaded.reader.lookup(address).and_then(|found| found.decode::<City<'_>>());
        let Ok(Some(place)) = found else { return Vec::new() };
        let country = place.country.iso_code;
        let parts = place.subdivisions.iter().rev().filter_map(|part| part.iso_code);
        let parts = parts.filter_map(|part| country.map(|country| format!("{country}-{part}")));
        parts.chain(country.map(str::to_owned)).chain(place.continent.code.map(str::to_owned)).collect()
    }
}

impl Loaded {
    fn read(path: &Path) -> Result<Loaded, GeoIpError> {
        // Before the content, so that a file that is replaced in between is read once more.
        let version = version(path);
        let bytes = fs::read(path).map_err(|source| GeoIpError::File { path: path.to_owned(), source })?;
        let reader = Reader::from_source(bytes)
            .map_err(|source| GeoIpError::Content { path: path.to_owned(), source })?;
        Ok(Loaded { reader, version })
    }
}

fn version(path: &Path) -> Option<Version> {
    let metadata = fs::metadata(path).ok()?;
    Some(Version { bytes: metadata.len(), modified: metadata.modified().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &[u8] = include_bytes!("../../tests/data/before.mmdb");
    const AFTER: &[u8] = include_bytes!("../../tests/data/after.mmdb");

    fn regions(geoip: &GeoIp, address: &str) -> Vec<String> {
        geoip.regions(address.parse().unwrap())
    }

    #[test]
    fn regions_are_found_and_a_replaced_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("city.mmdb");
        fs::write(&path, BEFORE).unwrap();
        let geoip = GeoIp::open(&path).unwrap();
        assert_eq!(regions(&geoip, "203.0.113.9"), ["DE-BY", "DE", "EU"]);
        assert_eq!(regions(&geoip, "198.51.100.7"), ["US", "NA"]);
        assert_eq!(regions(&geoip, "2001:db8::1"), ["JP-13", "JP", "AS"]);
        assert_eq!(regions(&geoip, "192.0.2.1"), [""; 0]);

        fs::write(directory.path().join("new"), AFTER).unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        geoip.refresh();
        assert_eq!(regions(&geoip, "203.0.113.9"), ["FR", "EU"]);

        fs::write(&path, "broken").unwrap();
        geoip.refresh();
        assert_eq!(regions(&geoip, "203.0.113.9"), ["FR", "EU"], "a broken file changes nothing");
        fs::remove_file(&path).unwrap();
        geoip.refresh();
        assert_eq!(regions(&geoip, "203.0.113.9"), ["FR", "EU"]);
        assert!(matches!(GeoIp::open(&path), Err(GeoIpError::File { .. })));
    }
}
