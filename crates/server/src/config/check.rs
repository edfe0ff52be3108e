//! The relations between settings: names and addresses that must be unique, and names that must exist.

use std::net::SocketAddr;

use anyhow::{Context, bail};

use super::{Config, InstanceConfig};

impl Config {
    /// Fails if listeners use the same address. Call it after the command line has overridden addresses.
    pub fn check_addresses(&self) -> anyhow::Result<()> {
        let mut listeners = Vec::new();
        let hubs = self.embedded_hubs.iter();
        let hubs = hubs.map(|hub| (format!("[[embedded_hub]] {:?}", hub.name), hub.listen()));
        for (name, listen) in std::iter::once(("[listen]".to_owned(), self.listen.clone())).chain(hubs) {
            let addresses = [listen.https, listen.mqtts, listen.amqps];
            listeners.extend(addresses.map(|address| (name.clone(), address)));
        }
        listeners.extend(self.metrics.listen.map(|address| ("[metrics]".to_owned(), address)));
        for (index, (name, address)) in listeners.iter().enumerate() {
            if let Some((other, taken)) =
                listeners[..index].iter().find(|(_, taken)| conflict(taken, address))
            {
                bail!("{name} has the address {address}, but {other} has {taken}: give each its own address");
            }
        }
        Ok(())
    }

    /// Checks the relations between values: names that must be unique, and names that must exist.
    pub(super) fn checked(self) -> anyhow::Result<Self> {
        if self.tls_identities.is_empty() {
            bail!("at least one [[tls]] with certificate and key is required");
        }
        if self.instances.is_empty() && self.management.access_policies.is_empty() {
            bail!(
                "at least one [[instance]], or an access policy of [management] that can create one, is required"
            );
        }
        distinct(
            "name of [[management.access_policy]]",
            self.management.access_policies.iter().map(|it| it.name.to_string()),
        )?;
        distinct("id_scope of [[instance]]", self.instances.iter().map(|it| it.id_scope.key().into_owned()))?;
        distinct("name of [[instance]]", self.instances.iter().map(InstanceConfig::resource_id))?;
        let hosts = self.instances.iter().flat_map(|it| &it.service_hosts);
        let hosts = hosts.chain(&self.management.host);
        distinct("service_hosts of [[instance]]", hosts.map(|host| host.to_string()))?;
        distinct("name of [[embedded_hub]]", self.embedded_hubs.iter().map(|hub| hub.name.clone()))?;
        distinct(
            "host_name of [[embedded_hub]]",
            self.embedded_hubs.iter().map(|hub| hub.host_name.to_string()),
        )?;
        self.oidc.check()?;
        let checked = |instance: InstanceConfig| {
            let name = instance.name.clone();
            instance.checked(&self.embedded_hubs).with_context(|| format!("instance {name:?}"))
        };
        let instances = self.instances.into_iter().map(checked).collect::<anyhow::Result<_>>()?;
        Ok(Config { instances, ..self })
    }
}

/// Fails if two names are equal, without regard to case.
pub(super) fn distinct(what: &str, names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name.to_ascii_lowercase()) {
            bail!("{what} must be unique, but {name:?} occurs twice");
        }
    }
    Ok(())
}

/// Returns whether two listeners conflict: the same port on the same address, or on the unspecified one.
fn conflict(one: &SocketAddr, other: &SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_address
}
