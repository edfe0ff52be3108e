//! Durability: acknowledged writes are present after the store is opened again.

use model::{OperationKind, UsageRow};
use provisioning::ports::{Change, Expect, Outcome};

use super::world::{TODAY, Versioned, World, everything, ids, put_group, put_individual, put_registration};
use crate::sample;

pub(super) async fn reopened(world: World) {
    world.store.put_instance(sample::instance("Two"), sample::by()).await.unwrap();
    let new = |change| (Expect::Absent, change);
    let changes = vec![
        new(put_individual(sample::individual("Dev"))),
        new(put_individual(sample::individual("gone"))),
        new(put_group(sample::group("Line"))),
        new(put_group(sample::group("gone"))),
        new(put_registration(sample::registration_of("Dev", "Line"))),
        new(put_registration(sample::while_assigning(sample::registration_of("busy", "Line")))),
    ];
    world.try_commit(changes, Some(OperationKind::EnrollmentBulk)).await.unwrap();
    let gone = [
        Change::DeleteIndividual(sample::registration_id("gone")),
        Change::DeleteGroup(sample::group_id("gone")),
    ];
    world.apply(gone).await;

    let world = world.reopen().await;
    let instances: Vec<_> = world.instances().await.iter().map(|it| it.id_scope.to_string()).collect();
    assert_eq!(instances, ["one", "Two"]);
    assert_eq!(world.individual("dev").await, Some(sample::individual("Dev")));
    assert_eq!(world.individual("gone").await, None);
    assert_eq!(world.group("line").await, Some(sample::group("Line")));
    assert_eq!(world.group("gone").await, None);
    assert_eq!(world.registration("dev").await, Some(sample::registration_of("Dev", "Line")));
    assert_eq!(ids(&world.assigning(everything()).await.items), ["busy"]);
    assert_eq!(ids(&world.registrations_of("line", everything()).await.items), ["busy", "Dev"]);
    let row = UsageRow { day: TODAY, kind: OperationKind::EnrollmentBulk, count: 1 };
    assert_eq!(world.usage().await, [row]);

    let version = Expect::Version(sample::individual("dev").etag().clone());
    let outcomes =
        world.commit(vec![(version, put_individual(sample::individual("dev").with_etag("next")))]).await;
    assert_eq!(outcomes, [Outcome::Applied]);
}
