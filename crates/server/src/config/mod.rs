//! The configuration of `muster serve`: one TOML file. Unknown keys and invalid values are errors with their line.

mod audit;
mod check;
mod hub;
mod instance;
mod latency;
mod link;
mod listen;
mod log;
mod management;
mod oidc;
mod restart;
mod retention;
mod runner;
mod search;
mod secret;
mod store;
mod webhook;

use std::path::{Path, PathBuf};

use anyhow::Context;
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
pub use log::LogConfig;
pub use management::{ManagementConfig, ManagementPolicyConfig};
pub use oidc::{OidcConfig, RoleConfig};
pub use retention::{AttemptsConfig, ChangeLogConfig};
pub use runner::RunnerConfig;
pub use search::SearchConfig;
pub use secret::Secret;
pub use store::DatabaseUrl;
pub use webhook::WebhookConfig;

use self::restart::FileText;
use crate::storage::Storage;

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
    /// The search tables.
    #[serde(default)]
    pub search: SearchConfig,
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

    /// Returns the files of the service.
    pub fn storage(&self, new_database: bool) -> Storage {
        let key = self.master_key_file.clone();
        let master_key_file = key.unwrap_or_else(|| self.data_dir.join("master.key"));
        let epoch_file = self.epoch_file.clone().or_else(|| default_epoch_file(&self.data_dir));
        Storage { data_dir: self.data_dir.clone(), master_key_file, epoch_file, new_database }
    }
}

#[cfg(test)]
mod tests;
