//! Links of instances to hubs: embedded ones by their names, all others by connection strings.

use std::path::{Path, PathBuf};

use anyhow::Context;
use model::{AccessDraft, AllocationWeight, Certificate, HubAccess, HubEndpoint, HubName, LinkedHub};
use serde::Deserialize;
use wire::service::{parse_ca_certificates, parse_hub_connection};

use super::{EmbeddedHubConfig, Secret};

/// A link to a hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct LinkedHubConfig {
    /// The hub.
    pub target: LinkTarget,
    /// Where it stands, in your words.
    pub location: String,
    /// Its share of devices against the other hubs' weights.
    pub weight: AllocationWeight,
    /// Whether allocation policies may choose it for new devices.
    pub apply_allocation_policy: bool,
    /// How many devices it may have before failover passes it over; unlimited when absent.
    pub max_devices: Option<u64>,
}

/// Which hub a link leads to.
#[derive(Debug, Clone)]
pub enum LinkTarget {
    /// An embedded hub of this process, by name.
    Embedded(String),
    /// Any hub that has the REST API of Azure IoT Hub.
    Remote(RemoteHubConfig),
}

/// A hub outside of this process.
#[derive(Debug, Clone)]
pub struct RemoteHubConfig {
    /// Where it is, and the key of a policy that may write its registry and twins.
    pub connection_string: Secret,
    /// The CA certificates that it must chain to, PEM; those that the system trusts when absent.
    pub ca: Option<PathBuf>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
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

impl TryFrom<Written> for LinkedHubConfig {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written {
            embedded_hub,
            connection_string,
            ca,
            location,
            weight,
            apply_allocation_policy,
            max_devices,
        } = written;
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
    /// The name of the embedded hub that it leads to.
    pub(super) fn embedded_hub(&self) -> Option<&str> {
        match &self.target {
            LinkTarget::Embedded(name) => Some(name),
            LinkTarget::Remote(_) => None,
        }
    }

    /// The link, with its secret and files read. `hubs` are those that it may embed.
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
        let (text, place) = self.connection_string.text("connection string")?;
        let ca = self.ca.as_deref().map(ca_certificates).transpose()?.unwrap_or_default();
        let (name, AccessDraft { port, policy, key, ca }) =
            parse_hub_connection(text.trim(), ca).with_context(|| place.clone())?;
        let key = key.with_context(|| format!("{place}: it has no key"))?;
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
    fn ca_files_are_read_in_every_form() {
        let root = Authority::root("Root");
        let file = tempfile::NamedTempFile::new().unwrap();
        for (form, document) in forms("CERTIFICATE", root.identity().der()) {
            std::fs::write(file.path(), document).unwrap();
            assert_eq!(ca_certificates(file.path()).unwrap(), [root.certificate()], "{form}");
        }
    }
}
