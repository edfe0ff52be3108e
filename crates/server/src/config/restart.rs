//! Which settings a reload does not apply.

use std::{collections::BTreeSet, fmt};

use super::Config;

/// The parsed file. Its `Debug` is empty: the file may contain secrets.
#[derive(Clone, Default)]
pub(super) struct FileText(pub(super) toml::Table);

impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileText")
    }
}

impl Config {
    /// Returns the sections that differ from those of a running service and need a restart.
    pub fn sections_needing_restart(&self, running: &Config) -> Vec<String> {
        let (next, now) = (self.restart_only(), running.restart_only());
        let names: BTreeSet<&String> = next.keys().chain(now.keys()).collect();
        names.into_iter().filter(|name| next.get(*name) != now.get(*name)).cloned().collect()
    }

    /// Returns the settings that a reload does not apply.
    fn restart_only(&self) -> toml::Table {
        let mut settings = self.text.0.clone();
        for reloaded in ["tls", "webhook", "management", "oidc"] {
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
}
