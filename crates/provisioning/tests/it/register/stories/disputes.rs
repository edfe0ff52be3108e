//! Two registrations that want one device ID at one hub: the first owns it, the second fails, and the hub is not called.

use model::{DeviceId, FailureReason, Registration, Status};
use provisioning::{ports::Change, register::RegisterOutcome};
use testkit::sample;

use super::{Policy, wanting};
use crate::register::world::{Device, HUBS, OTHER_SCOPE, SCOPE, World};

const TAKEN: FailureReason = FailureReason::DeviceIdTaken;

/// Enrolls a device with the device ID `shared` at the first hub.
async fn wants_the_name(world: &World, scope: &str, id: &str, number: u8) -> Device {
    let mut enrollment = wanting(id, Policy::Migrate, &HUBS[..1]);
    enrollment.attestation = model::IndividualAttestation::SymmetricKey(sample::keys(number));
    enrollment.device_id = Some(DeviceId::parse("shared").unwrap());
    world.enroll_in(scope, Change::PutIndividual(Box::new(enrollment))).await;
    Device { scope: scope.into(), id: id.into(), key: sample::keys(number).primary }
}

fn failure(registration: &Registration) -> FailureReason {
    match &registration.status {
        Status::Failed { failure, .. } => failure.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_of_another_registration_is_not_taken_over() {
    for other_scope in [SCOPE, OTHER_SCOPE] {
        let world = World::new().await;
        let first = wants_the_name(&world, SCOPE, "first", 40).await;
        world.register(&first).await;
        world.used(HUBS[0], "shared");
        let (there, calls) = (world.at(HUBS[0], "shared"), world.calls());

        let second = wants_the_name(&world, other_scope, "second", 42).await;
        for _ in 0..2 {
            let refused = world.register(&second).await;
            assert_eq!((failure(&refused), refused.assignment()), (TAKEN, None));
            let sentences = provisioning::register::describe(&refused, None);
            let named = "The device ID shared at hub-1.example belongs to another registration";
            assert!(sentences[0].contains(named), "{sentences:?}");
            assert!(!sentences.concat().contains("first"), "the owner is not named: {sentences:?}");
            assert!(sentences[1].contains("chose") || sentences[1].contains("named"), "{sentences:?}");
        }
        assert_eq!((world.at(HUBS[0], "shared"), world.calls()), (there, calls), "no hub was called");
        assert_eq!(world.counted(other_scope).await.0, u64::from(other_scope == SCOPE));

        // The first is not affected; once its registration is deleted, the device ID is free.
        world.register(&first).await;
        world.delete_registration("first").await;
        let registration = world.register(&second).await;
        assert_eq!(registration.assignment().unwrap().device_id.as_str(), "shared");
    }
}

/// Both are let in at the same moment: the store gives the device ID to one.
#[tokio::test]
async fn of_two_that_race_for_a_device_id_exactly_one_gets_it() {
    let world = World::new().await;
    for round in 0..10 {
        let mut racing = Vec::new();
        for (scope, id) in [(SCOPE, "first"), (OTHER_SCOPE, "second"), (SCOPE, "third")] {
            racing.push(wants_the_name(&world, scope, &format!("{id}-{round}"), 40).await);
        }
        let [one, two, three] = &racing[..] else { panic!("three") };
        let begun = tokio::join!(world.begin(one), world.begin(two), world.begin(three));
        let begun = [begun.0, begun.1, begun.2];
        let runs = begun.iter().filter(|begun| matches!(begun, RegisterOutcome::Running(_))).count();
        assert_eq!(runs, 1, "{begun:?}");
        for (begun, device) in begun.iter().zip(&racing) {
            match begun {
                // The next round uses the device ID again.
                RegisterOutcome::Running(run) => {
                    assert!(matches!(world.finish(run).await.status, Status::Assigned(_)));
                    let id = sample::registration_id(&device.id);
                    world.enroll_in(&device.scope, Change::DeleteRegistration(id)).await;
                }
                RegisterOutcome::Settled(registration) => assert_eq!(failure(registration), TAKEN),
                RegisterOutcome::Challenged(_) => panic!("a challenge"),
            }
        }
    }
}

/// A webhook sends the second to the hub of the first: it fails, and the first is not affected.
#[tokio::test]
async fn a_webhook_cannot_take_over_the_device_of_another_registration() {
    let world = World::new().await;
    world.register(&wants_the_name(&world, SCOPE, "first", 40).await).await;
    let second = wants_the_name(&world, SCOPE, "second", 42).await;
    let mut enrollment = wanting("second", Policy::Migrate, &[]);
    enrollment.attestation = model::IndividualAttestation::SymmetricKey(sample::keys(42));
    enrollment.device_id = Some(DeviceId::parse("shared").unwrap());
    enrollment.settings.allocation_policy = Some(model::AllocationPolicy::Custom);
    enrollment.settings.custom_allocation = Some(model::CustomAllocation {
        webhook_url: "https://webhook.example/".to_owned(),
        api_version: "2021-10-01".to_owned(),
    });
    world.enroll(enrollment).await;
    world.webhook.answer_next(provisioning::ports::WebhookOutcome::Answer(model::WebhookAnswer {
        hub: Some(sample::hub_name(HUBS[0])),
        initial_twin: None,
        payload: None,
    }));
    let there = world.at(HUBS[0], "shared");
    assert_eq!(failure(&world.register(&second).await), TAKEN);
    assert_eq!(world.at(HUBS[0], "shared"), there);
    assert_eq!(world.clean_up().await, [], "nothing was begun at the hub");
}
