//! Reconciles the configuration with the stored instances at the start.
//!
//! The configuration and operators own the settings of an instance together, unless only the configuration may change it. Of
//! each setting the most recent change counts. The configuration counts as changed if it differs from the last start:
//!
//! | the link in the configuration is | result |
//! |---|---|
//! | new, or changed since the last start | the link of the configuration |
//! | unchanged since the last start | the state that operators left: unchanged, changed, or unlinked |
//! | removed since the last start | no link |
//! | absent, now and at the last start | the link of operators, if any |
//!
//! The same applies to the other settings ([`crate::configured`]).
//!
//! This is for a database of one process. The nodes of a shared database may have different files, for a while at least, and
//! must not undo each other's settings with each start. There the database counts: every node serves all instances in it,
//! [`join`] only creates those that are missing, leaves those of earlier releases to operators, and `muster store apply` does what a start does here.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::bail;
use model::{Attribution, HostName, IdScope, Instance, Job, LinkedHub, LogOperation, ManagedBy, Timestamp};
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
    release_hosts(store, (&stored, &planned), &by).await?;
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

/// Takes the host names that move to another instance from those that have them, because no two may have the same at any time.
async fn release_hosts<E: Engine>(
    store: &SealedStore<E>,
    (stored, planned): (&[Arc<Instance>], &[Instance]),
    by: &Attribution,
) -> anyhow::Result<()> {
    let next =
        planned.iter().map(|planned| match stored.iter().find(|held| held.id_scope == planned.id_scope) {
            Some(held) => merged(planned.clone(), held),
            None => Ok(planned.clone()),
        });
    let next: Vec<Instance> = next.collect::<anyhow::Result<_>>()?;
    for held in stored {
        let moves = |host: &HostName| {
            next.iter().any(|it| it.id_scope != held.id_scope && it.service_hosts.contains(host))
        };
        if held.service_hosts.iter().any(moves) {
            let release = |held: &Instance| {
                let mut released = held.clone();
                released.service_hosts.retain(|host| !moves(host));
                Ok(released)
            };
            change(store, &held.id_scope, by, release).await?;
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
    let next = |held: &Instance| {
        let next = merged(planned.clone(), held)?;
        log_operator_changes(&next);
        Ok(next)
    };
    change(store, &planned.id_scope, by, next).await
}

/// Changes a stored instance, which operators may change at the same time. Without a change it writes nothing, so that a start
/// succeeds on a full disk.
async fn change<E: Engine>(
    store: &SealedStore<E>,
    scope: &IdScope,
    by: &Attribution,
    next: impl Fn(&Instance) -> anyhow::Result<Instance>,
) -> anyhow::Result<()> {
    for _ in 0..MAX_RACES {
        let Some(held) = store.instance(scope).await? else { break };
        let next = next(&held)?;
        if *held == next || store.replace_instance(&held, next.into(), by.clone()).await? {
            return Ok(());
        }
    }
    bail!("the instance {scope} was not updated: it was changed or removed at the same time")
}

/// Creates the planned instances that a shared database lacks, lets operators change those of earlier releases, and logs how the stored ones differ from the planned ones.
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
    for earlier in store.snapshot().await?.instances().iter().filter(|it| is_unmarked(&planned, it)) {
        let adopted = |held: &Instance| Ok(Instance { managed: ManagedBy::Operators, ..held.clone() });
        change(store, &earlier.id_scope, &by_configuration(now), adopted).await?;
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

/// Whether an instance of a shared database was stored by a release that did not know who may change it, so that it may be
/// operators. Not if this configuration manages it.
fn is_unmarked(planned: &[Instance], stored: &Instance) -> bool {
    let is_of_file = |it: &Instance| it.id_scope == stored.id_scope && it.managed == ManagedBy::File;
    let is_old = stored.managed == ManagedBy::File && stored.configured.settings.is_empty();
    is_old && !planned.iter().any(is_of_file)
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
mod tests;
