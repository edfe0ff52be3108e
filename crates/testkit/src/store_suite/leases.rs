//! Leases: one holder at a time, and nothing written by the one before.

use std::time::Duration;

use futures_util::future::join_all;
use model::{Job, LeaseToken, OperationKind};
use provisioning::ports::{Commit, Expect, Lease, LeaseName, Outcome, RunnerId, StoreError};
use tokio::time::sleep;

use super::world::{TODAY, World, put_individual, put_registration};
use crate::sample;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

const CLEANUPS: LeaseName = LeaseName::Job(Job::Cleanups);

/// Returns a runner; different numbers name different ones.
fn runner(number: u8) -> RunnerId {
    RunnerId::parse(&format!("{number:032x}")).unwrap()
}

impl World {
    async fn claim(&self, name: &LeaseName, number: u8, time: Duration) -> Option<Lease> {
        self.store.claim(name, &runner(number), time).await.unwrap()
    }

    /// Creates an individual enrollment under a lease, which counts as an operation.
    async fn create(&self, id: &str, fence: LeaseToken) -> Result<Vec<Outcome>, StoreError> {
        let commit = Commit {
            fence: Some(fence),
            changes: vec![(Expect::Absent, put_individual(sample::individual(id)))],
            operation: Some((OperationKind::Registration, TODAY)),
            ..Commit::by(sample::by())
        };
        self.store.commit(&self.scope, commit).await
    }
}

pub(super) async fn one_holder(world: World) {
    let lease = world.claim(&CLEANUPS, 1, LONG).await.unwrap();
    assert_eq!((&lease.name, &lease.holder, lease.left), (&CLEANUPS, &runner(1), LONG));
    assert_eq!(world.claim(&CLEANUPS, 2, LONG).await, None, "another runner has it");
    let again = world.claim(&CLEANUPS, 1, LONG * 2).await.unwrap();
    assert_eq!((again.token, again.left), (lease.token, LONG * 2), "its holder renews it");

    let own = LeaseName::Runner(runner(2));
    let other = world.claim(&own, 2, LONG).await.unwrap();
    assert!(other.token > lease.token, "tokens rise from one lease to the next");
    let listed = world.store.leases().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|it| (&it.name, &it.holder, it.token, it.left > LONG)).collect();
    let first = (&CLEANUPS, &runner(1), lease.token, true);
    assert_eq!(listed, [first, (&own, &runner(2), other.token, false)]);
}

pub(super) async fn renewed(world: World) {
    let lease = world.claim(&CLEANUPS, 1, SHORT).await.unwrap();
    world.claim(&CLEANUPS, 1, LONG).await.unwrap();
    sleep(SHORT * 2).await;
    assert_eq!(world.claim(&CLEANUPS, 2, LONG).await, None, "it lasts longer");

    world.claim(&CLEANUPS, 1, Duration::ZERO).await.unwrap();
    let [ended] = world.store.leases().await.unwrap().try_into().unwrap();
    assert_eq!((ended.token, ended.left), (lease.token, Duration::ZERO));
    let again = world.claim(&CLEANUPS, 1, LONG).await.unwrap();
    assert_eq!(again.token, lease.token, "no other runner has claimed it");
    assert_eq!(world.claim(&CLEANUPS, 2, LONG).await, None);
}

pub(super) async fn released(world: World) {
    let lease = world.claim(&CLEANUPS, 1, LONG).await.unwrap();
    world.store.release(lease.token).await.unwrap();
    assert_eq!(world.store.leases().await.unwrap(), []);

    let next = world.claim(&CLEANUPS, 2, LONG).await.unwrap();
    assert!(next.token > lease.token);
    world.store.release(lease.token).await.unwrap();
    let again = world.claim(&CLEANUPS, 2, LONG).await.unwrap();
    assert_eq!(again.token, next.token, "only its own token releases a lease");

    world.store.release(next.token).await.unwrap();
    let world = world.reopen().await;
    let later = world.claim(&CLEANUPS, 1, LONG).await.unwrap();
    assert!(later.token > next.token, "a token is never given twice");
}

pub(super) async fn taken_over(world: World) {
    let lease = world.claim(&CLEANUPS, 1, SHORT).await.unwrap();
    sleep(SHORT * 2).await;
    let next = world.claim(&CLEANUPS, 2, LONG).await.unwrap();
    assert!(next.token > lease.token);
    assert_eq!(world.claim(&CLEANUPS, 1, LONG).await, None);
}

pub(super) async fn fenced(world: World) {
    let lease = world.claim(&CLEANUPS, 1, LONG).await.unwrap();
    assert_eq!(world.create("dev-1", lease.token).await.unwrap(), [Outcome::Applied]);
    world.claim(&CLEANUPS, 1, Duration::ZERO).await.unwrap();
    let unclaimed = world.create("dev-2", lease.token).await.unwrap();
    assert_eq!(unclaimed, [Outcome::Applied], "its lease has ended, but it is the last holder");

    let next = world.claim(&CLEANUPS, 2, LONG).await.unwrap();
    let (log, usage) = (world.log().await, world.usage().await);
    for token in [lease.token, LeaseToken::new(next.token.number() + 1)] {
        let refused = world.create("dev-3", token).await;
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    }
    let count = Commit {
        fence: Some(lease.token),
        operation: Some((OperationKind::Registration, TODAY)),
        ..Commit::by(sample::by())
    };
    let refused = world.store.commit(&world.scope, count).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    assert_eq!(world.individual("dev-3").await, None);
    assert_eq!((world.log().await, world.usage().await), (log, usage));
    assert_eq!(world.create("dev-3", next.token).await.unwrap(), [Outcome::Applied]);
}

/// A commit that is fenced must not take its neighbors of one transaction with it.
pub(super) async fn fenced_beside_others(world: World) {
    let lease = world.claim(&CLEANUPS, 1, LONG).await.unwrap();
    let gone = LeaseToken::new(lease.token.number() + 7);
    let ids: Vec<_> = (0..40).map(|number| (number, format!("dev-{number}"))).collect();
    let creations = ids.iter().map(|(number, id)| {
        let token = if number % 2 == 0 { lease.token } else { gone };
        world.create(id, token)
    });
    for (number, outcome) in join_all(creations).await.into_iter().enumerate() {
        assert_eq!(outcome.is_ok(), number % 2 == 0, "{number}: {outcome:?}");
    }
    for (number, id) in &ids {
        assert_eq!(world.individual(id).await.is_some(), number % 2 == 0, "{id}");
    }
}

pub(super) async fn two_handles(world: World) {
    let worlds = world.open_twice().await;
    for round in 0..10 {
        let claims = (0..8).map(|number| {
            let world = &worlds[usize::from(number) % 2];
            world.claim(&CLEANUPS, number, LONG)
        });
        let leases = join_all(claims).await;
        let [lease] = leases.into_iter().flatten().collect::<Vec<_>>().try_into().unwrap();
        for world in &worlds {
            let held: Vec<_> = world.store.leases().await.unwrap().iter().map(|it| it.token).collect();
            assert_eq!(held, [lease.token], "round {round}");
        }
        worlds[round % 2].store.release(lease.token).await.unwrap();
    }
}

/// A handle that was paused writes nothing once the other one has taken over.
pub(super) async fn fenced_by_another_handle(world: World) {
    let [one, two] = world.open_twice().await;
    let lease = one.claim(&CLEANUPS, 1, SHORT).await.unwrap();
    one.apply([put_registration(sample::registration("dev-1"))]).await;
    sleep(SHORT * 2).await;
    let next = two.claim(&CLEANUPS, 2, LONG).await.unwrap();
    let refused = one.create("dev-1", lease.token).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    assert_eq!(two.individual("dev-1").await, None);
    assert_eq!(two.create("dev-1", next.token).await.unwrap(), [Outcome::Applied]);
}
