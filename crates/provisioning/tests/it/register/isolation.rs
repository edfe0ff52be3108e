//! Instances are isolated from each other: every verb, in both directions.

use model::EnrollmentGroup;
use provisioning::{Error, ports::Change};
use testkit::{ca::Authority, sample};

use super::{
    token::Token,
    world::{Device, OTHER_SCOPE, SCOPE, World, assigned, group, group_by, individual, keys, with_keys},
};
use crate::attest::case::{certificates, group_of};

fn enrolled(number: u8) -> Change {
    Change::PutIndividual(Box::new(with_keys("dev-1", number)))
}

/// Enrolls a device of the same registration ID in each instance, with its own keys.
async fn twins(world: &World) -> [Device; 2] {
    world.enroll_in(SCOPE, enrolled(10)).await;
    world.enroll_in(OTHER_SCOPE, enrolled(50)).await;
    let device =
        |scope: &str, number| Device { scope: scope.into(), id: "dev-1".into(), key: sample::key(number) };
    [device(SCOPE, 10), device(OTHER_SCOPE, 50)]
}

#[tokio::test]
async fn evidence_for_one_instance_is_refused_by_the_other() {
    let world = World::new().await;
    let both = twins(&world).await;
    let ids = [world.register(&both[0]).await.operation_id, world.register(&both[1]).await.operation_id];
    let before = (world.calls(), world.counted(SCOPE).await, world.counted(OTHER_SCOPE).await);
    for (here, there) in [(0, 1), (1, 0)] {
        let scope = both[there].scope.as_str();
        // The token names the other scope; signed again for this one, it has the other instance's key.
        let resigned = Token::new(&format!("{scope}/registrations/dev-1"), &both[here].key).evidence();
        for evidence in [both[here].evidence(), resigned] {
            let stored = world.stored(scope, "dev-1").await;
            let begun = world.begin_with(scope, "dev-1", evidence.clone()).await;
            assert!(matches!(begun, Err(Error::Unauthorized { .. })), "begin: {begun:?}");
            for operation_id in &ids {
                let polled = world.provisioning.poll(&stored, operation_id, &evidence).await;
                assert!(matches!(polled, Err(Error::Unauthorized { .. })), "poll: {polled:?}");
            }
            let found = world.provisioning.look_up(&stored, &evidence).await;
            assert!(matches!(found, Err(Error::Unauthorized { .. })), "look up: {found:?}");
        }
    }
    let after = (world.calls(), world.counted(SCOPE).await, world.counted(OTHER_SCOPE).await);
    assert_eq!(after, before);
}

#[tokio::test]
async fn one_registration_id_in_two_instances_is_two_devices() {
    let world = World::new().await;
    let [here, there] = twins(&world).await;
    world.link(&["hub-3.example"]).await;
    let run_here = world.run(&here).await;
    assert!(matches!(world.look_up(&there).await, Err(Error::NotFound(_))), "it has registered here only");
    let run_there = world.run(&there).await;

    let unfinished = world.unfinished(10).await;
    let scopes: Vec<_> = unfinished.iter().map(|run| run.scope.as_str()).collect();
    assert_eq!(scopes, [SCOPE, OTHER_SCOPE]);

    let ended_here = world.finish(&run_here).await;
    world.check_at_hub(&ended_here, &keys(10), 1);
    assert_eq!((world.counted(SCOPE).await, world.counted(OTHER_SCOPE).await), ((1, 0), (0, 0)));
    let ended_there = world.finish(&run_there).await;
    assert_ne!(assigned(&ended_there).hub, assigned(&ended_here).hub, "each by its own instance's hubs");
    assert_eq!((world.counted(SCOPE).await, world.counted(OTHER_SCOPE).await), ((1, 0), (1, 0)));

    world.delete_registration("dev-1").await;
    assert_eq!(world.look_up(&there).await.unwrap(), ended_there);
    assert_eq!(world.register(&there).await, ended_there);
}

#[tokio::test]
async fn groups_and_certificates_belong_to_one_instance() {
    let world = World::new().await;
    let root = Authority::root("Root");
    let of_certificates: EnrollmentGroup = group_by("certificates", group_of("x", &root).attestation);
    world.enroll_in(SCOPE, Change::PutGroup(Box::new(of_certificates))).await;
    world.enroll_in(SCOPE, Change::PutGroup(Box::new(group("keys")))).await;
    let chain = certificates(&[root.device("dev-1").der()]);
    let derived = sample::key(20).derive("dev-1");
    let token = |scope: &str| Token::new(&format!("{scope}/registrations/dev-1"), &derived).evidence();
    for evidence in [chain, token(OTHER_SCOPE)] {
        let begun = world.begin_with(OTHER_SCOPE, "dev-1", evidence).await;
        assert!(matches!(begun, Err(Error::Unauthorized { .. })), "{begun:?}");
    }
    assert!(world.begin_with(SCOPE, "dev-1", token(SCOPE)).await.is_ok());
}

#[tokio::test]
async fn a_disabled_enrollment_has_effect_only_in_its_instance() {
    let world = World::new().await;
    let [here, there] = twins(&world).await;
    let mut blocked = individual("dev-1");
    super::world::disable(&mut blocked.settings);
    world.enroll_in(SCOPE, Change::PutIndividual(Box::new(blocked))).await;
    let returned = world.register(&here).await;
    assert!(matches!(returned.status, model::Status::Disabled { .. }), "{returned:?}");
    assigned(&world.register(&there).await);
    let all = world.store.snapshot().await.unwrap().instances();
    assert_eq!(all.len(), 2);
}
