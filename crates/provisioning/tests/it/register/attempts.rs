//! Refused attempts are kept for operators, and devices do not wait for that.

use model::{Admission, Attempt, EnrollmentRef, RefusalReason};
use provisioning::{attest::Evidence, register::EarlyRefusal};
use testkit::{ca::Authority, sample};

use super::{
    token::Token,
    world::{OTHER_SCOPE, SCOPE, World, group, group_by, individual},
};
use crate::attest::case::{certificates, group_of};

async fn of(world: &World, id: &str) -> Vec<Attempt> {
    world.provisioning.flush_refusals().await.unwrap();
    let instance = world.provisioning.instance(&sample::scope(SCOPE)).await.unwrap().unwrap();
    world.provisioning.attempts(&instance, &sample::registration_id(id)).await.unwrap().items
}

fn token(id: &str, key: &model::SymmetricKey) -> Evidence {
    Token::new(&format!("{SCOPE}/registrations/{id}"), key).evidence()
}

fn reason(attempt: &Attempt) -> &str {
    match &attempt.explanation.outcome {
        Admission::Refused { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_is_kept_with_its_reasons() {
    let (world, root) = (World::new().await, Authority::root("Root"));
    world.enroll(individual("dev-1")).await;
    world.enroll_group(group_by("certificates", group_of("x", &root).attestation)).await;
    let foreign = Authority::root("Foreign");
    for evidence in [token("dev-1", &sample::key(99)), certificates(&[foreign.device("dev-1").der()])] {
        world.begin_with(SCOPE, "dev-1", evidence).await.unwrap_err();
    }
    let attempts = of(&world, "DEV-1").await;
    assert_eq!(attempts.iter().map(|attempt| attempt.known).collect::<Vec<_>>(), [true, true]);
    assert_eq!(reason(&attempts[0]), "the enrollment wants a SAS token and the device sent none");
    assert_eq!(reason(&attempts[1]), "the SAS token's signature fits neither key");
    let considered: Vec<_> =
        attempts[0].explanation.considered.iter().map(|one| one.enrollment.clone()).collect();
    assert_eq!(considered, [EnrollmentRef::Individual]);
    assert!(attempts[0].explanation.presented[0].contains("CN=dev-1, issued by CN=Foreign"), "{attempts:?}");
}

#[tokio::test]
async fn neither_an_admission_nor_a_poll_leaves_an_attempt() {
    let world = World::new().await;
    world.enroll_group(group("keys")).await;
    world.begin_with(SCOPE, "dev-1", token("dev-1", &sample::key(20).derive("dev-1"))).await.unwrap();
    assert_eq!(of(&world, "dev-1").await, []);
}

#[tokio::test]
async fn an_attempt_is_seen_before_it_is_written() {
    let world = World::new().await;
    let instance = world.instance(SCOPE).await;
    let id = sample::registration_id("DEV-1");
    for number in 0..7 {
        assert_eq!(world.provisioning.attempts(&instance, &id).await.unwrap().items.len(), number);
        world.begin_with(SCOPE, "dev-1", Evidence::default()).await.unwrap_err();
        if number == 2 {
            world.provisioning.flush_refusals().await.unwrap();
        }
    }
    let attempts = world.provisioning.attempts(&instance, &id).await.unwrap().items;
    assert!(attempts.is_sorted_by(|one, other| one.at >= other.at), "{attempts:?}");
}

/// The buffer is bounded, and half of it is for unknown registration IDs.
#[tokio::test]
async fn a_flood_is_bounded_and_counted() {
    let world = World::new().await;
    world.enroll(individual("dev-1")).await;
    for number in 0..300 {
        world.begin_with(SCOPE, &format!("stranger-{number}"), Evidence::default()).await.unwrap_err();
    }
    world.begin_with(SCOPE, "dev-1", token("dev-1", &sample::key(99))).await.unwrap_err();
    world.begin_with(OTHER_SCOPE, "dev-2", Evidence::default()).await.unwrap_err();
    assert_eq!(world.provisioning.flush_refusals().await.unwrap(), 250);
    assert_eq!(of(&world, "dev-1").await.len(), 1, "there was a place for a known name");
    let other = world.instance(OTHER_SCOPE).await;
    let elsewhere =
        world.provisioning.attempts(&other, &sample::registration_id("dev-2")).await.unwrap().items;
    assert_eq!(elsewhere.len(), 1, "another instance has places of its own");
    assert_eq!((of(&world, "stranger-49").await.len(), of(&world, "stranger-50").await.len()), (1, 0));
    assert_eq!(world.provisioning.flush_refusals().await.unwrap(), 0);
}

/// Early refusals are kept like later ones: those of unknown registration IDs share their part of the buffer, and text of clients is
/// escaped.
#[tokio::test]
async fn early_refusals_share_the_bounds() {
    let world = World::new().await;
    world.enroll(individual("dev-1")).await;
    let instance = world.instance(SCOPE).await;
    let note = async |id: &str| {
        let registration_id = sample::registration_id(id);
        let reason = "login: the client ID \u{1b}[2J".to_owned();
        let (code, certificates) = (RefusalReason::Login, Default::default());
        let early = EarlyRefusal { registration_id, address: None, certificates, code, reason };
        world.provisioning.buffer_early_refusal(&instance.id_scope, early).await.unwrap();
    };
    for number in 0..300 {
        note(&format!("stranger-{number}")).await;
    }
    note("dev-1").await;
    assert_eq!(world.provisioning.flush_refusals().await.unwrap(), 250);
    let [attempt] = of(&world, "dev-1").await.try_into().unwrap();
    assert!(attempt.known);
    assert!(reason(&attempt).starts_with("login: ") && !reason(&attempt).contains('\u{1b}'), "{attempt:?}");
    assert_eq!((of(&world, "stranger-49").await.len(), of(&world, "stranger-50").await.len()), (1, 0));
}

/// A client that was refused in its handshake has not named an ID scope.
#[tokio::test]
async fn the_server_name_selects_the_instance() {
    let world = World::new().await;
    let meant = async |name: Option<&str>| {
        let instance = world.provisioning.instance_meant(name).await.unwrap();
        instance.map(|instance| instance.id_scope.to_string())
    };
    for scope in [SCOPE, OTHER_SCOPE] {
        for name in [format!("{scope}.example"), format!("{scope}.devices.plant.test"), scope.to_owned()] {
            assert_eq!(meant(Some(&name)).await.as_deref(), Some(scope), "{name}");
        }
    }
    for unknown in [Some("dps.plant.test"), Some("0neFFFFFFFF.plant.test"), Some(""), None] {
        assert_eq!(meant(unknown).await, None, "{unknown:?}: there are two instances");
    }
}

/// Attempts that are buffered at a deletion are dropped, and do not hold up those of other instances.
#[tokio::test]
async fn the_refusals_of_a_deleted_instance_are_dropped() {
    let world = World::new().await;
    for scope in [SCOPE, OTHER_SCOPE] {
        world.begin_with(scope, "dev-1", Evidence::default()).await.unwrap_err();
    }
    let requested = sample::by().at;
    let deletion = Some(model::Deletion { requested, finished: None, is_verified: false });
    let deleted = model::Instance { deletion, ..sample::instance(SCOPE) };
    world.store.put_instance(deleted, sample::by()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.provisioning.flush_refusals().await.unwrap(), 0);
    }
    let other = world.instance(OTHER_SCOPE).await;
    let id = sample::registration_id("dev-1");
    assert_eq!(world.provisioning.attempts(&other, &id).await.unwrap().items.len(), 1);
}
