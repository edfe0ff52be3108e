//! Concurrent callers.

use std::{sync::Arc, time::Duration};

use provisioning::ports::{Change, Expect, Outcome};
use tokio::task::JoinSet;

use super::world::{Versioned, World, put_group, put_individual, put_registration};
use crate::sample;

/// In each round all callers replace the same version, and the stored record is that of the only winner.
pub(super) async fn one_replaces(world: World) {
    let world = Arc::new(world);
    for kind in KINDS {
        world.apply([put(*kind, "0-start")]).await;
        let mut current = "0-start".to_owned();
        for round in 1..=ROUNDS {
            let attempts = (0..CALLERS).map(|caller| format!("{round}-{caller}"));
            let winners = race(&world, *kind, Expect::Version(sample::etag(&current)), attempts).await;
            assert_eq!(winners.len(), 1, "{kind:?}: {winners:?}");
            current = read(&world, *kind).await.unwrap();
            assert_eq!(winners, [current.clone()], "{kind:?}");
        }
    }
}

pub(super) async fn one_creates(world: World) {
    let world = Arc::new(world);
    for kind in KINDS {
        for round in 1..=ROUNDS {
            let attempts = (0..CALLERS).map(|caller| format!("{round}-{caller}"));
            let winners = race(&world, *kind, Expect::Absent, attempts).await;
            assert_eq!(winners.len(), 1, "{kind:?}: {winners:?}");
            assert_eq!(read(&world, *kind).await.as_ref(), winners.first(), "{kind:?}");
            world.apply([delete(*kind)]).await;
        }
    }
}

/// Writes without a precondition all succeed; an engine that caches groups must have the same ones in memory and on
/// disk.
pub(super) async fn group_order(world: World) {
    let world = Arc::new(world);
    world.apply((0..500).map(|number| put_group(sample::group(&format!("line-{number}"))))).await;
    for round in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let (world, etag) = (Arc::clone(&world), format!("{round}-{caller}"));
            let own = put_group(sample::group(&format!("line-{caller}")).with_etag(&etag));
            tasks.spawn(async move { world.apply([put(Kind::Group, &etag), own]).await });
        }
        tasks.join_all().await;
    }
    let before = world.groups().await;
    let world = Arc::into_inner(world).unwrap().reopen().await;
    assert!(world.groups().await == before);
    for caller in 0..CALLERS {
        let last = sample::etag(&format!("{}-{caller}", ROUNDS - 1));
        assert_eq!(world.group(&format!("line-{caller}")).await.unwrap().etag(), &last);
    }
}

/// Callers are canceled at any point: a commit is applied wholly or not at all, and memory and disk agree.
pub(super) async fn canceled(world: World) {
    let world = Arc::new(world);
    for round in 0..100u64 {
        let task = tokio::spawn({
            let world = Arc::clone(&world);
            let etag = round.to_string();
            let changes = [
                put_group(sample::group("line").with_etag(&etag)),
                put_individual(sample::individual("dev").with_etag(&etag)),
            ];
            async move { world.apply(changes).await }
        });
        tokio::time::sleep(Duration::from_micros(round * 20 % 700)).await;
        task.abort();
        let _ = task.await; // either aborted or done
    }
    let last = put_group(sample::group("last"));
    world.apply([last]).await;
    let etags = async |world: &World| {
        (
            world.group("line").await.map(|it| it.etag().clone()),
            world.individual("dev").await.map(|it| it.etag().clone()),
        )
    };
    let before = etags(&world).await;
    let world = Arc::into_inner(world).unwrap().reopen().await;
    let after = etags(&world).await;
    assert_eq!(after, before);
    assert_eq!(after.0, after.1);
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Individual,
    Group,
    Registration,
}

const KINDS: &[Kind] = &[Kind::Individual, Kind::Group, Kind::Registration];

/// Lets all attempts write their etags concurrently, and returns the etags of those that were applied.
async fn race(
    world: &Arc<World>,
    kind: Kind,
    expect: Expect,
    attempts: impl Iterator<Item = String>,
) -> Vec<String> {
    let mut tasks = JoinSet::new();
    for etag in attempts {
        let (world, expect) = (Arc::clone(world), expect.clone());
        tasks.spawn(async move {
            let outcomes = world.commit(vec![(expect, put(kind, &etag))]).await;
            (outcomes == [Outcome::Applied]).then_some(etag)
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn read(world: &World, kind: Kind) -> Option<String> {
    match kind {
        Kind::Individual => world.individual("record").await.map(|record| record.etag().to_string()),
        Kind::Group => world.group("record").await.map(|record| record.etag().to_string()),
        Kind::Registration => world.registration("record").await.map(|record| record.etag().to_string()),
    }
}

fn put(kind: Kind, etag: &str) -> Change {
    match kind {
        Kind::Individual => put_individual(sample::individual("record").with_etag(etag)),
        Kind::Group => put_group(sample::group("record").with_etag(etag)),
        Kind::Registration => put_registration(sample::registration("record").with_etag(etag)),
    }
}

fn delete(kind: Kind) -> Change {
    match kind {
        Kind::Individual => Change::DeleteIndividual(sample::registration_id("record")),
        Kind::Group => Change::DeleteGroup(sample::group_id("record")),
        Kind::Registration => Change::DeleteRegistration(sample::registration_id("record")),
    }
}

const CALLERS: usize = 16;
const ROUNDS: usize = 8;
