//! Reconciles the configuration with the stored instances at the start.
//!
//! The configuration and operators own some settings together: links of hubs, allocation policy and failover. The most
//! recent change wins. The configuration counts as changed if it differs from the last start:
//!
//! | the link in the configuration is | result |
//! |---|---|
//! | new, or changed since the last start | the link of the configuration |
//! | unchanged since the last start | the state that operators left: unchanged, changed, or unlinked |
//! | removed since the last start | no link |
//! | absent, now and at the last start | the link of operators, if any |
//!
//! The same applies to the allocation policy and to failover.
//!
//! This is for a database of one process. The nodes of a shared database may have different files, for a while at least, and
//! must not undo each other's settings with each start. There the database counts: every node serves all instances in it,
//! [`join`] only creates those that are missing, and `muster store apply` does what a start does here.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::bail;
use model::{Attribution, HostName, Instance, Job, LinkedHub, LogOperation, ManagedBy, Timestamp};
use provisioning::{
    configuration::Snapshot,
    ports::{Damage, InstanceWriter, Instances, StoreError},
};
use store::{SealedStore, engine::Engine};

use crate::configured::keep_unchanged;

/// The number of tries if operators change the same instance concurrently.
pub(crate) const MAX_RACES: usize = 8;

const NOT_PLANNED: &str = "the instance is managed by the configuration, which does not have it any more, so it is not served; \
     its records are kept; add it to the configuration to serve it again";

const DELETED: &str =
    "the instance was deleted, and ID scopes are not used again: remove it from the configuration";

/// Updates the stored instances to the planned ones; [`merged`] keeps the changes of operators.
///
/// A stored instance that is not planned is served on if operators manage it. One that the configuration manages is not, because
/// its keys may have been removed from the file on purpose; it stays in the database, and does not affect others. So does a
/// damaged one.
pub(crate) async fn reconcile<E: Engine>(
    store: &SealedStore<E>,
    planned: Vec<Instance>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let by = by_configuration(now);
    let snapshot = store.snapshot().await?;
    let planned = without_deleted(planned, &snapshot);
    let stored = snapshot.instances();
    for held in &stored {
        // First releases host names that move to another instance, because no two may have the same at any time.
        let moves = |host: &HostName| {
            planned.iter().any(|it| it.id_scope != held.id_scope && it.service_hosts.contains(host))
        };
        if held.service_hosts.iter().any(moves) {
            let mut released = Instance::clone(held);
            released.service_hosts.retain(|host| !moves(host));
            store.put_instance(released, by.clone()).await?;
        }
    }
    set_aside_unplanned(store, &stored, &planned);
    for instance in planned {
        if stored.iter().any(|held| held.id_scope == instance.id_scope) {
            update(store, &instance, &by).await?;
            continue;
        }
        match store.put_instance(instance, by.clone()).await {
            // The damage was logged when the store was opened.
            Err(StoreError::Damaged(_)) => {}
            put => put?,
        }
    }
    Ok(())
}

/// Brings a stored instance to the planned one. Operators may change it at the same time, at nodes that serve.
async fn update<E: Engine>(
    store: &SealedStore<E>,
    planned: &Instance,
    by: &Attribution,
) -> anyhow::Result<()> {
    for _ in 0..MAX_RACES {
        let Some(held) = store.instance(&planned.id_scope).await? else { break };
        let next = merged(planned.clone(), &held)?;
        log_operator_changes(&next);
        // A start without changes writes nothing, so that it succeeds on a full disk.
        if *held == next || store.replace_instance(&held, next.into(), by.clone()).await? {
            return Ok(());
        }
    }
    bail!("the instance {} was not updated: it was changed or removed at the same time", planned.id_scope)
}

/// Creates the planned instances that a shared database lacks, and logs how the stored ones differ from the planned ones.
pub(crate) async fn join<E: Engine>(
    store: &SealedStore<E>,
    planned: Vec<Instance>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let planned = without_deleted(planned, &*store.snapshot().await?);
    for instance in &planned {
        // Another node may create it at the same time, with another operation key.
        match store.create_instance(instance.clone(), by_configuration(now)).await {
            Err(StoreError::Damaged(_)) => {}
            created => drop(created?),
        }
    }
    let stored = store.snapshot().await?.instances();
    for unplanned in stored.iter().filter(|stored| !is_among(&planned, stored)) {
        let (scope, name) = (&unplanned.id_scope, &unplanned.name);
        tracing::info!(instance.id_scope = %scope, instance.name = name, "served as it is in the database, and not in this configuration");
    }
    for difference in differences(&stored, &planned) {
        tracing::warn!("{difference}");
    }
    Ok(())
}

/// Returns how the stored instances of a shared database differ from the planned ones, for people.
pub(crate) fn differences(stored: &[Arc<Instance>], planned: &[Instance]) -> Vec<String> {
    let differing = planned.iter().filter_map(|planned| {
        let same = stored.iter().find(|stored| stored.id_scope == planned.id_scope)?;
        let settings = differing_settings(&merged(planned.clone(), same).ok()?, same);
        let (name, scope) = (&planned.name, &planned.id_scope);
        (!settings.is_empty()).then(|| {
            format!(
                "the instance {name:?} ({scope}) in the database differs from this configuration in {}; the database counts; \
                 `muster store apply` writes the configuration to it",
                settings.join(", ")
            )
        })
    });
    differing.collect()
}

/// Returns the names of the settings with different values, as they are stored.
fn differing_settings(planned: &Instance, stored: &Instance) -> Vec<String> {
    let settings = |instance: &Instance| match serde_json::to_value(instance) {
        Ok(serde_json::Value::Object(settings)) => settings,
        _ => serde_json::Map::new(),
    };
    let (planned, stored) = (settings(planned), settings(stored));
    let names: BTreeSet<&String> = planned.keys().chain(stored.keys()).collect();
    // `configured` only remembers the configuration.
    let differs = |name: &&String| *name != "configured" && planned.get(*name) != stored.get(*name);
    names.into_iter().filter(differs).cloned().collect()
}

fn set_aside_unplanned<E: Engine>(store: &SealedStore<E>, stored: &[Arc<Instance>], planned: &[Instance]) {
    for left in stored.iter().filter(|left| is_left_out(planned, left)) {
        tracing::error!(
            instance.id_scope = %left.id_scope,
            instance.name = left.name,
            "{NOT_PLANNED}"
        );
        store.set_aside(&left.id_scope);
    }
}

/// Returns the actor in the change log for changes by the configuration.
pub(crate) fn by_configuration(now: Timestamp) -> Attribution {
    Attribution::by_job(Job::Configuration, LogOperation::InstanceConfigure, now)
}

/// Returns the warnings that [`reconcile`] would log for these planned instances.
pub(crate) async fn foresee<E: Engine>(
    store: &SealedStore<E>,
    planned: &[Instance],
) -> anyhow::Result<Vec<String>> {
    let snapshot = store.snapshot().await?;
    let stored = snapshot.instances();
    let left = stored.iter().filter(|stored| is_left_out(planned, stored));
    let left = left.map(|left| format!("the instance {:?} ({}): {NOT_PLANNED}", left.name, left.id_scope));
    let is_deleted = |it: &&Instance| snapshot.deleted_instance(&it.id_scope).is_some();
    let deleted = planned.iter().filter(is_deleted).map(|it| format!("instance {}: {DELETED}", it.id_scope));
    Ok(left.chain(deleted).chain(damage(store).await?).collect())
}

/// Returns the records that cannot be read, for people.
pub(crate) async fn damage<E: Engine>(store: &SealedStore<E>) -> anyhow::Result<Vec<String>> {
    let damaged = store.known_damage().await?.records;
    Ok(damaged.iter().map(|(scope, record)| format!("instance {scope}: {record}")).collect())
}

fn is_among(planned: &[Instance], stored: &Instance) -> bool {
    planned.iter().any(|it| it.id_scope == stored.id_scope)
}

/// Whether a stored instance is not served, because the configuration that manages it does not have it any more.
fn is_left_out(planned: &[Instance], stored: &Instance) -> bool {
    stored.managed == ManagedBy::File && !is_among(planned, stored)
}

/// Returns the planned instances without those that operators deleted.
fn without_deleted(mut planned: Vec<Instance>, snapshot: &Snapshot) -> Vec<Instance> {
    planned.retain(|instance| {
        let is_deleted = snapshot.deleted_instance(&instance.id_scope).is_some();
        if is_deleted {
            tracing::error!(instance.id_scope = %instance.id_scope, "{DELETED}");
        }
        !is_deleted
    });
    planned
}

/// Merges a planned instance with the stored one, which keeps its operation key, its hold on cleanups, and the changes of
/// operators, unless only the configuration may change it.
fn merged(mut planned: Instance, stored: &Instance) -> anyhow::Result<Instance> {
    planned.operation_key = stored.operation_key.clone();
    planned.cleanups_held = stored.cleanups_held.clone();
    if planned.managed == ManagedBy::File {
        return Ok(planned);
    }
    let mut planned = keep_unchanged(&planned, stored)?;
    let (configured, last_configured) = (&planned.configured, &stored.configured);
    if configured.allocation_policy == last_configured.allocation_policy {
        planned.allocation_policy = stored.allocation_policy;
    }
    if configured.failover == last_configured.failover {
        planned.failover = stored.failover;
    }
    let changed_in_config = |hub: &&LinkedHub| last_configured.linked_hub(&hub.name) != Some(hub);
    let from_config: Vec<&LinkedHub> = configured.linked_hubs.iter().filter(changed_in_config).collect();
    let is_kept = |hub: &&LinkedHub| {
        let is_removed =
            last_configured.linked_hub(&hub.name).is_some() && configured.linked_hub(&hub.name).is_none();
        !is_removed && !from_config.iter().any(|it| it.name == hub.name)
    };
    let kept: Vec<&LinkedHub> = stored.linked_hubs.iter().filter(is_kept).collect();
    planned.linked_hubs = from_config.into_iter().chain(kept).cloned().collect();
    Ok(planned)
}

/// Logs the links that differ from the configuration because of operators.
fn log_operator_changes(instance: &Instance) {
    for hub in &instance.configured.linked_hubs {
        if instance.linked_hub(&hub.name) != Some(hub) {
            tracing::info!(
                instance.id_scope = %instance.id_scope,
                hub.name = %hub.name,
                "the link differs from the configuration, because an operator changed it; change it in the configuration to override"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use durable::Sealer;
    use model::{Configured, IdScope};
    use store::EmbeddedStore;
    use testkit::sample;

    use super::*;
    use crate::ports::SystemEntropy;

    async fn owner(store: &EmbeddedStore, host: &HostName) -> Option<IdScope> {
        let snapshot = store.snapshot().await.unwrap();
        snapshot.instance_by_host(host).unwrap().map(|instance| instance.id_scope.clone())
    }

    #[tokio::test]
    async fn stored_instances_follow_the_planned_ones_and_none_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&dir.path().join("db"), Sealer::from_key([7; 32])).unwrap();
        let [one, two, three] = ["one", "two", "three"].map(testkit::sample::instance);
        reconcile(&store, vec![one.clone(), two.clone()], sample::by().at).await.unwrap();
        let foreseen = foresee(&store, &[one.clone(), three.clone()]).await.unwrap();
        assert!(foreseen.len() == 1 && foreseen[0].contains("two"), "{foreseen:?}");
        reconcile(&store, vec![one.clone(), three.clone()], sample::by().at).await.unwrap();
        assert_eq!(store.instance(&two.id_scope).await.unwrap(), None, "it is not served");
        let served = store.snapshot().await.unwrap().instances();
        assert_eq!(served.len(), 2, "{served:?}");
        assert_eq!(owner(&store, &two.service_hosts[0]).await, None);
        store.close().await;
        let store = EmbeddedStore::open(&dir.path().join("db"), Sealer::from_key([7; 32])).unwrap();
        reconcile(&store, vec![one.clone(), two.clone(), three], sample::by().at).await.unwrap();
        assert_eq!(store.snapshot().await.unwrap().instances().len(), 3, "stored instances stay");
        let batches = store.batches();
        reconcile(
            &store,
            vec![one.clone(), two.clone(), testkit::sample::instance("three")],
            sample::by().at,
        )
        .await
        .unwrap();
        assert_eq!(store.batches(), batches, "a start without changes writes nothing");
        store.set_aside(&testkit::sample::scope("three"));

        // Instances may swap their host names.
        let [mut swapped_one, mut swapped_two] = [one.clone(), two.clone()];
        std::mem::swap(&mut swapped_one.service_hosts, &mut swapped_two.service_hosts);
        reconcile(&store, vec![swapped_one, swapped_two], sample::by().at).await.unwrap();
        let host = &one.service_hosts[0];
        assert_eq!(owner(&store, host).await, Some(two.id_scope.clone()));

        let renamed = Instance {
            name: "renamed".into(),
            operation_key: SystemEntropy::default().symmetric_key().unwrap(),
            ..one.clone()
        };
        reconcile(&store, vec![renamed, two], sample::by().at).await.unwrap();
        let stored = store.instance(&one.id_scope).await.unwrap().unwrap();
        assert_eq!((stored.name.as_str(), &stored.operation_key), ("renamed", &one.operation_key));
    }

    #[tokio::test]
    async fn nodes_with_different_files_do_not_undo_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&dir.path().join("db"), Sealer::from_key([7; 32])).unwrap();
        let now = sample::by().at;
        let one = testkit::sample::instance("one");
        join(&store, vec![one.clone()], now).await.unwrap();
        let batches = store.batches();
        let other = Instance {
            name: "renamed".into(),
            operation_key: SystemEntropy::default().symmetric_key().unwrap(),
            access_policies: Vec::new(),
            ..one.clone()
        };
        join(&store, vec![other.clone()], now).await.unwrap();
        assert_eq!(store.batches(), batches, "the second node writes nothing");
        let stored = store.snapshot().await.unwrap().instances();
        assert_eq!(*stored[0], one);
        join(&store, vec![testkit::sample::instance("three")], now).await.unwrap();
        assert_eq!(store.snapshot().await.unwrap().instances().len(), 2, "every node serves all of them");
        let differences = differences(&stored, std::slice::from_ref(&other));
        assert!(
            differences.len() == 1 && differences[0].contains("access_policies, name;"),
            "{differences:?}"
        );

        reconcile(&store, vec![other.clone()], now).await.unwrap();
        let stored = store.snapshot().await.unwrap().instances();
        assert_eq!((stored[0].name.as_str(), &stored[0].operation_key), ("renamed", &one.operation_key));
        assert_eq!(super::differences(&stored, &[other]), [""; 0]);
    }

    /// Makes a link of the hub `NAME.test` with this weight.
    fn link(name: &str, weight: u16) -> LinkedHub {
        let mut hub = testkit::sample::instance("one").linked_hubs.swap_remove(0);
        hub.name = testkit::sample::hub_name(&format!("{name}.test"));
        hub.weight = model::AllocationWeight::new(weight).unwrap();
        hub
    }

    fn instance(configured: &[LinkedHub], linked: &[LinkedHub]) -> Instance {
        Instance {
            linked_hubs: linked.to_vec(),
            configured: Configured { linked_hubs: configured.to_vec(), ..Configured::default() },
            managed: ManagedBy::Operators,
            ..testkit::sample::instance("one")
        }
    }

    #[test]
    fn the_last_change_of_a_link_wins() {
        let (none, one, two, three) = (vec![], vec![link("a", 1)], vec![link("a", 2)], vec![link("a", 3)]);
        for (last, linked, configured, expected) in [
            (&none, &none, &none, &none),
            (&none, &none, &one, &one),
            // A link of an operator stays until the configuration links the hub, too.
            (&none, &two, &none, &two),
            (&none, &two, &one, &one),
            // A change by an operator stays until the configuration changes.
            (&one, &two, &one, &two),
            (&one, &none, &one, &none),
            (&one, &two, &three, &three),
            (&one, &none, &three, &three),
            (&one, &two, &none, &none),
            (&one, &one, &none, &none),
        ] {
            let merged = merged(instance(configured, configured), &instance(last, linked)).unwrap();
            assert_eq!((&merged.linked_hubs, &merged.configured.linked_hubs), (expected, configured));
        }
    }

    #[test]
    fn links_are_merged_independently() {
        let (a, b, c) = (link("a", 1), link("b", 1), link("c", 1));
        let stored = instance(&[a.clone(), b.clone()], &[link("b", 5), c.clone()]);
        let configured = [a.clone(), b, link("d", 1)];
        let merged = merged(instance(&configured, &configured), &stored).unwrap();
        assert_eq!(merged.linked_hubs, [link("d", 1), link("b", 5), c]);
    }

    #[test]
    fn the_last_change_of_the_policy_wins() {
        use model::AllocationPolicy::{GeoLatency, Hashed, Static};
        for (last, stored, configured, expected) in [
            (Hashed, Hashed, Hashed, Hashed),
            (Hashed, Static, Hashed, Static),
            (Hashed, Static, GeoLatency, GeoLatency),
        ] {
            let with = |configured, allocation_policy| Instance {
                allocation_policy,
                configured: Configured { allocation_policy: configured, ..Configured::default() },
                managed: ManagedBy::Operators,
                ..testkit::sample::instance("one")
            };
            let merged = merged(with(configured, configured), &with(last, stored)).unwrap();
            assert_eq!(merged.allocation_policy, expected);
        }
    }

    #[test]
    fn the_last_change_of_failover_wins() {
        for (last, stored, configured, expected) in [
            (false, false, false, false),
            (false, true, false, true),
            (true, false, true, false),
            (false, true, true, true),
            (true, true, false, false),
        ] {
            let with = |configured, failover| Instance {
                failover,
                configured: Configured { failover: configured, ..Configured::default() },
                managed: ManagedBy::Operators,
                ..testkit::sample::instance("one")
            };
            let merged = merged(with(configured, configured), &with(last, stored)).unwrap();
            assert_eq!(merged.failover, expected);
        }
    }

    #[tokio::test]
    async fn an_instance_of_operators_is_served_without_the_file_and_a_deleted_one_never_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&dir.path().join("db"), Sealer::from_key([7; 32])).unwrap();
        let now = sample::by().at;
        let [one, two] = ["one", "two"]
            .map(|scope| Instance { managed: ManagedBy::Operators, ..testkit::sample::instance(scope) });
        reconcile(&store, vec![one.clone(), two.clone()], now).await.unwrap();
        reconcile(&store, vec![one.clone()], now).await.unwrap();
        assert_eq!(store.snapshot().await.unwrap().instances().len(), 2);

        let deletion = model::Deletion { requested: now, finished: None, is_verified: false };
        let deleted = Instance { deletion: Some(deletion), ..two.clone() };
        store.put_instance(deleted, sample::by()).await.unwrap();
        assert_eq!(store.snapshot().await.unwrap().instances().len(), 1);
        for planned in [vec![one.clone(), two.clone()], vec![two.clone()]] {
            reconcile(&store, planned.clone(), now).await.unwrap();
            join(&store, planned.clone(), now).await.unwrap();
            assert!(foresee(&store, &planned).await.unwrap().iter().any(|line| line.contains("was deleted")));
        }
        let served = store.snapshot().await.unwrap().instances();
        assert_eq!(served.iter().map(|it| &it.id_scope).collect::<Vec<_>>(), [&one.id_scope]);
        let owner = owner(&store, &two.service_hosts[0]).await;
        assert_eq!(owner, None, "another instance may have its host name");
    }
}
