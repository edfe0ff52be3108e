//! Configuration of links to hubs: embedded hubs by name, all others by connection string.

use std::path::{Path, PathBuf};

use anyhow::Context;
use model::{AccessDraft, AllocationWeight, Certificate, HubAccess, HubEndpoint, HubName, LinkedHub};
use serde::Deserialize;
use wire::service::{parse_ca_certificates, parse_hub_connection};

use super::{EmbeddedHubConfig, Secret};

/// A link to a hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "LinkTable")]
pub struct LinkedHubConfig {
    /// The hub.
    pub target: LinkTarget,
    /// The location of the hub, as free text.
    pub location: String,
    /// The weight of the hub against others.
    pub weight: AllocationWeight,
    /// Whether allocation policies may choose it for new devices.
    pub apply_allocation_policy: bool,
    /// The number of devices at which failover treats the hub as full; unlimited when absent.
    pub max_devices: Option<u64>,
}

/// The target of a link.
#[derive(Debug, Clone)]
pub enum LinkTarget {
    /// An embedded hub of this process, by name.
    Embedded(String),
    /// Any hub with the REST API of Azure IoT Hub.
    Remote(RemoteHubConfig),
}

/// A hub outside of this process.
#[derive(Debug, Clone)]
pub struct RemoteHubConfig {
    /// The connection string, with the key of a policy that may write registry and twins.
    pub connection_string: Secret,
    /// A PEM file with the CA certificates of the hub; the CAs of the system when absent.
    pub ca: Option<PathBuf>,
}

/// The table in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkTable {
    embedded_hub: Option<String>,
    connection_string: Option<Secret>,
    ca: Option<PathBuf>,
    #[serde(default)]
    location: String,
    #[serde(default)]
    weight: AllocationWeight,
    #[serde(default = "yes")]
    apply_allocation_policy: bool,
    max_devices: Option<u64>,
}

fn yes() -> bool {
    true
}

impl TryFrom<LinkTable> for LinkedHubConfig {
    type Error = &'static str;

    fn try_from(table: LinkTable) -> Result<Self, Self::Error> {
        let LinkTable {
            embedded_hub,
            connection_string,
            ca,
            location,
            weight,
            apply_allocation_policy,
            max_devices,
        } = table;
        let target = match (embedded_hub, connection_string, ca) {
            (Some(name), None, None) => LinkTarget::Embedded(name),
            (None, Some(connection_string), ca) => {
                LinkTarget::Remote(RemoteHubConfig { connection_string, ca })
            }
            (Some(_), None, Some(_)) => return Err("a linked hub has `ca` only beside `connection_string`"),
            _ => return Err("a linked hub needs either `embedded_hub` or `connection_string`"),
        };
        Ok(LinkedHubConfig { target, location, weight, apply_allocation_policy, max_devices })
    }
}

impl LinkedHubConfig {
    /// Returns the name of the embedded hub, if the target is one.
    pub(super) fn embedded_hub(&self) -> Option<&str> {
        match &self.target {
            LinkTarget::Embedded(name) => Some(name),
            LinkTarget::Remote(_) => None,
        }
    }

    /// Makes the link, and reads its secret and files. `hubs` are the embedded hubs.
    pub(super) fn link(&self, hubs: &[EmbeddedHubConfig]) -> anyhow::Result<LinkedHub> {
        let (name, endpoint) = match &self.target {
            LinkTarget::Embedded(name) => {
                let hub = hubs.iter().find(|hub| hub.name == *name);
                let hub = hub.with_context(|| format!("no embedded hub {name:?}"))?;
                (hub.host_name.clone(), HubEndpoint::Embedded)
            }
            LinkTarget::Remote(remote) => {
                let (name, access) = remote.access()?;
                (name, HubEndpoint::Access(access))
            }
        };
        Ok(LinkedHub {
            name,
            endpoint,
            location: self.location.clone(),
            weight: self.weight,
            takes_new_devices: self.apply_allocation_policy,
            max_devices: self.max_devices,
        })
    }
}

impl RemoteHubConfig {
    fn access(&self) -> anyhow::Result<(HubName, HubAccess)> {
        let (text, source) = self.connection_string.text("connection string")?;
        let ca = self.ca.as_deref().map(ca_certificates).transpose()?.unwrap_or_default();
        let (name, AccessDraft { port, policy, key, ca }) =
            parse_hub_connection(text.trim(), ca).with_context(|| source.clone())?;
        let key = key.with_context(|| format!("{source}: the connection string has no key"))?;
        Ok((name, HubAccess { port, policy, key, ca }))
    }
}

fn ca_certificates(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let file = || format!("ca file {}", path.display());
    let pem = std::fs::read(path).with_context(file)?;
    parse_ca_certificates(&pem).with_context(file)
}

#[cfg(test)]
mod tests {
    use testkit::{ca::Authority, documents::forms};

    use super::*;

    #[test]
    fn ca_files_are_read_in_every_encoding() {
        let root = Authority::root("Root");
        let file = tempfile::NamedTempFile::new().unwrap();
        for (form, document) in forms("CERTIFICATE", root.identity().der()) {
            std::fs::write(file.path(), document).unwrap();
            assert_eq!(ca_certificates(file.path()).unwrap(), [root.certificate()], "{form}");
        }
    }
}
