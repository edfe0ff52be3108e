//! Guards: what a commit depends on but does not change.

use std::sync::Arc;

use model::OperationKind;
use provisioning::ports::{Change, Commit, Expect, Guard, Guarded, Outcome};

use crate::{ca::Authority, sample};

use super::{
    trust::no_revocations,
    world::{
        TODAY, Versioned, World, put_certificate, put_group, put_individual, put_list, put_registration,
    },
};

const VERSION: &str = "before";

/// Returns a guard for each kind of record.
fn guards(version: &str) -> [Guard; 4] {
    records().map(|record| Guard::Record { record, version: Some(sample::etag(version)) })
}

fn records() -> [Guarded; 4] {
    [
        Guarded::Individual(sample::registration_id("DEV")),
        Guarded::Group(sample::group_id("LINE")),
        Guarded::Registration(sample::registration_id("DEV")),
        Guarded::Certificate(sample::ca_reference("CA")),
    ]
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
            put_certificate(
                sample::ca_certificate("ca", &Authority::root("Root").certificate()).with_etag(VERSION),
            ),
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
    assert_eq!(commit(&world, all.clone(), Vec::new()).await, [Applied; 4]);
    assert_eq!(commit(&world, all, new()).await, [Applied; 5]);
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

/// A guard may demand that a record does not exist.
pub(super) async fn absent(world: World) {
    use Outcome::{Applied, Exists, LeftOut};
    let absent = |record| Guard::Record { record, version: None };
    let new = |id: &str| vec![(Expect::Absent, put_individual(sample::individual(id)))];
    assert_eq!(commit(&world, records().map(absent).to_vec(), new("dev")).await, [Applied; 5]);
    let [individual, ..] = records().map(absent);
    assert_eq!(commit(&world, vec![individual], new("other")).await, [Exists, LeftOut]);
    assert_eq!(world.individual("other").await, None);
}

/// A snapshot is as new as a commit demands, or the commit is not made.
pub(super) async fn snapshots(world: World) {
    use Outcome::{Applied, LeftOut, OtherVersion};
    let root = Authority::root("Root");
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let two = world.beside("two");
    let list = |ca: &str| [put_list(sample::revocation_list(ca, &no_revocations(&root)))];
    let since = world.store.snapshot().await.unwrap().version();
    let lists = || vec![Guard::RevocationLists { since }];
    let new = |id: &str| vec![(Expect::Anything, put_individual(sample::individual(id)))];

    // Other kinds, and lists of other instances, do not count.
    world.apply([put_group(sample::group("line")), put_individual(sample::individual("dev"))]).await;
    two.apply(list("ca")).await;
    assert_eq!(commit(&world, lists(), new("a")).await, [Applied, Applied]);
    assert_eq!(commit(&two, lists(), new("a")).await, [OtherVersion, LeftOut]);
    world.apply(list("ca")).await;
    assert_eq!(commit(&world, lists(), new("b")).await, [OtherVersion, LeftOut]);
    assert_eq!(world.individual("b").await, None);

    // Every instance counts for a guard on instances.
    let guard = Guard::Instances { since };
    assert_eq!(commit(&world, vec![guard.clone()], new("c")).await, [Applied, Applied]);
    two.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    assert_eq!(commit(&world, vec![guard], new("d")).await, [OtherVersion, LeftOut]);
    let newer = world.store.snapshot().await.unwrap().version() + 1;
    let foreign = vec![Guard::Instances { since: newer }];
    assert_eq!(commit(&world, foreign, new("d")).await, [OtherVersion, LeftOut], "it is of another store");
}

/// Deletions of enrollments race commits with guards on them. Whichever comes first, no registration outlives its enrollment.
pub(super) async fn race(world: World) {
    let world = Arc::new(world);
    for round in 0..50 {
        let id = format!("dev-{round}");
        world.apply([put_individual(sample::individual(&id).with_etag(VERSION))]).await;
        let record = Guarded::Individual(sample::registration_id(&id));
        let guard = Guard::Record { record, version: Some(sample::etag(VERSION)) };
        let guarded = {
            let (world, id) = (Arc::clone(&world), id.clone());
            tokio::spawn(async move {
                let new = vec![(Expect::Absent, put_registration(sample::registration(&id)))];
                commit(&world, vec![guard], new).await
            })
        };
        while !delete_with_registration(&world, &id).await {}
        guarded.await.unwrap();
        assert_eq!(world.registration(&id).await, None, "either not written, or deleted with the enrollment");
    }
}

/// Deletes an enrollment and its registration as it is read; returns false when it is another one meanwhile.
async fn delete_with_registration(world: &World, id: &str) -> bool {
    let version = world.registration(id).await.map(|registration| registration.record.etag);
    let id = sample::registration_id(id);
    let guard = Guard::Record { record: Guarded::Registration(id.clone()), version };
    let changes = vec![
        (Expect::Present, Change::DeleteIndividual(id.clone())),
        (Expect::Following, Change::DeleteRegistration(id)),
    ];
    commit(world, vec![guard], changes).await.iter().all(|outcome| *outcome == Outcome::Applied)
}
