//! Commits: outcomes, order, metering and atomicity.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use model::{OperationKind, UsageRow};
use provisioning::ports::{Change, Expect, Outcome};

use super::world::{TODAY, Versioned, World, everything, put_group, put_individual, put_registration};
use crate::sample;

pub(super) async fn outcomes(world: World) {
    world.apply([put_individual(sample::individual("there"))]).await;
    let outcomes = world
        .commit(vec![
            (Expect::Absent, put_individual(sample::individual("there").with_etag("lost"))),
            (Expect::Absent, put_individual(sample::individual("new"))),
            (Expect::Present, put_group(sample::group("none"))),
            (
                Expect::Version(sample::etag("wrong")),
                Change::DeleteIndividual(sample::registration_id("there")),
            ),
            (Expect::Absent, put_registration(sample::registration("new"))),
        ])
        .await;
    use Outcome::{Applied, Exists, Missing, OtherVersion};
    assert_eq!(outcomes, [Exists, Applied, Missing, OtherVersion, Applied]);
    assert_eq!(world.individual("there").await, Some(sample::individual("there")));
    assert_eq!(world.individual("new").await, Some(sample::individual("new")));
    assert_eq!(world.group("none").await, None);
    assert_eq!(world.registration("new").await, Some(sample::registration("new")));
    assert_eq!(world.commit(Vec::new()).await, []);
}

pub(super) async fn sequence(world: World) {
    let id = sample::registration_id("dev");
    let outcomes = world
        .commit(vec![
            (Expect::Absent, put_individual(sample::individual("dev").with_etag("1"))),
            (Expect::Absent, put_individual(sample::individual("DEV").with_etag("2"))),
            (Expect::Version(sample::etag("1")), put_individual(sample::individual("dev").with_etag("3"))),
            (Expect::Present, Change::DeleteIndividual(id.clone())),
            (Expect::Present, Change::DeleteIndividual(id)),
            (Expect::Absent, put_group(sample::group("line").with_etag("1"))),
            (Expect::Version(sample::etag("1")), put_group(sample::group("line").with_etag("2"))),
        ])
        .await;
    use Outcome::{Applied, Exists, Missing};
    assert_eq!(outcomes, [Applied, Exists, Applied, Applied, Missing, Applied, Applied]);
    assert_eq!(world.individual("dev").await, None);
    assert_eq!(world.group("line").await, Some(sample::group("line").with_etag("2")));
}

pub(super) async fn counting(world: World) {
    let new = || (Expect::Absent, put_individual(sample::individual("dev")));
    let missing = || (Expect::Present, put_group(sample::group("none")));
    let gone = || (Expect::Present, Change::DeleteIndividual(sample::registration_id("dev")));
    let steps = [
        (vec![], 1),
        (vec![new()], 2),
        (vec![new()], 2),
        (vec![missing()], 2),
        (vec![missing(), gone(), missing()], 3),
        (vec![missing(), gone()], 3),
    ];
    for (index, (changes, count)) in steps.into_iter().enumerate() {
        world.try_commit(changes, Some(OperationKind::EnrollmentBulk)).await.unwrap();
        let row = UsageRow { day: TODAY, kind: OperationKind::EnrollmentBulk, count };
        assert_eq!(world.usage().await, [row], "step {index}");
    }
}

/// A writer replaces ten enrollments per commit; every listing shows ten enrollments of one version.
pub(super) async fn all_or_nothing(world: World) {
    let world = Arc::new(world);
    let version = |number: u32| {
        (0..10).map(move |index| {
            put_individual(sample::individual(&format!("dev-{index}")).with_etag(&number.to_string()))
        })
    };
    world.apply(version(0)).await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (world, done) = (Arc::clone(&world), Arc::clone(&done));
        async move {
            for number in 1..50 {
                world.apply(version(number)).await;
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    while !done.load(Ordering::SeqCst) && !writer.is_finished() {
        let page = world.store.individuals(&world.scope, everything()).await.unwrap();
        let first = page.items[0].etag();
        assert!(page.items.len() == 10 && page.items.iter().all(|record| record.etag() == first), "{page:?}");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    assert_eq!(world.individual("dev-9").await.unwrap().etag().as_str(), "49");
}
