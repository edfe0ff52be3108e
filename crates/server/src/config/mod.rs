//! The configuration of `muster serve`: one TOML file. Unknown keys and invalid values are errors with their line.

mod audit;
mod hub;
mod instance;
mod latency;
mod link;
mod listen;
mod management;
mod oidc;
mod runner;
mod secret;
mod store;
mod webhook;

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use provisioning::ports::LogLimits;
use serde::Deserialize;

pub use audit::AuditConfig;
pub use hub::EmbeddedHubConfig;
pub use instance::{AccessPolicyConfig, InstanceConfig};
pub use latency::{LatencyConfig, LatencySources};
pub use link::{LinkTarget, LinkedHubConfig, RemoteHubConfig};
pub use listen::{
    DeviceConfig, LimitsConfig, ListenConfig, MetricsConfig, ProxyConfig, ReservedConfig, TlsIdentityConfig,
    TlsOptionsConfig, TlsVersion,
};
pub use management::{ManagementConfig, ManagementPolicyConfig};
pub use oidc::{OidcConfig, RoleConfig};
pub use runner::RunnerConfig;
pub use secret::Secret;
pub use store::DatabaseUrl;
pub use webhook::WebhookConfig;

use crate::{logging::LogFormat, storage::Storage};

/// The documented example, which is also a valid configuration.
pub const EXAMPLE: &str = include_str!("../../../../docs/muster.example.toml");

/// Returns the default of `epoch_file`, beside the data folder; `None` for a root folder.
fn default_epoch_file(data_dir: &Path) -> Option<PathBuf> {
    let data_dir = std::path::absolute(data_dir).ok()?;
    let mut name = data_dir.file_name()?.to_owned();
    name.push(".epoch");
    Some(data_dir.with_file_name(name))
}

/// The configuration of `muster serve`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the database, the embedded hubs and the master key.
    pub data_dir: PathBuf,
    /// The file of the key that encrypts secrets at rest, base64 of 32 bytes; created if it is missing. Default: `master.key`
    /// in `data_dir`; a separate place is safer.
    pub master_key_file: Option<PathBuf>,
    /// The file with the epoch of the database, by which a restored backup is detected. Default: beside `data_dir`, with the
    /// ending `.epoch`. It must not be in `data_dir`, because it would be restored with it.
    pub epoch_file: Option<PathBuf>,
    /// The PostgreSQL database that nodes share. Default: a file in `data_dir`, for one process.
    pub store: Option<DatabaseUrl>,
    /// The password for it, if the URL has none.
    pub store_password: Option<Secret>,
    /// The CA certificates of its servers. Default: the CAs of the system.
    pub store_ca: Option<PathBuf>,
    /// The addresses of the endpoints.
    #[serde(default)]
    pub listen: ListenConfig,
    /// The listener for metrics.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// The server certificates, in order of preference: put ECDSA before RSA.
    #[serde(rename = "tls")]
    pub tls_identities: Vec<TlsIdentityConfig>,
    /// The replies to devices.
    #[serde(default)]
    pub device: DeviceConfig,
    /// The limits for peers.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The sources of latencies.
    #[serde(default)]
    pub latency: LatencyConfig,
    /// The webhooks of custom allocation.
    #[serde(default)]
    pub webhook: WebhookConfig,
    /// The provider of operators' bearer tokens.
    #[serde(default)]
    pub oidc: OidcConfig,
    /// The retention of the change log.
    #[serde(default)]
    pub change_log: ChangeLogConfig,
    /// The retention of refused attempts.
    #[serde(default)]
    pub attempts: AttemptsConfig,
    /// The record of operators' calls.
    #[serde(default)]
    pub audit: AuditConfig,
    /// The runner.
    #[serde(default)]
    pub runner: RunnerConfig,
    /// The log.
    #[serde(default)]
    pub log: LogConfig,
    /// The embedded hubs.
    #[serde(default, rename = "embedded_hub")]
    pub embedded_hubs: Vec<EmbeddedHubConfig>,
    /// The management API.
    #[serde(default)]
    pub management: ManagementConfig,
    /// The service instances that this file names. Others are created by operators.
    #[serde(default, rename = "instance")]
    pub instances: Vec<InstanceConfig>,
    /// The parsed file, for the comparison at a reload.
    #[serde(skip)]
    text: FileText,
}

/// The parsed file. Its `Debug` is empty: the file may contain secrets.
#[derive(Clone, Default)]
struct FileText(toml::Table);

impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileText")
    }
}

/// The retention of the change log: the bound that is reached first applies.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeLogConfig {
    /// The age in days: 1 to 3650.
    #[serde(deserialize_with = "listen::within::<1, 3650, _>")]
    pub keep_days: u32,
    /// The number of changes, of about 80 bytes each: 1,000 to a billion.
    #[serde(deserialize_with = "listen::within::<1_000, 1_000_000_000, _>")]
    pub keep_rows: u32,
}

impl Default for ChangeLogConfig {
    fn default() -> Self {
        ChangeLogConfig { keep_days: 30, keep_rows: 2_000_000 }
    }
}

impl ChangeLogConfig {
    /// Returns the limits of the change log.
    pub(crate) fn limits(self) -> LogLimits {
        LogLimits { days: self.keep_days, rows: self.keep_rows.into() }
    }
}

/// The retention of refused attempts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptsConfig {
    /// The age in days: 1 to 3650.
    #[serde(deserialize_with = "listen::within::<1, 3650, _>")]
    pub keep_days: u32,
}

impl Default for AttemptsConfig {
    fn default() -> Self {
        AttemptsConfig { keep_days: 30 }
    }
}

/// The settings of the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A level (`error`, `warn`, `info`, `debug`), or a list such as `info,net=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { filter: "info".into(), format: LogFormat::Text }
    }
}

impl Config {
    /// Reads a file. The error names the file, and the line of a mistake.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a valid configuration", path.display()))
    }

    /// Parses a text.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut config: Config = toml::from_str(text)?;
        config.text = FileText(toml::from_str(text)?);
        config.checked()
    }

    /// Returns the sections that differ from those of a running service and need a restart.
    pub fn sections_needing_restart(&self, running: &Config) -> Vec<String> {
        let (next, now) = (self.restart_only(), running.restart_only());
        let names: BTreeSet<&String> = next.keys().chain(now.keys()).collect();
        names.into_iter().filter(|name| next.get(*name) != now.get(*name)).cloned().collect()
    }

    /// Returns the settings that a reload does not apply.
    fn restart_only(&self) -> toml::Table {
        let mut settings = self.text.0.clone();
        for reloaded in ["tls", "webhook"] {
            settings.remove(reloaded);
        }
        if let Some(toml::Value::Table(log)) = settings.get_mut("log") {
            log.remove("filter");
        }
        if let Some(toml::Value::Table(latency)) = settings.get_mut("latency") {
            latency.retain(|name, _| name == "probe_interval_secs");
        }
        // Neither a reload nor a restart applies those of a shared database: `muster store apply` does.
        if self.store.is_some() {
            settings.remove("instance");
        }
        if let Some(toml::Value::Array(instances)) = settings.get_mut("instance") {
            for instance in instances.iter_mut().filter_map(toml::Value::as_table_mut) {
                instance.remove("access_policy");
            }
        }
        // An empty section equals an absent one.
        settings.retain(|_, section| section.as_table().is_none_or(|section| !section.is_empty()));
        settings
    }

    /// Returns the files of the service.
    pub fn storage(&self, new_database: bool) -> Storage {
        let key = self.master_key_file.clone();
        let master_key_file = key.unwrap_or_else(|| self.data_dir.join("master.key"));
        let epoch_file = self.epoch_file.clone().or_else(|| default_epoch_file(&self.data_dir));
        Storage { data_dir: self.data_dir.clone(), master_key_file, epoch_file, new_database }
    }

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
    fn checked(self) -> anyhow::Result<Self> {
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
fn distinct(what: &str, names: impl Iterator<Item = String>) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests;
