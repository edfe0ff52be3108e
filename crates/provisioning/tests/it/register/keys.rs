//! The key that a device used is recorded in its registration, without a write of its own.

use model::{
    EnrollmentRef, Fit, GroupAttestation, IfMatch, KeySelection, KeySlot, KeyStanding, LastAttestation,
    Registration, SymmetricKey, SymmetricKeyPair,
};
use provisioning::{Error, register::DeviceDescription};
use testkit::sample;

use super::world::{Device, SCOPE, World, group, group_by};

use KeySlot::{Primary, Secondary};

async fn standing(world: &World, registration: &Registration) -> Option<KeyStanding> {
    world.provisioning.key_standing(&*world.instance(SCOPE).await, registration).await.unwrap()
}

fn of_group(id: &str, keys: &SymmetricKeyPair, slot: KeySlot) -> Device {
    let key: SymmetricKey = keys.key(slot).derive(id);
    Device { scope: SCOPE.into(), id: id.into(), key }
}

#[tokio::test]
async fn a_change_of_key_is_recorded_by_the_commit_that_counts_the_return() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let other = device.with_key(sample::keys(10).secondary);
    let first = world.register(&device).await;
    assert_eq!(standing(&world, &first).await, Some(KeyStanding::Current(Primary)));
    for (count, (device, slot)) in
        (1..).zip([(&device, Primary), (&other, Secondary), (&other, Secondary), (&device, Primary)])
    {
        let returned = world.register(device).await;
        assert_eq!(standing(&world, &returned).await, Some(KeyStanding::Current(slot)));
        assert_eq!(world.record("dev-1").await.as_ref(), Some(&returned), "as stored");
        assert_eq!(
            Registration { attestation: first.attestation.clone(), ..returned },
            first,
            "nothing else is written"
        );
        assert_eq!(world.counted(SCOPE).await, (1, count));
    }
}

/// Two requests of one device that began before either was confirmed: both end, and what stays is one of the two keys.
#[tokio::test]
async fn a_deleted_registration_is_not_written_again_for_its_key() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.register(&device).await;
    let run = world.run(&device.with_key(sample::keys(10).secondary)).await;
    world.delete_registration("dev-1").await;
    world.provisioning.execute(&run).await;
    assert_eq!(world.record("dev-1").await, None);
}

#[tokio::test]
async fn a_registration_of_an_older_version_records_the_key_when_its_device_returns() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    let first = world.register(&device).await;
    let unnoted = Registration { attestation: LastAttestation::SymmetricKey(None), ..first.clone() };
    world.delete_registration("dev-1").await;
    world.enroll_in(SCOPE, provisioning::ports::Change::PutRegistration(Box::new(unnoted.clone()))).await;
    assert_eq!(standing(&world, &unnoted).await, None);
    assert_eq!(world.register(&device).await, first);
}

#[tokio::test]
async fn devices_of_a_group_are_distinguished_by_the_key_that_they_still_use() {
    let world = World::new().await;
    let keys = sample::keys(20);
    world.enroll_group(group_by("line-1", GroupAttestation::SymmetricKey(keys.clone()))).await;
    let by_primary = world.register(&of_group("dev-1", &keys, Primary)).await;
    let by_secondary = world.register(&of_group("dev-2", &keys, Secondary)).await;
    assert_eq!(by_primary.enrollment, EnrollmentRef::Group(sample::group_id("line-1")));

    let instance = world.instance(SCOPE).await;
    let rotated = world
        .provisioning
        .regenerate_keys::<model::EnrollmentGroup>(
            &instance,
            &sample::operator(),
            (&sample::group_id("line-1"), KeySelection::One(Primary)),
            None,
        )
        .await
        .unwrap();
    let rotated = rotated.attestation.symmetric_keys().unwrap().clone();
    assert_eq!(rotated.secondary, keys.secondary);
    assert_ne!(rotated.primary, keys.primary);
    assert_eq!(standing(&world, &by_primary).await, Some(KeyStanding::Replaced(Primary)));
    assert_eq!(standing(&world, &by_secondary).await, Some(KeyStanding::Current(Secondary)));

    let refused = world.begin_with(SCOPE, "dev-1", of_group("dev-1", &keys, Primary).evidence()).await;
    assert!(matches!(refused, Err(Error::Unauthorized { .. })), "the leaked key is worth nothing");
    let back = world.register(&of_group("dev-1", &rotated, Primary)).await;
    assert_eq!(standing(&world, &back).await, Some(KeyStanding::Current(Primary)));
}

#[tokio::test]
async fn an_explanation_names_the_key() {
    let world = World::new().await;
    let device = world.device("dev-1").await;
    world.enroll_group(group("line-1")).await;
    let other = device.with_key(sample::keys(10).secondary);
    let group_keys = sample::group("line-1").attestation.symmetric_keys().unwrap().clone();
    for (device, slot) in [
        (device.clone(), Primary),
        (other, Secondary),
        (of_group("dev-2", &group_keys, Primary), Primary),
        (of_group("dev-2", &group_keys, Secondary), Secondary),
    ] {
        let described = DeviceDescription {
            scope: None,
            registration_id: sample::registration_id(&device.id),
            evidence: device.evidence(),
        };
        let explained = world.provisioning.explain(&*world.instance(SCOPE).await, &described).await.unwrap();
        let [considered] = &explained.considered[..] else { panic!("{explained:?}") };
        assert_eq!(considered.fit, Fit::Fits { path: Vec::new(), key: Some(slot) }, "{}", device.id);
    }
}

#[tokio::test]
async fn keys_are_replaced_only_in_the_expected_version() {
    let world = World::new().await;
    world.device("dev-1").await;
    let (instance, id) = (world.instance(SCOPE).await, sample::registration_id("dev-1"));
    let regenerate = async |selection, if_match: Option<IfMatch>| {
        let verbs = &world.provisioning;
        verbs
            .regenerate_keys::<model::IndividualEnrollment>(
                &instance,
                &sample::operator(),
                (&id, selection),
                if_match,
            )
            .await
    };
    let both = regenerate(KeySelection::Both, Some(IfMatch::Any)).await.unwrap();
    let now = both.attestation.symmetric_keys().unwrap();
    let before = sample::keys(10);
    assert!(
        now.primary != before.primary && now.secondary != before.secondary && now.primary != now.secondary
    );
    let version = |etag: &model::Etag| Some(IfMatch::Version(etag.clone()));
    let next = regenerate(KeySelection::One(Secondary), version(&both.record.etag)).await.unwrap();
    assert_eq!(next.attestation.symmetric_keys().unwrap().primary, now.primary);
    assert_ne!(next.record.etag, both.record.etag);
    let stale = regenerate(KeySelection::Both, version(&both.record.etag)).await;
    assert!(matches!(stale, Err(Error::PreconditionFailed(_))), "{stale:?}");
}
