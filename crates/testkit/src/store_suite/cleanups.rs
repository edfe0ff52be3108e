//! Cleanups at hubs: by hub and device, in listings, and those that are due.

use std::time::Duration;

use model::{Cleanup, FailedTry, Generation, Residue, Timestamp, Tries};
use provisioning::ports::{Change, Expect, Outcome, Page, PageRequest};

use super::world::{Versioned, World, everything, put_registration};
use crate::sample;

pub(super) async fn records(world: World) {
    let (one, two) = (sample::cleanup("a.hub", "Dev"), sample::cleanup("a.hub", "dev"));
    world.apply([put(one.clone()), put(two.clone())]).await;
    assert_eq!(find(&world, &one).await.as_ref(), Some(&one), "device IDs keep their case");
    assert_eq!(find(&world, &two).await.as_ref(), Some(&two));
    assert_eq!(find(&world, &sample::cleanup("b.hub", "dev")).await, None);

    let stale = Expect::Version(sample::etag("other"));
    let residue = Residue { generation: Generation::parse("7").ok(), ..one.residue.clone() };
    let tries = one.tries.and_failed(failed(8));
    let later = Cleanup { residue, tries, confirmed: true, ..one.clone() };
    assert_eq!(world.commit(vec![(stale, put(later.clone()))]).await, [Outcome::OtherVersion]);
    let current = Expect::Version(one.record.etag.clone());
    assert_eq!(world.commit(vec![(current.clone(), put(later.clone()))]).await, [Outcome::Applied]);
    assert_eq!(find(&world, &one).await, Some(later));
    let delete = Change::DeleteCleanup(one.residue.hub_device.clone());
    assert_eq!(world.commit(vec![(current.clone(), delete.clone())]).await, [Outcome::Applied]);
    assert_eq!(world.commit(vec![(current, delete)]).await, [Outcome::Missing]);
    let world = world.reopen().await;
    assert_eq!((find(&world, &one).await, find(&world, &two).await), (None, Some(two)));
}

pub(super) async fn listing(world: World) {
    let all = ["b.hub/d1", "a.hub/d2", "a.hub/d1", "c.hub/d1"];
    let cleanup = |key: &str| key.split_once('/').map(|(hub, device)| sample::cleanup(hub, device)).unwrap();
    world.apply(all.map(|key| put(cleanup(key)))).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let request = PageRequest { after, limit: 3 };
        let Page { items, next, .. } = world.store.cleanups(&world.scope, request).await.unwrap();
        found.extend(items.iter().map(|cleanup| cleanup.residue.hub_device.key().into_owned()));
        let Some(next) = next else { break };
        after = Some(next);
    }
    assert_eq!(found, ["a.hub/d1", "a.hub/d2", "b.hub/d1", "c.hub/d1"]);
}

pub(super) async fn due(world: World) {
    let at = |seconds| Timestamp::from_unix_seconds(seconds);
    let next = |hub: &str, device: &str, seconds: Option<i64>| {
        let mut cleanup = sample::cleanup(hub, device);
        cleanup.record.created = at(5);
        let tried = |seconds| Tries::default().and_failed(failed(seconds));
        cleanup.tries = seconds.map(tried).unwrap_or_default();
        cleanup
    };
    world
        .apply([
            put(next("a.hub", "d1", Some(30))),
            put(next("a.hub", "d2", Some(10))),
            put(next("a.hub", "d3", None)),
            put(next("b.hub", "d1", Some(1))),
        ])
        .await;
    let due = async |seconds, at_most| {
        let hub = sample::hub_name("a.hub");
        let found = world.store.cleanups_due(&world.scope, &hub, at(seconds), at_most).await.unwrap().items;
        found.iter().map(|cleanup| cleanup.residue.hub_device.device_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(due(4, 9).await, [""; 0], "no cleanup is due before its creation");
    assert_eq!(due(9, 9).await, ["d3"]);
    assert_eq!(due(10, 9).await, ["d3", "d2"]);
    assert_eq!(due(30, 2).await, ["d3", "d2"]);
    assert_eq!(due(30, 9).await, ["d3", "d2", "d1"]);
    let postponed = next("a.hub", "d3", Some(60));
    world.apply([put(postponed)]).await;
    assert_eq!(due(30, 9).await, ["d2", "d1"]);
    assert_eq!(at(5).plus(Duration::from_secs(1)), at(6));
}

/// Changes that follow another are applied with it or not at all.
pub(super) async fn following(world: World) {
    let registration = || sample::registration("dev");
    let cleanup = || sample::cleanup("a.hub", "dev");
    let change = async |expect, etag: &str| {
        world
            .commit(vec![
                (expect, put_registration(registration().with_etag(etag))),
                (Expect::Following, put(cleanup())),
                (
                    Expect::Following,
                    Change::DeleteCleanup(sample::cleanup("b.hub", "dev").residue.hub_device),
                ),
            ])
            .await
    };
    use Outcome::{Applied, Exists, LeftOut, OtherVersion};
    assert_eq!(change(Expect::Absent, "1").await, [Applied, Applied, Applied]);
    world.apply([Change::DeleteCleanup(cleanup().residue.hub_device)]).await;
    assert_eq!(change(Expect::Absent, "2").await, [Exists, LeftOut, LeftOut]);
    let stale = Expect::Version(sample::etag("other"));
    assert_eq!(change(stale, "2").await, [OtherVersion, LeftOut, LeftOut]);
    assert_eq!(find(&world, &cleanup()).await, None);
    let current = Expect::Version(sample::etag("1"));
    assert_eq!(change(current, "2").await, [Applied, Applied, Applied]);
    assert_eq!(find(&world, &cleanup()).await, Some(cleanup()));
}

/// No cleanup of one instance is found or deleted through another.
pub(super) async fn isolation(world: World) {
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let (one, two) = (world.beside("one"), world.beside("two"));
    let cleanup = sample::cleanup("a.hub", "dev");
    one.apply([put(cleanup.clone())]).await;
    assert_eq!(find(&two, &cleanup).await, None);
    assert_eq!(two.store.cleanups(&two.scope, everything()).await.unwrap().items, []);
    let owed = async |world: &World| world.store.cleanups_owed(&world.scope).await.unwrap();
    assert_eq!((owed(&one).await, owed(&two).await), (1, 0));
    let (hub, late) = (sample::hub_name("a.hub"), Timestamp::from_unix_seconds(10_000_000_000));
    assert_eq!(two.store.cleanups_due(&two.scope, &hub, late, 9).await.unwrap(), Page::default());
    two.apply([Change::DeleteCleanup(cleanup.residue.hub_device.clone())]).await;
    assert_eq!(find(&one, &cleanup).await, Some(cleanup));
}

fn failed(next: i64) -> FailedTry {
    FailedTry { reason: "down".to_owned(), next: Timestamp::from_unix_seconds(next), pause: None }
}

async fn find(world: &World, cleanup: &Cleanup) -> Option<Cleanup> {
    world.store.cleanup(&world.scope, &cleanup.residue.hub_device).await.unwrap()
}

fn put(cleanup: Cleanup) -> Change {
    Change::PutCleanup(Box::new(cleanup))
}
