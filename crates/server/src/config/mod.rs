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
mod tests {
    use std::num::NonZeroU32;

    use model::{ExistingDevices, RegistrationOwnership};

    use super::*;

    #[test]
    fn the_example_is_valid() {
        let config = Config::parse(EXAMPLE).unwrap();
        assert_eq!(config.instances.len(), 1);
        assert_eq!(config.embedded_hubs.len(), 2);
        let links = &config.instances[0].linked_hubs;
        let remote = links.iter().filter(|link| matches!(link.target, LinkTarget::Remote(_)));
        assert_eq!((links.len(), remote.count()), (3, 1));
    }

    /// Settings whose default is none, or follows from another setting. Their lines are examples.
    const WITHOUT_DEFAULT: &str = "ca domain epoch_file file geoip host https hubs issuer listen location master_key_file max_devices \
        max_registrations_per_minute max_unproven_per_address mqtts operations provisioning \
        resource_group signing_key store subscription syslog unproven webhook_key";

    #[test]
    fn commented_settings_of_the_example_are_known_and_show_their_defaults() {
        let shown = |text: &str| {
            format!("{:?}", Config { text: FileText::default(), ..Config::parse(text).unwrap() })
        };
        let (defaults, mut checked) = (shown(EXAMPLE), 0);
        for line in EXAMPLE.lines() {
            let setting = line.strip_prefix("# ").and_then(|text| text.split_once(" = "));
            let Some((key, _)) = setting.filter(|(key, _)| !key.contains(' ')) else { continue };
            // They need the table or the setting before them.
            let needs_others =
                ["instance", "jwks_file", "network", "region", "role", "store_ca", "store_password", "value"]
                    .contains(&key);
            if needs_others || line.starts_with("# hubs = {") {
                continue;
            }
            let with_it = shown(&EXAMPLE.replacen(line, &line[2..], 1));
            let has_default = !WITHOUT_DEFAULT.split_whitespace().any(|name| name == key);
            assert_eq!(with_it == defaults, has_default, "{line}");
            checked += 1;
        }
        assert!(checked > 30, "{checked}");
    }

    #[test]
    fn registrations_are_movable_by_default() {
        let rule = |text: &str| Config::parse(text).unwrap().instances[0].registrations;
        assert_eq!(rule(EXAMPLE), RegistrationOwnership::Movable);
        let first_come = EXAMPLE.replace("# registrations = \"movable\"", "registrations = \"first-come\"");
        assert_eq!(rule(&first_come), RegistrationOwnership::FirstCome);
    }

    #[test]
    fn registrations_are_not_limited_by_default() {
        let limit = |text: &str| Config::parse(text).unwrap().instances[0].max_registrations_per_minute;
        assert_eq!(limit(EXAMPLE), None);
        let limited = EXAMPLE.replace("# max_registrations_per_minute", "max_registrations_per_minute");
        assert_eq!(limit(&limited).map(NonZeroU32::get), Some(6000));
    }

    #[test]
    fn existing_devices_are_adopted_by_default() {
        let rule = |text: &str| Config::parse(text).unwrap().instances[0].existing_devices;
        assert_eq!(rule(EXAMPLE), ExistingDevices::Adopt);
        let refuse = EXAMPLE.replace("# existing_devices = \"adopt\"", "existing_devices = \"refuse\"");
        assert_eq!(rule(&refuse), ExistingDevices::Refuse);
    }

    #[test]
    fn a_byte_order_mark_before_the_file_is_ignored() {
        assert_eq!(Config::parse(&format!("\u{FEFF}{EXAMPLE}")).unwrap().instances.len(), 1);
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        let cases = [
            ("retry_after_secs = 3", "retry_after = 3", "unknown field `retry_after`"),
            ("retry_after_secs = 3", "retry_after_secs = \"soon\"", "expected u32"),
            ("retry_after_secs = 3", "retry_after_secs = 9", "2 to 5"),
            ("weight = 1", "weight = 1001", "allocation weight must be 1 to 1000"),
            ("id_scope = \"0ne00000001\"", "id_scope = \"a b\"", "ID scope must be"),
            ("https = \"10.0.0.10:443\"", "https = \"everywhere\"", "invalid socket address"),
            ("name = \"hub1\"", "name = \"../hub1\"", "letters, digits, hyphens"),
            (
                "# registrations = \"movable\"",
                "registrations = \"firstcome\"",
                "expected `movable` or `first-come`",
            ),
            ("# max_registrations_per_minute = 6000", "max_registrations_per_minute = 0", "nonzero u32"),
            ("# takeover_secs = 20", "takeover_secs = 9", "10 to 600"),
            ("[attempts]\n# 1 to 3650\n# keep_days = 30", "[attempts]\nkeep_days = 0", "1 to 3650"),
            ("# refused_per_minute = 120", "refused_per_minute = 0", "1 to 100000"),
            ("# syslog = \"udp://127.0.0.1:514\"", "syslog = \"127.0.0.1\"", "is not udp://HOST:PORT"),
            ("# max_connections = 50000", "max_connections_per_address = 0", "1 to 1000000"),
        ];
        for (right, wrong, expected) in cases {
            assert!(EXAMPLE.contains(right), "{right}");
            let error = format!("{:#}", Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap_err());
            assert!(error.contains(expected) && error.contains("line"), "{wrong}: {error}");
        }
    }

    #[test]
    fn listeners_must_have_different_addresses() {
        let check = |right: &str, wrong: &str, expected: Option<&str>| {
            assert!(EXAMPLE.contains(right), "{right}");
            let outcome = Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap().check_addresses();
            match (outcome, expected) {
                (Ok(()), None) => {}
                (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (outcome, expected) => panic!("{wrong}: {outcome:?}, expected {expected:?}"),
            }
        };
        let listen = "https = \"10.0.0.10:443\"";
        check(listen, listen, None);
        check(listen, "https = \"0.0.0.0:8443\"", None);
        check(listen, "https = \"0.0.0.0:443\"", Some("10.0.0.11:443, but [listen] has 0.0.0.0:443"));
        check(listen, "https = \"[::]:443\"", Some("\"hub1\" has the address 10.0.0.11:443"));
        check(listen, "https = \"10.0.0.12:443\"", Some("\"hub2\" has the address 10.0.0.12:443"));
        check(listen, "https = \"10.0.0.10:8883\"", Some("[listen] has the address 10.0.0.10:8883"));
        check("https = \"10.0.0.11:443\"", "https = \"10.0.0.11:0\"", None);
        let metrics = "# listen = \"127.0.0.1:9100\"";
        check(metrics, "listen = \"127.0.0.1:9100\"", None);
        check(metrics, "listen = \"10.0.0.12:443\"", Some("[metrics] has the address 10.0.0.12:443"));
    }

    #[test]
    fn sections_that_need_a_restart_are_named() {
        let running = Config::parse(EXAMPLE).unwrap();
        for (right, wrong, expected) in [
            ("retry_after_secs = 3", "retry_after_secs = 4", &["device"][..]),
            ("https = \"10.0.0.10:443\"", "https = \"10.0.0.10:8443\"", &["listen"]),
            ("weight = 1", "weight = 7", &["instance"]),
            ("rights = \"", "rights = \"ServiceConfig, ", &[]),
        ] {
            assert!(EXAMPLE.contains(right), "{right}");
            let changed = Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap();
            assert_eq!(changed.sections_needing_restart(&running), expected, "{wrong}");
        }
    }

    const POLICY_AGAIN: &str = "[[instance.access_policy]]
name = \"ProvisioningServiceOwner\"
primary_key = \"env:A\"
secondary_key = \"env:B\"
rights = \"EnrollmentRead\"

[[instance.linked_hub]]";

    #[test]
    fn names_must_be_unique_and_exist() {
        let cases = [
            ("embedded_hub = \"hub1\"", "embedded_hub = \"other\"", "no [[embedded_hub]] has this name"),
            ("name = \"hub2\"", "name = \"hub1\"", "occurs twice"),
            ("name = \"hub2\"", "name = \"HUB1\"", "occurs twice"),
            ("embedded_hub = \"hub2\"", "embedded_hub = \"hub1\"", "occurs twice"),
            ("[\"dps.plant.example\"]", "[]", "service_hosts is empty"),
            ("[[instance.linked_hub]]", POLICY_AGAIN, "\"ProvisioningServiceOwner\" occurs twice"),
        ];
        for (right, wrong, expected) in cases {
            assert!(EXAMPLE.contains(right), "{right}");
            let error = format!("{:#}", Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap_err());
            assert!(error.contains(expected), "{wrong}: {error}");
        }
    }

    #[test]
    fn no_id_scope_is_the_first_word_of_another_path() {
        let routes = service_api::routes().map(|(_, path)| path);
        let paths = routes.chain(["/subscriptions/x".to_owned(), "/Health".to_owned()]);
        for path in paths {
            let word = path.split('/').nth(1).unwrap();
            let text = EXAMPLE.replacen("\"0ne00000001\"", &format!("\"{word}\""), 1);
            let error = format!("{:#}", Config::parse(&text).unwrap_err());
            assert!(error.contains("is reserved for paths of other endpoints"), "{path}: {error}");
        }
    }
}
