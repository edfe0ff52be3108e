//! Guards: the versions of records that a commit depends on but does not change.

use std::sync::Arc;

use model::OperationKind;
use provisioning::ports::{Change, Commit, Expect, Guard, Guarded, Outcome};

use super::world::{TODAY, Versioned, World, put_group, put_individual, put_registration};
use crate::sample;

const VERSION: &str = "before";

/// Returns a guard for each kind of record.
fn guards(version: &str) -> [Guard; 3] {
    let records = [
        Guarded::Individual(sample::registration_id("DEV")),
        Guarded::Group(sample::group_id("LINE")),
        Guarded::Registration(sample::registration_id("DEV")),
    ];
    records.map(|record| Guard { record, version: sample::etag(version) })
}

async fn commit(world: &World, guards: Vec<Guard>, changes: Vec<(Expect, Change)>) -> Vec<Outcome> {
    let operation = Some((OperationKind::EnrollmentBulk, TODAY));
    world
        .store
        .commit(&world.scope, Commit { guards, changes, operation, ..Commit::by(sample::by()) })
        .await
        .unwrap()
}

pub(super) async fn failed(world: World) {
    use Outcome::{Applied, LeftOut, Missing, OtherVersion};
    let new = || vec![(Expect::Absent, put_individual(sample::individual("new")))];
    for guard in guards(VERSION) {
        assert_eq!(commit(&world, vec![guard.clone()], new()).await, [Missing, LeftOut], "{guard:?}");
    }
    world
        .apply([
            put_individual(sample::individual("dev").with_etag(VERSION)),
            put_group(sample::group("line").with_etag(VERSION)),
            put_registration(sample::registration("dev").with_etag(VERSION)),
        ])
        .await;
    for guard in guards("another") {
        let both = vec![guards(VERSION)[0].clone(), guard.clone()];
        assert_eq!(commit(&world, both, new()).await, [Applied, OtherVersion, LeftOut], "{guard:?}");
        assert_eq!(commit(&world, vec![guard], Vec::new()).await, [OtherVersion]);
    }
    assert_eq!(
        (world.individual("new").await, world.usage().await),
        (None, Vec::new()),
        "no operation is counted"
    );

    let all = guards(VERSION).to_vec();
    assert_eq!(commit(&world, all.clone(), Vec::new()).await, [Applied; 3]);
    assert_eq!(commit(&world, all, new()).await, [Applied; 4]);
    assert_eq!(world.usage().await.iter().map(|row| row.count).sum::<u64>(), 2);
    assert_eq!(world.individual("dev").await.unwrap().etag().as_str(), VERSION, "a guard changes nothing");
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let guard = guards(VERSION)[1].clone();
    let deletion = vec![(Expect::Anything, Change::DeleteGroup(sample::group_id("line")))];
    assert_eq!(commit(&world.beside("two"), vec![guard.clone()], new()).await, [Missing, LeftOut]);
    assert_eq!(commit(&world.beside("two"), vec![guard.clone()], deletion.clone()).await, [Missing, LeftOut]);
    assert!(world.group("line").await.is_some());
    assert_eq!(commit(&world, vec![guard], deletion).await, [Applied, Applied]);
    assert_eq!(world.group("line").await, None, "a commit may change the records of its guards");
}

/// Deletions of enrollments race commits with guards on them: after an acknowledged deletion no commit is applied.
pub(super) async fn race(world: World) {
    let world = Arc::new(world);
    for round in 0..50 {
        let id = format!("dev-{round}");
        world.apply([put_individual(sample::individual(&id).with_etag(VERSION))]).await;
        let guard = Guard {
            record: Guarded::Individual(sample::registration_id(&id)),
            version: sample::etag(VERSION),
        };
        let guarded = {
            let (world, id) = (Arc::clone(&world), id.clone());
            tokio::spawn(async move {
                let new = vec![(Expect::Absent, put_registration(sample::registration(&id)))];
                commit(&world, vec![guard], new).await
            })
        };
        let delete = Change::DeleteIndividual(sample::registration_id(&id));
        assert_eq!(world.commit(vec![(Expect::Present, delete)]).await, [Outcome::Applied]);
        guarded.await.unwrap();
        assert_eq!(world.registration(&id).await, None, "either not written, or deleted with the enrollment");
    }
}
