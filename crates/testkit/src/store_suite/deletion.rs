//! Deletions: no record is deleted with another one.

use provisioning::ports::Change;

use super::world::{World, everything, ids, put_group, put_individual, put_registration};
use crate::sample;

pub(super) async fn of_individual(world: World) {
    world
        .apply([put_individual(sample::individual("dev")), put_registration(sample::registration("dev"))])
        .await;
    world.apply([Change::DeleteIndividual(sample::registration_id("DEV"))]).await;
    assert_eq!(world.individual("dev").await, None);
    assert_eq!(world.registration("dev").await, Some(sample::registration("dev")));
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
