//! Settings of an instance that the configuration and operators both change: whose change is the most recent one.
//!
//! Of each setting the digest of its value in the configuration is stored. A setting whose digest is that of the last start
//! keeps its stored value, which an operator may have changed. Each access policy is a setting of its own, and so is each fact
//! of the resource: a change of one in the file does not undo what operators made of the others. Links, allocation policy
//! and failover are compared by value (`reconcile.rs`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use certpath::Sha256Thumbprint;
use model::{AccessPolicy, Instance, ManagedBy};
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

/// The member with the access policies. Each is a setting: this, a slash and its name.
const POLICIES: &str = "access_policies";

/// The member with the facts of the resource. Each is a setting: this, a slash and its name.
const RESOURCE: &str = "resource";

/// Returns an instance of the configuration with the digests of its settings.
pub(crate) fn with_digests(mut instance: Instance) -> anyhow::Result<Instance> {
    let digest = |value: &Value| Sha256Thumbprint::of(value.to_string().as_bytes()).to_string();
    let settings = settings_of(&instance)?;
    let settings = settings.iter().filter(|(name, _)| !OTHERS.contains(&name.as_str()));
    instance.configured.settings = settings.map(|(name, value)| (name.clone(), digest(value))).collect();
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
    let mut merged = instance_of(merged)?;
    // In their stored order, so that a start without changes writes nothing.
    let place = |policy: &AccessPolicy| stored.access_policies.iter().position(|it| it.name == policy.name);
    merged.access_policies.sort_by_key(|policy| place(policy).unwrap_or(usize::MAX));
    Ok(merged)
}

/// Returns a stored instance with the access policies of the planned one where the configuration changed them, and their digests.
pub(crate) fn with_changed_policies(planned: &Instance, stored: &Instance) -> anyhow::Result<Instance> {
    let access_policies = match planned.managed {
        ManagedBy::File => planned.access_policies.clone(),
        ManagedBy::Operators => keep_unchanged(planned, stored)?.access_policies,
    };
    let mut next = Instance { access_policies, ..stored.clone() };
    let is_policy = |name: &str| name.strip_prefix(POLICIES).is_some_and(|rest| rest.starts_with('/'));
    let digests = planned.configured.settings.iter().filter(|(name, _)| is_policy(name));
    next.configured.settings.retain(|name, _| !is_policy(name));
    next.configured.settings.extend(digests.map(|(name, digest)| (name.clone(), digest.clone())));
    Ok(next)
}

/// Whether the configuration has the value of a setting that it had at the last start. It has not if that is not known.
fn is_unchanged(name: &str, planned: &Instance, stored: &Instance) -> bool {
    let (now, last) = (&planned.configured.settings, &stored.configured.settings);
    !OTHERS.contains(&name) && !last.is_empty() && now.get(name) == last.get(name)
}

/// Returns the settings of an instance by name.
fn settings_of(instance: &Instance) -> anyhow::Result<BTreeMap<String, Value>> {
    let members = |value| match value {
        Value::Object(members) => Ok(members),
        _ => Err(anyhow::anyhow!("settings are not an object")),
    };
    let mut whole = members(serde_json::to_value(instance)?)?;
    whole.remove(POLICIES);
    whole.remove(RESOURCE);
    let facts = members(serde_json::to_value(&instance.resource)?)?;
    let mut settings: BTreeMap<String, Value> = whole.into_iter().collect();
    settings.extend(facts.into_iter().map(|(name, value)| (format!("{RESOURCE}/{name}"), value)));
    for policy in &instance.access_policies {
        let name = policy.name.as_str().to_ascii_lowercase();
        settings.insert(format!("{POLICIES}/{name}"), serde_json::to_value(policy)?);
    }
    Ok(settings)
}

/// Returns the instance with these settings.
fn instance_of(settings: BTreeMap<String, Value>) -> anyhow::Result<Instance> {
    let (mut whole, mut facts, mut policies) = (Map::new(), Map::new(), Vec::new());
    for (name, value) in settings {
        match name.split_once('/') {
            Some((POLICIES, _)) => policies.push(value),
            Some((_, fact)) => drop(facts.insert(fact.to_owned(), value)),
            None => drop(whole.insert(name, value)),
        }
    }
    whole.insert(POLICIES.to_owned(), Value::Array(policies));
    whole.insert(RESOURCE.to_owned(), Value::Object(facts));
    serde_json::from_value(Value::Object(whole)).context("merging the settings of an instance")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use model::{PolicyName, RegistrationOwnership, Rights};
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

    fn policy(name: &str, key: u8) -> AccessPolicy {
        let (primary_key, secondary_key) = (sample::key(key), sample::key(key));
        let name = PolicyName::parse(name).unwrap();
        AccessPolicy { name, primary_key, secondary_key, rights: Rights::OF_POLICIES }
    }

    fn with_policies(policies: &[AccessPolicy]) -> Instance {
        with_digests(Instance { access_policies: policies.to_vec(), ..planned() }).unwrap()
    }

    /// `(in the file at the last start, stored, in the file now, expected)`, each a list of names and keys.
    #[test]
    fn of_each_access_policy_the_last_change_counts() {
        let (x, y, z) = (policy("x", 1), policy("y", 2), policy("z", 3));
        let (rotated, other) = (policy("X", 9), policy("x", 5));
        for (last, stored, now, expected) in [
            // The file gains y: the key of x that an operator replaced does not come back, and z of an operator stays.
            (vec![&x], vec![&rotated, &z], vec![&x, &y], vec![&rotated, &z, &y]),
            (vec![&x, &y], vec![&y], vec![&x, &y], vec![&y]),
            (vec![&x], vec![&rotated], vec![&other], vec![&other]),
            (vec![&x, &y], vec![&rotated, &y], vec![&y], vec![&y]),
            (vec![&x], vec![&z, &x], vec![&x], vec![&z, &x]),
        ] {
            let list = |policies: Vec<&AccessPolicy>| policies.into_iter().cloned().collect::<Vec<_>>();
            let stored = Instance { access_policies: list(stored), ..with_policies(&list(last)) };
            let (now, expected) = (with_policies(&list(now)), list(expected));
            assert_eq!(keep_unchanged(&now, &stored).unwrap().access_policies, expected);
            let reloaded = with_changed_policies(&now, &stored).unwrap();
            assert_eq!((&reloaded.access_policies, reloaded.configured), (&expected, now.configured));
        }
    }

    #[test]
    fn a_changed_location_keeps_the_tags_of_operators() {
        let mut stored = planned();
        stored.resource.tags.insert("line".into(), "3".into());
        let mut moved = planned();
        moved.resource.location = "south".into();
        let merged = keep_unchanged(&with_digests(moved).unwrap(), &stored).unwrap();
        assert_eq!(
            (merged.resource.location.as_str(), &merged.resource.tags),
            ("south", &stored.resource.tags)
        );
    }

    #[test]
    fn the_configuration_counts_where_the_last_start_is_not_known() {
        let mut stored = planned();
        stored.name = "of an earlier version".into();
        stored.configured.settings.clear();
        assert_eq!(keep_unchanged(&planned(), &stored).unwrap(), planned());
    }
}
