//! Two handles on one database, as two nodes have: neither may answer by what it remembered.

use std::sync::Arc;

use model::{Day, Instance, ListId, OperationKind, Timestamp};
use provisioning::ports::{Change, Expect, InstanceUpdate, LogRetention, Outcome};

use crate::{ca::Authority, sample};

use super::{
    trust::no_revocations,
    world::{World, put_block, put_certificate, put_group, put_individual, put_list, put_registration},
};

/// Whatever one handle acknowledged, the other one reads next; in turns, for what is kept in memory and what is not.
pub(super) async fn see_each_other(world: World) {
    let [one, two] = world.open_twice().await;
    let root = Authority::root("Root");
    let (name, certificate) = (sample::ca_reference("root"), root.certificate());
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let id = format!("line-{round}");
        writer
            .apply([
                put_group(sample::group(&id)),
                put_individual(sample::individual(&id)),
                put_registration(sample::registration_of(&id, &id)),
                put_certificate(sample::ca_certificate("Root", &certificate)),
                put_list(sample::revocation_list("Root", &no_revocations(&root))),
                put_block(sample::block(&certificate)),
            ])
            .await;
        assert!(reader.group(&id).await.is_some() && reader.individual(&id).await.is_some());
        assert!(reader.registration(&id).await.is_some());
        assert_eq!(reader.configuration().await.groups().with_symmetric_keys().len(), 1);
        let trust = reader.trust().await;
        assert!(trust.certificate(&name).is_some());
        assert!(trust.block(certificate.thumbprint()).is_some());
        assert_eq!(trust.lists_under(&name).count(), 1);
        assert_eq!(*trust, *writer.trust().await);
        assert_eq!(reader.log().await, writer.log().await);

        // The reader takes it away again, in a commit that tells what it found.
        let group = Change::DeleteGroup(sample::group_id(&id));
        assert_eq!(reader.commit(vec![(Expect::Present, group)]).await, [Outcome::Applied]);
        let list = Change::DeleteRevocationList(name.clone(), ListId::first());
        reader.apply([Change::DeleteCertificate(name.clone()), list]).await;
        reader.apply([Change::DeleteBlock(certificate.thumbprint().clone())]).await;
        assert!(writer.group(&id).await.is_none());
        let trust = writer.trust().await;
        let left = (trust.certificates().len(), trust.lists().count(), trust.blocks().len());
        assert_eq!(left, (0, 0, 0));
    }
}

pub(super) async fn instances(world: World) {
    let [one, two] = world.open_twice().await;
    let new = sample::instance("new");
    one.store.put_instance(new.clone(), sample::by()).await.unwrap();
    let host = &new.service_hosts[0];
    let snapshot = two.store.snapshot().await.unwrap();
    assert_eq!(snapshot.instance_by_host(host).unwrap().map(Arc::as_ref), Some(&new));
    assert_eq!(snapshot.instances().len(), 2);
    let beside = two.beside("new");
    beside.apply([put_group(sample::group("line"))]).await;
    assert!(one.beside("new").group("line").await.is_some());

    // An instance keeps its records when another handle replaces it, and a host name is taken everywhere.
    let renamed = Instance { name: "renamed".to_owned(), ..new.clone() };
    two.store.put_instance(renamed.clone(), sample::by()).await.unwrap();
    let read = one.store.instance(&new.id_scope).await.unwrap();
    assert_eq!(read.as_deref(), Some(&renamed));
    assert!(one.beside("new").group("line").await.is_some());
    let taken = Instance { service_hosts: new.service_hosts.clone(), ..sample::instance("third") };
    assert!(one.store.put_instance(taken.clone(), sample::by()).await.is_err());
    assert!(two.store.put_instance(taken, sample::by()).await.is_err());
}

/// Both handles replace the instance that they read, again and again; each round one wins.
pub(super) async fn one_replaces(world: World) {
    let worlds = world.open_twice().await.map(Arc::new);
    for round in 0..20 {
        let current = worlds[0].store.instance(&worlds[0].scope).await.unwrap().unwrap();
        let race = worlds.iter().enumerate().map(|(number, world)| {
            let (world, current) = (Arc::clone(world), Arc::clone(&current));
            let next = Instance { name: format!("{round} by {number}"), ..Instance::clone(&current) };
            tokio::spawn(async move {
                let operation = Some((OperationKind::LinkedHubChange, Day::from_number(1)));
                let update = InstanceUpdate { operation, ..next.into() };
                world.store.replace_instance(&current, update, sample::by()).await.unwrap()
            })
        });
        let mut winners = Vec::new();
        for (number, outcome) in race.collect::<Vec<_>>().into_iter().enumerate() {
            winners.extend(outcome.await.unwrap().then_some(number));
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        for world in &worlds {
            let read = world.store.instance(&world.scope).await.unwrap().unwrap();
            assert_eq!(read.name, format!("{round} by {}", winners[0]));
        }
    }
    assert_eq!(worlds[0].usage().await.len(), 1);
    assert_eq!(worlds[0].usage().await[0].count, 20);
}

/// The entries that say what changed are gone before the other handle looks.
pub(super) async fn behind_the_log(world: World) {
    let [one, two] = world.open_twice().await;
    assert!(two.group("line-1").await.is_none());
    one.apply((0..30).map(|number| put_group(sample::group(&format!("line-{number}"))))).await;
    one.apply([put_individual(sample::individual("dev"))]).await;
    let keep = LogRetention { since: Timestamp::from_unix_seconds(9_000_000_000), rows: 1 };
    one.store.trim_log(keep).await.unwrap();
    assert_eq!(one.log().await.len(), 1);
    assert_eq!(two.groups().await.items.len(), 30);
    two.apply([Change::DeleteGroup(sample::group_id("line-7"))]).await;
    assert!(one.group("line-7").await.is_none());
}
