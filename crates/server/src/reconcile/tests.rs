//! Tests of reconciling: of each setting the most recent change counts, and nothing stored is lost.

use durable::Sealer;
use model::{Configured, IdScope};
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::sample;

use super::*;
use crate::ports::SystemEntropy;

fn open(dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open(&dir.path().join("db"), Sealer::from_key([7; 32])).unwrap()
}

async fn owner(store: &EmbeddedStore, host: &HostName) -> Option<IdScope> {
    let snapshot = store.snapshot().await.unwrap();
    snapshot.instance_by_host(host).unwrap().map(|instance| instance.id_scope.clone())
}

#[tokio::test]
async fn stored_instances_follow_the_planned_ones_and_none_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
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
    let store = open(&dir);
    reconcile(&store, vec![one.clone(), two.clone(), three], sample::by().at).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap().instances().len(), 3, "stored instances stay");
    let batches = store.batches();
    reconcile(&store, vec![one.clone(), two.clone(), testkit::sample::instance("three")], sample::by().at)
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
    let store = open(&dir);
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
    assert!(differences.len() == 1 && differences[0].contains("access_policies, name;"), "{differences:?}");

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

fn of_operators(scope: &str) -> Instance {
    let instance = Instance { managed: ManagedBy::Operators, ..testkit::sample::instance(scope) };
    crate::configured::with_digests(instance).unwrap()
}

/// Host names follow the instances as they are merged, not as they are in the file.
#[tokio::test]
async fn a_start_takes_no_host_name_away_that_operators_gave() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let now = sample::by().at;
    let [one, two] = ["one", "two"].map(of_operators);
    reconcile(&store, vec![one.clone()], now).await.unwrap();
    let freed = one.service_hosts[0].clone();
    let moved = Instance { service_hosts: vec![HostName::parse("new.test").unwrap()], ..one.clone() };
    store.put_instance(moved, sample::by()).await.unwrap();
    store
        .put_instance(Instance { service_hosts: vec![freed.clone()], ..two.clone() }, sample::by())
        .await
        .unwrap();
    let batches = store.batches();
    reconcile(&store, vec![one.clone()], now).await.unwrap();
    assert_eq!(store.batches(), batches);
    assert_eq!(owner(&store, &freed).await, Some(two.id_scope));
}

#[tokio::test]
async fn instances_of_earlier_releases_are_left_to_operators_on_a_shared_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let now = sample::by().at;
    for scope in ["one", "two", "three"] {
        store.put_instance(testkit::sample::instance(scope), sample::by()).await.unwrap();
    }
    let of_file = Instance { managed: ManagedBy::File, ..of_operators("two") };
    for planned in [vec![of_operators("one"), of_file.clone()], vec![of_operators("one"), of_file.clone()]] {
        join(&store, planned, now).await.unwrap();
        let stored = store.snapshot().await.unwrap().instances();
        let managed: Vec<_> = stored.iter().map(|it| (it.id_scope.as_str(), it.managed)).collect();
        let (file, operators) = (ManagedBy::File, ManagedBy::Operators);
        assert_eq!(managed, [("one", operators), ("three", operators), ("two", file)]);
    }
    // What a file claims is not left to operators by another one.
    reconcile(&store, vec![of_operators("one"), of_file.clone(), of_operators("three")], now).await.unwrap();
    join(&store, vec![], now).await.unwrap();
    assert_eq!(store.instance(&of_file.id_scope).await.unwrap().unwrap().managed, ManagedBy::File);
}

#[tokio::test]
async fn an_instance_of_operators_is_served_without_the_file_and_a_deleted_one_never_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
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
