//! Records are read as they were written, and only in their instance.

use std::sync::Arc;

use model::{Day, EnrollmentRef, EnrollmentSettings, HostName, Instance, RawJson, Registration};
use provisioning::ports::{Expect, Page, StoreError};
use serde_json::json;

use super::world::{TODAY, World, everything, put_group, put_individual, put_registration};
use crate::{
    ca::{Authority, Identity, Profile},
    sample,
};

pub(super) async fn instances(world: World) {
    let World { store, .. } = &world;
    let (two, alpha) = (sample::instance("Two"), sample::instance("alpha"));
    store.put_instance(two.clone(), sample::by()).await.unwrap();
    store.put_instance(alpha.clone(), sample::by()).await.unwrap();

    assert_eq!(*store.instance(&sample::scope("tWO")).await.unwrap().unwrap(), two);
    let host = HostName::parse("two.example").unwrap();
    assert_eq!(*world.instance_by_host(&host).await.unwrap(), two);
    let all: Vec<_> = world.instances().await.iter().map(|it| Instance::clone(it)).collect();
    assert_eq!(all, [alpha, sample::instance("one"), two]);
}

pub(super) async fn replaced_instance(world: World) {
    world.apply([put_individual(sample::individual("dev")), put_group(sample::group("line"))]).await;
    let old_host = sample::instance("one").service_hosts[0].clone();
    let new_host = HostName::parse("new.example").unwrap();
    let replaced = Instance {
        id_scope: sample::scope("ONE"),
        service_hosts: vec![new_host.clone()],
        linked_hubs: Vec::new(),
        ..sample::instance("one")
    };
    world.store.put_instance(replaced.clone(), sample::by()).await.unwrap();

    assert_eq!(world.instances().await, [Arc::new(replaced.clone())]);
    assert_eq!(world.instance_by_host(&old_host).await, None);
    assert_eq!(world.instance_by_host(&new_host).await, Some(Arc::new(replaced)));
    assert_eq!(world.individual("dev").await, Some(sample::individual("dev")));
    assert_eq!(world.group("line").await, Some(sample::group("line")));
}

pub(super) async fn taken_host(world: World) {
    let taken = Instance { service_hosts: sample::instance("one").service_hosts, ..sample::instance("two") };
    let host = taken.service_hosts[0].clone();
    let refused = world.store.put_instance(taken, sample::by()).await;
    assert!(matches!(&refused, Err(StoreError::HostTaken(taken)) if *taken == host), "{refused:?}");
    assert_eq!(world.instances().await.len(), 1);
    let owner = world.instance_by_host(&host).await.unwrap();
    assert_eq!(owner.id_scope, world.scope);
}

pub(super) async fn individuals(world: World) {
    let leaf = Identity::self_signed(&Profile::device("dev")).certificate();
    let mut expected = Vec::new();
    for (name, attestation) in sample::individual_attestations(&leaf) {
        let mut record = sample::individual(&format!("full-{name}"));
        record.attestation = attestation.clone();
        expected.push(record.clone());
        record.registration_id = sample::registration_id(&format!("bare-{name}"));
        (record.device_id, record.device_information) = (None, None);
        record.settings = EnrollmentSettings::default();
        expected.push(record);
    }
    world.apply(expected.iter().cloned().map(put_individual)).await;

    for record in &expected {
        assert_eq!(world.individual(record.registration_id.as_str()).await.as_ref(), Some(record));
    }
    expected.sort_by(|left, right| left.registration_id.cmp(&right.registration_id));
    let listed = world.store.individuals(&world.scope, everything()).await.unwrap();
    assert_eq!(listed, Page { items: expected, ..Page::default() });
}

pub(super) async fn groups(world: World) {
    let ca = Authority::root("Root").certificate();
    let mut expected = Vec::new();
    for (name, attestation) in sample::group_attestations(&ca) {
        let mut record = sample::group(&format!("full-{name}"));
        record.attestation = attestation;
        expected.push(record.clone());
        record.group_id = sample::group_id(&format!("bare-{name}"));
        record.settings = EnrollmentSettings::default();
        expected.push(record);
    }
    world.apply(expected.iter().cloned().map(put_group)).await;

    for record in &expected {
        assert_eq!(world.group(record.group_id.as_str()).await.as_ref(), Some(record));
    }
    expected.sort_by(|left, right| left.group_id.cmp(&right.group_id));
    let listed = world.groups().await;
    assert_eq!(listed, Page { items: expected, ..Page::default() });
}

pub(super) async fn registrations(world: World) {
    let mut expected = Vec::new();
    for (number, (name, _)) in sample::statuses("dev").into_iter().enumerate() {
        // Each registration has a device of its own.
        let registration = |id: String| {
            let (_, status) = sample::statuses(&id).swap_remove(number);
            Registration { status, ..sample::registration(&id) }
        };
        expected.push(registration(format!("plain-{name}")));
        let mut record = registration(format!("full-{name}"));
        record.enrollment = EnrollmentRef::Group(sample::group_id("Line-1"));
        record.payload = Some(RawJson::from(&json!({"b": [1, {"a": null}], "a": "ü"})));
        expected.push(record);
    }
    world.apply(expected.iter().cloned().map(put_registration)).await;
    for record in &expected {
        assert_eq!(world.registration(record.registration_id.as_str()).await.as_ref(), Some(record));
    }
}

pub(super) async fn letter_case(world: World) {
    world
        .apply([put_individual(sample::individual("Dev-A")), put_registration(sample::registration("Dev-A"))])
        .await;
    world.apply([put_group(sample::group("Line-A"))]).await;
    assert_eq!(world.individual("dEV-a").await.unwrap().registration_id.as_str(), "Dev-A");
    assert_eq!(world.registration("DEV-A").await.unwrap().registration_id.as_str(), "Dev-A");
    assert_eq!(world.group("LINE-a").await.unwrap().group_id.as_str(), "Line-A");

    world.apply([put_individual(sample::individual("DEV-a")), put_group(sample::group("LINE-a"))]).await;
    assert_eq!(world.individual("dev-a").await.unwrap().registration_id.as_str(), "DEV-a");
    assert_eq!(world.group("line-a").await.unwrap().group_id.as_str(), "LINE-a");
    let listed = world.store.individuals(&world.scope, everything()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

/// What is read of a device together is what each read returns alone, in its instance only.
pub(super) async fn of_devices(world: World) {
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    world.apply([put_group(sample::group("line"))]).await;
    for (id, change) in [
        ("Enrolled", vec![put_individual(sample::individual("Enrolled"))]),
        ("registered", vec![put_registration(sample::registration("registered"))]),
        (
            "both",
            vec![put_individual(sample::individual("both")), put_registration(sample::registration("both"))],
        ),
        ("none", vec![]),
    ] {
        world.apply(change).await;
        let asked = sample::registration_id(&id.to_uppercase());
        let found = world.store.device(&world.scope, &asked).await.unwrap().unwrap();
        assert_eq!(found.registration_id.as_str(), asked.as_str());
        assert_eq!(*found.instance, sample::instance("one"));
        assert!(found.configuration.group(&sample::group_id("line")).unwrap().is_some());
        assert_eq!(
            (found.individual, found.registration),
            (Ok(world.individual(id).await), Ok(world.registration(id).await))
        );
        let elsewhere = world.store.device(&sample::scope("two"), &asked).await.unwrap().unwrap();
        assert_eq!((elsewhere.individual, elsewhere.registration), (Ok(None), Ok(None)), "{id}");
        assert_eq!(elsewhere.configuration.groups().all().len(), 0);
    }
    assert!(
        world.store.device(&sample::scope("none"), &sample::registration_id("both")).await.unwrap().is_none()
    );
}

pub(super) async fn absent(world: World) {
    let World { store, scope, .. } = &world;
    assert_eq!(store.instance(&sample::scope("none")).await.unwrap(), None);
    assert_eq!(world.instance_by_host(&HostName::parse("none.example").unwrap()).await, None);
    assert_eq!(world.individual("none").await, None);
    assert_eq!(world.group("none").await, None);
    assert_eq!(world.registration("none").await, None);
    assert_eq!(store.individuals(scope, everything()).await.unwrap(), Page::default());
    assert_eq!(world.groups().await, Page::default());
    assert_eq!(world.registrations_of("none", everything()).await, Page::default());
    assert_eq!(world.assigning(everything()).await, Page::default());
    let configuration = world.configuration().await;
    assert!(configuration.groups().with_symmetric_keys().is_empty());
    assert!(configuration.groups().signing_as(&[b"none"]).is_empty());
    assert!(world.usage().await.is_empty());
}

pub(super) async fn unknown_instance(world: World) {
    let unknown = world.beside("unknown");
    let changes = [put_individual(sample::individual("dev")), put_group(sample::group("line"))];
    for change in changes {
        let refused = unknown.try_commit(vec![(Expect::Anything, change)], None).await;
        assert!(matches!(&refused, Err(StoreError::Broken(text)) if text.contains("unknown")), "{refused:?}");
    }
    absent_reads(&unknown).await;
    unknown.store.put_instance(sample::instance("unknown"), sample::by()).await.unwrap();
    absent_reads(&unknown).await;
}

async fn absent_reads(world: &World) {
    assert_eq!(world.individual("dev").await, None);
    assert_eq!(world.group("line").await, None);
    assert_eq!(world.store.individuals(&world.scope, everything()).await.unwrap().items, []);
    assert_eq!(world.store.usage(&world.scope, Day::from_number(0), TODAY).await.unwrap(), []);
}
