//! Deletions: the records that are deleted with another one, and those that remain.

use provisioning::ports::{Change, Expect, Outcome};

use super::world::{World, everything, ids, put_group, put_individual, put_registration};
use crate::sample;

pub(super) async fn of_individual(world: World) {
    let delete = |id: &str| Change::DeleteIndividual(sample::registration_id(id));
    world
        .apply([
            put_individual(sample::individual("own")),
            put_registration(sample::registration("OWN")),
            put_individual(sample::individual("grouped")),
            put_registration(sample::registration_of("grouped", "line")),
            put_individual(sample::individual("kept")),
            put_registration(sample::registration("kept")),
            put_individual(sample::individual("assigning")),
            put_registration(sample::while_assigning(sample::registration("assigning"))),
        ])
        .await;
    let wrong = world.commit(vec![(Expect::Version(sample::etag("wrong")), delete("own"))]).await;
    assert_eq!(wrong, [Outcome::OtherVersion]);
    assert!(world.registration("own").await.is_some());

    world.apply([delete("Own"), delete("grouped"), delete("assigning")]).await;
    assert_eq!(world.individual("assigning").await, None);
    assert!(world.registration("assigning").await.is_some(), "an unfinished registration is kept");
    assert_eq!(world.individual("own").await, None);
    assert_eq!(world.registration("own").await, None);
    assert_eq!(world.individual("grouped").await, None);
    assert_eq!(world.registration("grouped").await, Some(sample::registration_of("grouped", "line")));
    assert_eq!(world.registration("kept").await, Some(sample::registration("kept")));

    world.apply([put_individual(sample::individual("own"))]).await;
    assert_eq!(world.registration("own").await, None);
}

pub(super) async fn of_group(world: World) {
    world
        .apply([put_group(sample::group("line")), put_registration(sample::registration_of("dev", "line"))])
        .await;
    world.apply([Change::DeleteGroup(sample::group_id("LINE"))]).await;
    assert_eq!(world.group("line").await, None);
    assert_eq!(world.registration("dev").await, Some(sample::registration_of("dev", "line")));
    assert_eq!(ids(&world.registrations_of("line", everything()).await.items), ["dev"]);
}

pub(super) async fn of_registration(world: World) {
    let assigning = sample::while_assigning(sample::registration_of("dev", "line"));
    world
        .apply([
            put_group(sample::group("line")),
            put_individual(sample::individual("dev")),
            put_registration(assigning),
        ])
        .await;
    world.apply([Change::DeleteRegistration(sample::registration_id("DEV"))]).await;
    assert_eq!(world.registration("dev").await, None);
    assert_eq!(world.individual("dev").await, Some(sample::individual("dev")));
    assert_eq!(world.group("line").await, Some(sample::group("line")));
    assert_eq!(world.registrations_of("line", everything()).await.items, []);
    assert_eq!(world.assigning(everything()).await.items, []);
}
