//! What the configuration says and what is stored, brought together at the start.
//!
//! Operators change at run time what the configuration has its word on too: which hubs are linked, how, and how they are
//! chosen. Whoever spoke last is right, and the configuration speaks when it says something else than the last time:
//!
//! | the configuration's link of a hub is | what is linked then |
//! |---|---|
//! | new, or another than at the last start | what the configuration says |
//! | as at the last start | what operators left: as it is, changed, or unlinked |
//! | gone since the last start | nothing |
//! | not there, and was not | what operators linked |
//!
//! The same holds for the allocation policy and for failover.

use model::{Attribution, HostName, Instance, Job, LinkedHub, LogOperation, Timestamp};
use provisioning::ports::{Damage, Instances, StoreError};
use store::EmbeddedStore;

/// Brings the stored instances in line with the planned ones; see [`in_line`] for what operators changed.
///
/// An instance that is stored and not planned is served no more: its keys may have been taken out of the file on purpose. It
/// stays as it is in the database, and stops none of the others. So does one that is damaged.
pub(crate) async fn reconcile(
    store: &EmbeddedStore,
    planned: Vec<Instance>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let by = configuring(now);
    let stored = store.snapshot().await?.instances();
    for held in &stored {
        // First let go of host names that move to another instance: no two may have the same, not even for a moment.
        let moves = |host: &HostName| {
            planned.iter().any(|it| it.id_scope != held.id_scope && it.service_hosts.contains(host))
        };
        if held.service_hosts.iter().any(moves) {
            let mut released = Instance::clone(held);
            released.service_hosts.retain(|host| !moves(host));
            store.put_instance(released, by.clone()).await?;
        }
    }
    for left in &stored {
        if !is_among(&planned, left) {
            tracing::error!(
                instance.id_scope = %left.id_scope,
                instance.name = left.name,
                "{NOT_PLANNED}"
            );
            store.set_aside(&left.id_scope);
        }
    }
    for mut instance in planned {
        if let Some(same) = stored.iter().find(|stored| stored.id_scope == instance.id_scope) {
            instance = in_line(instance, same);
            // A start that changes nothing writes nothing: it succeeds on a full disk.
            let held = store.instance(&instance.id_scope).await?;
            if held.is_some_and(|held| *held == instance) {
                continue;
            }
        }
        match store.put_instance(instance, by.clone()).await {
            // It was logged when the store was opened.
            Err(StoreError::Damaged(_)) => {}
            put => put?,
        }
    }
    Ok(())
}

/// What the change log says of what the configuration changes.
pub(crate) fn configuring(now: Timestamp) -> Attribution {
    Attribution::by_job(Job::Configuration, LogOperation::InstanceConfigure, now)
}

/// What [`reconcile`] would say of these planned instances.
pub(crate) async fn foresee(store: &EmbeddedStore, planned: &[Instance]) -> anyhow::Result<Vec<String>> {
    let stored = store.snapshot().await?.instances();
    let left = stored.iter().filter(|stored| !is_among(planned, stored));
    let left = left.map(|left| format!("the instance {:?} ({}): {NOT_PLANNED}", left.name, left.id_scope));
    let damaged = store.known_damage().await?.records;
    let damaged = damaged.iter().map(|(scope, record)| format!("instance {scope}: {record}"));
    Ok(left.chain(damaged).collect())
}

fn is_among(planned: &[Instance], stored: &Instance) -> bool {
    planned.iter().any(|it| it.id_scope == stored.id_scope)
}

const NOT_PLANNED: &str = "the database has the instance and the configuration does not: it is not served, its devices are \
     turned away, and its records stay; put it back to serve it again";

/// A planned instance with what the stored one keeps: its operation key, whether its cleanups are held, and what
/// operators changed.
fn in_line(mut planned: Instance, stored: &Instance) -> Instance {
    planned.operation_key = stored.operation_key.clone();
    planned.cleanups_held = stored.cleanups_held.clone();
    let (says, said) = (&planned.configured, &stored.configured);
    if says.allocation_policy == said.allocation_policy {
        planned.allocation_policy = stored.allocation_policy;
    }
    if says.failover == said.failover {
        planned.failover = stored.failover;
    }
    let has_new_word = |hub: &&LinkedHub| said.linked_hub(&hub.name) != Some(hub);
    let spoken: Vec<&LinkedHub> = says.linked_hubs.iter().filter(has_new_word).collect();
    let is_settled = |hub: &&LinkedHub| {
        let is_gone = said.linked_hub(&hub.name).is_some() && says.linked_hub(&hub.name).is_none();
        !is_gone && !spoken.iter().any(|it| it.name == hub.name)
    };
    let kept: Vec<&LinkedHub> = stored.linked_hubs.iter().filter(is_settled).collect();
    planned.linked_hubs = spoken.into_iter().chain(kept).cloned().collect();
    tell_of_changes(&planned);
    planned
}

/// So that nobody wonders why the file says something else.
fn tell_of_changes(instance: &Instance) {
    for hub in &instance.configured.linked_hubs {
        if instance.linked_hub(&hub.name) != Some(hub) {
            tracing::info!(
                instance.id_scope = %instance.id_scope,
                hub.name = %hub.name,
                "an operator changed the link that the configuration makes, and the configuration is as it was"
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
    async fn the_stored_instances_follow_the_planned_ones_and_none_is_dropped() {
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
        assert_eq!(store.snapshot().await.unwrap().instances().len(), 3, "what was stored stayed");
        let batches = store.batches();
        reconcile(
            &store,
            vec![one.clone(), two.clone(), testkit::sample::instance("three")],
            sample::by().at,
        )
        .await
        .unwrap();
        assert_eq!(store.batches(), batches, "what changes nothing writes nothing");
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

    /// A link of the hub `NAME.test`, with this weight.
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
            ..testkit::sample::instance("one")
        }
    }

    #[test]
    fn who_spoke_last_is_right_about_a_link() {
        let (none, one, two, three) = (vec![], vec![link("a", 1)], vec![link("a", 2)], vec![link("a", 3)]);
        for (said, linked, says, expected) in [
            (&none, &none, &none, &none),
            (&none, &none, &one, &one),
            // An operator's link stays, until the configuration links the hub too.
            (&none, &two, &none, &two),
            (&none, &two, &one, &one),
            // What an operator changed or unlinked stays so, until the configuration says something new.
            (&one, &two, &one, &two),
            (&one, &none, &one, &none),
            (&one, &two, &three, &three),
            (&one, &none, &three, &three),
            (&one, &two, &none, &none),
            (&one, &one, &none, &none),
        ] {
            let merged = in_line(instance(says, says), &instance(said, linked));
            assert_eq!((&merged.linked_hubs, &merged.configured.linked_hubs), (expected, says));
        }
    }

    #[test]
    fn links_do_not_mind_each_other() {
        let (a, b, c) = (link("a", 1), link("b", 1), link("c", 1));
        let stored = instance(&[a.clone(), b.clone()], &[link("b", 5), c.clone()]);
        let says = [a.clone(), b, link("d", 1)];
        let merged = in_line(instance(&says, &says), &stored);
        assert_eq!(merged.linked_hubs, [link("d", 1), link("b", 5), c]);
    }

    #[test]
    fn who_spoke_last_is_right_about_the_policy() {
        use model::AllocationPolicy::{GeoLatency, Hashed, Static};
        for (said, stored, says, expected) in [
            (Hashed, Hashed, Hashed, Hashed),
            (Hashed, Static, Hashed, Static),
            (Hashed, Static, GeoLatency, GeoLatency),
        ] {
            let with = |configured, allocation_policy| Instance {
                allocation_policy,
                configured: Configured { allocation_policy: configured, ..Configured::default() },
                ..testkit::sample::instance("one")
            };
            assert_eq!(in_line(with(says, says), &with(said, stored)).allocation_policy, expected);
        }
    }

    #[test]
    fn who_spoke_last_is_right_about_failover() {
        for (said, stored, says, expected) in [
            (false, false, false, false),
            (false, true, false, true),
            (true, false, true, false),
            (false, true, true, true),
            (true, true, false, false),
        ] {
            let with = |configured, failover| Instance {
                failover,
                configured: Configured { failover: configured, ..Configured::default() },
                ..testkit::sample::instance("one")
            };
            assert_eq!(in_line(with(says, says), &with(said, stored)).failover, expected);
        }
    }
}
