//! Links of instances to hubs: embedded ones by their names, all others by connection strings.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hub::RestLink;
use model::{AllocationWeight, HubName, LinkedHub};
use net::tls;
use serde::Deserialize;

use super::{Config, Secret};

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

    /// The link under the hub's name.
    pub(super) fn hub(&self, name: HubName) -> LinkedHub {
        LinkedHub {
            name,
            location: self.location.clone(),
            weight: self.weight,
            takes_new_devices: self.apply_allocation_policy,
            max_devices: self.max_devices,
        }
    }
}

/// The hubs of all links of a configuration, each once.
pub struct HubDirectory<'a> {
    config: &'a Config,
    remote: Vec<RestLink>,
}

impl<'a> HubDirectory<'a> {
    /// Knows the embedded hubs.
    pub fn new(config: &'a Config) -> Self {
        HubDirectory { config, remote: Vec::new() }
    }

    /// The name of the hub that a link leads to; a hub outside of this process is noted.
    pub fn name_of(&mut self, target: &LinkTarget) -> anyhow::Result<HubName> {
        match target {
            LinkTarget::Embedded(name) => {
                let hub = self.config.embedded_hubs.iter().find(|hub| hub.name == *name);
                hub.map(|hub| hub.host_name.clone()).with_context(|| format!("no embedded hub {name:?}"))
            }
            LinkTarget::Remote(remote) => self.note(remote.link()?),
        }
    }

    /// The hubs outside of this process.
    pub fn into_remote(self) -> Vec<RestLink> {
        self.remote
    }

    /// Hubs are told apart by their names alone, so that one name must not lead to two places or by two keys.
    fn note(&mut self, link: RestLink) -> anyhow::Result<HubName> {
        let name = link.hub.clone();
        if self.config.embedded_hubs.iter().any(|hub| hub.host_name == name) {
            bail!("{name} is a hub of this process: link it by `embedded_hub`");
        }
        match self.remote.iter().find(|other| other.hub == name) {
            Some(same) if (same.port, &same.policy, &same.key) == (link.port, &link.policy, &link.key) => {}
            Some(_) => bail!("{name} is linked by another connection string already"),
            None => self.remote.push(link),
        }
        Ok(name)
    }
}

impl RemoteHubConfig {
    /// The link, with its secret and files read.
    fn link(&self) -> anyhow::Result<RestLink> {
        let connection = self.connection_string.connection_string()?;
        let tls = match &self.ca {
            Some(path) => trusting(path)?,
            None => tls::client_config_of_system()?,
        };
        Ok(RestLink::new(&connection, tls)?)
    }
}

/// The configuration of a client that trusts the CA certificates in this file.
pub(super) fn trusting(path: &Path) -> anyhow::Result<std::sync::Arc<rustls::ClientConfig>> {
    let file = || format!("ca file {}", path.display());
    let pem = std::fs::read(path).with_context(file)?;
    tls::client_config(&pem, None).with_context(file)
}
