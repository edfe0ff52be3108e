//! First registrations.

use std::time::Duration;

use certpath::Sha256Thumbprint;
use model::{
    AttestedBy, DeviceId, EnrollmentRef, FailureReason, HubCredentials, IndividualEnrollment, Status,
    Substatus, TwinSpec,
};
use provisioning::register::RegisterOutcome;
use testkit::{ca::Authority, hub::Call, sample};

use super::world::{HUBS, SCOPE, World, assigned, disable, group, group_by, individual, keys};
use crate::attest::case::{certificates, group_of};

#[tokio::test]
async fn a_device_gets_a_hub_its_credentials_and_its_twin() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let run = world.run(&device).await;

    let on_disk = world.record("dev-1").await.unwrap();
    assert_eq!(on_disk, run.registration, "the intent is on disk before a hub is called");
    assert!(matches!(on_disk.status, Status::Assigning { from: None, .. }));
    assert_eq!(world.calls(), 0);
    assert_eq!(world.counted(SCOPE).await, (0, 0));

    world.clock.advance(Duration::from_secs(5));
    let registration = world.finish(&run).await;
    assert_eq!(world.record("dev-1").await.as_ref(), Some(&registration));
    let assignment = assigned(&registration);
    assert_eq!(
        (assignment.substatus, assignment.device_id.as_str()),
        (Substatus::InitialAssignment, "dev-1")
    );
    assert_eq!(registration.enrollment, EnrollmentRef::Individual);
    assert_eq!(registration.attestation.mechanism(), AttestedBy::SymmetricKey);
    assert_eq!(registration.operation_id, on_disk.operation_id);
    assert_eq!(registration.record.created, on_disk.record.created);
    assert_ne!(registration.record.etag, on_disk.record.etag);
    let taken = registration.record.last_updated.unix_seconds() - registration.record.created.unix_seconds();
    assert_eq!(taken, 5);
    world.check_at_hub(&registration, &keys(10), 1);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

#[tokio::test]
async fn the_enrollment_decides_hub_device_id_and_capabilities() {
    let world = World::new().await;
    for (number, hub) in HUBS[..2].iter().enumerate() {
        let id = format!("dev-{number}");
        let mut enrollment = IndividualEnrollment {
            device_id: Some(DeviceId::parse(format!("Wanted-{number}")).unwrap()),
            ..individual(&id)
        };
        enrollment.settings.hubs = vec![sample::hub_name(hub)];
        enrollment.settings.iot_edge = Some(true);
        let device = world.device(&id).await;
        world.enroll(enrollment).await;
        let registration = world.register(&device).await;
        let assignment = assigned(&registration);
        assert_eq!(
            (assignment.hub.as_str(), assignment.device_id.as_str()),
            (*hub, &*format!("Wanted-{number}"))
        );
        world.check_at_hub(&registration, &keys(10), 1);
        assert!(world.hub(hub).device(&assignment.device_id).unwrap().iot_edge);
    }
}

#[tokio::test]
async fn a_device_of_a_symmetric_key_group_gets_derived_keys() {
    let world = World::new().await;
    world.enroll_group(group("fleet")).await;
    let device = world.device("unused").await.called("dev-1").with_key(sample::key(21).derive("dev-1"));
    let registration = world.register(&device).await;
    assert_eq!(registration.enrollment, EnrollmentRef::Group(sample::group_id("fleet")));
    let derived = HubCredentials::SymmetricKeys(sample::keys(20).derive("dev-1"));
    world.check_at_hub(&registration, &derived, 1);
}

#[tokio::test]
async fn a_device_of_a_certificate_group_gets_its_thumbprint() {
    let world = World::new().await;
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    world.enroll_group(group_by("fleet", group_of("fleet", &root).attestation)).await;
    let leaf = factory.device("dev-1");
    let evidence = certificates(&factory.chain_of(&leaf));
    let begun = world.begin_with(SCOPE, "dev-1", evidence).await.unwrap();
    let RegisterOutcome::Running(run) = begun else { panic!("{begun:?}") };
    let registration = world.finish(&run).await;
    assert_eq!(registration.attestation.mechanism(), AttestedBy::X509);
    let thumbprint = HubCredentials::Certificate(Sha256Thumbprint::of(leaf.der()));
    world.check_at_hub(&registration, &thumbprint, 1);
}

#[tokio::test]
async fn without_a_hub_the_registration_fails_with_the_reason() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.link(&[]).await;
    let registration = world.register(&device).await;
    let Status::Failed { failure, current: None } = &registration.status else {
        panic!("{:?}", registration.status)
    };
    assert_eq!(failure.reason, FailureReason::NoHub);
    assert_eq!(world.record("dev-1").await.as_ref(), Some(&registration), "operators can see it");
    assert_eq!((world.calls(), world.counted(SCOPE).await), (0, (0, 0)));

    world.link(&[HUBS[2]]).await;
    let registration = world.register(&device).await;
    assert_eq!(assigned(&registration).hub.as_str(), HUBS[2]);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

#[tokio::test]
async fn a_disabled_enrollment_is_recorded_once_and_not_counted() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let mut enrollment = individual("dev-1");
    disable(&mut enrollment.settings);
    world.enroll(enrollment).await;
    let first = world.register(&device).await;
    assert_eq!(first.status, Status::Disabled { current: None });
    assert_eq!(world.record("dev-1").await.as_ref(), Some(&first));
    let again = world.register(&device).await;
    assert_eq!(again, first, "nothing is written again");
    assert_eq!((world.calls(), world.counted(SCOPE).await), (0, (0, 0)));
}

#[tokio::test]
async fn concurrent_requests_of_one_device_are_counted_once() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let begun = async || world.run(&device).await;
    let (one, two, three) = tokio::join!(begun(), begun(), begun());
    assert_eq!(one.registration.operation_id, two.registration.operation_id);
    assert_eq!(one.registration.operation_id, three.registration.operation_id);
    let ended = world.finish(&one).await;
    assert_eq!(world.record("dev-1").await, Some(ended.clone()));
    world.check_at_hub(&ended, &keys(10), 1);
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

/// Of two executions of a stored run, the later one changes nothing: the device may have used its twin since.
#[tokio::test]
async fn a_stored_run_that_has_ended_changes_nothing() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.run(&device).await;
    let (early, late) = (world.run(&device).await, world.run(&device).await);
    let ended = world.finish(&early).await;
    let calls = world.calls();
    assert_eq!(world.finish(&late).await, ended);
    assert_eq!((world.calls(), world.counted(SCOPE).await), (calls, (1, 0)));
}

#[tokio::test]
async fn the_hub_gets_the_whole_spec_once() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let hub = assigned(&world.register(&device).await).hub;
    let calls = world.hub(hub.as_str()).calls();
    let [Call::Ensure(spec)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(spec.twin, TwinSpec::Initialize(sample::twin()));
    assert_eq!((&spec.hub, spec.iot_edge), (&hub, false));
}
