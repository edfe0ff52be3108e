//! Settings of an instance that the configuration and operators both change: whose change is the most recent one.
//!
//! Of each setting the digest of its value in the configuration is stored. A setting whose digest is that of the last start
//! keeps its stored value, which an operator may have changed. Links, allocation policy and failover are compared by value
//! (`reconcile.rs`).

use std::collections::{BTreeMap, BTreeSet};

use certpath::Sha256Thumbprint;
use model::Instance;
use serde_json::{Map, Value};

/// What is never taken from digests: identity and state, and what is compared by value.
const OTHERS: [&str; 9] = [
    "id_scope",
    "operation_key",
    "cleanups_held",
    "configured",
    "deletion",
    "managed",
    "linked_hubs",
    "allocation_policy",
    "failover",
];

/// Returns an instance of the configuration with the digests of its settings.
pub(crate) fn with_digests(mut instance: Instance) -> anyhow::Result<Instance> {
    let settings = settings_of(&instance)?;
    let digest = |value: &Value| Sha256Thumbprint::of(value.to_string().as_bytes()).to_string();
    let names = settings.keys().filter(|name| !OTHERS.contains(&name.as_str()));
    let digests: BTreeMap<String, String> =
        names.filter_map(|name| Some((name.clone(), digest(settings.get(name)?)))).collect();
    instance.configured.settings = digests;
    Ok(instance)
}

/// Returns a planned instance with the stored value of each setting that the configuration has not changed.
pub(crate) fn keep_unchanged(planned: &Instance, stored: &Instance) -> anyhow::Result<Instance> {
    let mut merged = settings_of(planned)?;
    let mut kept = settings_of(stored)?;
    let names: BTreeSet<String> = merged.keys().chain(kept.keys()).cloned().collect();
    for name in names.into_iter().filter(|name| is_unchanged(name, planned, stored)) {
        match kept.remove(&name) {
            Some(value) => drop(merged.insert(name, value)),
            None => drop(merged.remove(&name)),
        }
    }
    Ok(serde_json::from_value(Value::Object(merged))?)
}

/// Whether the configuration has the value of a setting that it had at the last start. It has not if that is not known.
pub(crate) fn is_unchanged(name: &str, planned: &Instance, stored: &Instance) -> bool {
    let (now, last) = (&planned.configured.settings, &stored.configured.settings);
    !OTHERS.contains(&name) && !last.is_empty() && now.get(name) == last.get(name)
}

fn settings_of(instance: &Instance) -> anyhow::Result<Map<String, Value>> {
    match serde_json::to_value(instance)? {
        Value::Object(settings) => Ok(settings),
        _ => anyhow::bail!("an instance is not an object"),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use model::{ManagedBy, RegistrationOwnership};
    use testkit::sample;

    use super::*;

    fn planned() -> Instance {
        with_digests(Instance { managed: ManagedBy::Operators, ..sample::instance("one") }).unwrap()
    }

    #[test]
    fn of_each_setting_the_last_change_counts() {
        let first = planned();
        let mut stored = first.clone();
        stored.name = "by an operator".into();
        stored.access_policies.clear();
        stored.max_registrations_per_minute = NonZeroU32::new(5);
        assert_eq!(keep_unchanged(&first, &stored).unwrap(), stored, "the configuration is as before");

        let renamed = with_digests(Instance { name: "by the file".into(), ..first.clone() }).unwrap();
        let merged = keep_unchanged(&renamed, &stored).unwrap();
        assert_eq!(merged.name, "by the file");
        assert_eq!(merged.access_policies, [], "another setting stays as the operator left it");
        assert_eq!(merged.max_registrations_per_minute, NonZeroU32::new(5));
        let ownership = Instance { registrations: RegistrationOwnership::FirstCome, ..first };
        let merged = keep_unchanged(&with_digests(ownership).unwrap(), &stored).unwrap();
        assert_eq!(merged.registrations, RegistrationOwnership::FirstCome, "it was absent from the document");
    }

    #[test]
    fn the_configuration_counts_where_the_last_start_is_not_known() {
        let mut stored = planned();
        stored.name = "of an earlier version".into();
        stored.configured.settings.clear();
        assert_eq!(keep_unchanged(&planned(), &stored).unwrap(), planned());
    }
}
