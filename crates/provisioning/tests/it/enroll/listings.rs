//! What operators read of registrations and cleanups.

use std::collections::BTreeMap;

use model::{
    Because, Chosen, Cleanup, CleanupCause, DeviceId, HubDeviceRef, OperationKind, Registration,
    RegistrationSearch, ReprovisionAction, Residue, Returning, StatusKind,
};
use provisioning::{
    Error, RecordKind,
    ports::{Change, PageRequest},
};
use testkit::sample;

use super::counted;
use crate::register::world::{HUBS, OTHER_SCOPE, SCOPE, World};

const ALL: PageRequest = PageRequest { after: None, limit: 100 };

async fn store(world: &World, registration: Registration) {
    world.enroll_in(SCOPE, Change::PutRegistration(Box::new(registration))).await;
}

#[tokio::test]
async fn registrations_are_listed_by_status_and_group() {
    let world = World::new().await;
    let instance = world.instance(SCOPE).await;
    let mut by_status: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for at in 0..sample::statuses("dev").len() {
        let id = format!("dev-{at}");
        let (_, status) = sample::statuses(&id).remove(at);
        by_status.entry(status.kind().name()).or_default().push(id.clone());
        let group = ["line", "other"][at % 2];
        store(&world, Registration { status, ..sample::registration_of(&id, group) }).await;
    }
    let ids = |items: Vec<Registration>| -> Vec<String> {
        items.iter().map(|it| it.registration_id.to_string()).collect()
    };
    let of_status = |status| RegistrationSearch { status: Some(status), ..Default::default() };
    for status in StatusKind::ALL {
        let page = world.provisioning.list_registrations(&instance, &of_status(status), ALL).await.unwrap();
        assert_eq!(ids(page.page.items), by_status.remove(status.name()).unwrap_or_default(), "{status:?}");
    }
    assert!(by_status.is_empty());
    let page =
        world.provisioning.list_registrations(&instance, &RegistrationSearch::default(), ALL).await.unwrap();
    let all = ids(page.page.items);
    assert_eq!(all.len(), sample::statuses("dev").len());
    // Neither group is stored: its registrations are listed all the same, and without any it is not found.
    for (group, first) in [("line", 0), ("other", 1)] {
        let group = sample::group_id(group);
        let page = world.provisioning.query_registrations(&instance, &group, ALL).await.unwrap();
        assert_eq!(ids(page.items), all.iter().skip(first).step_by(2).cloned().collect::<Vec<_>>());
    }
    let empty = sample::group("empty");
    let query = async || world.provisioning.query_registrations(&instance, &empty.group_id, ALL).await;
    assert!(matches!(query().await, Err(Error::NotFound(RecordKind::EnrollmentGroup))));
    world.enroll_group(empty.clone()).await;
    assert_eq!(query().await.unwrap().items, []);
    let queries = u64::try_from(StatusKind::ALL.len()).unwrap() + 4;
    let expected = BTreeMap::from([(OperationKind::RegistrationQuery, queries)]);
    assert_eq!(counted(&world, SCOPE).await, expected);
}

#[tokio::test]
async fn one_registration_is_read_of_its_own_instance() {
    let world = World::new().await;
    let (instance, other) = (world.instance(SCOPE).await, world.instance(OTHER_SCOPE).await);
    let registration = sample::registration("dev-1");
    store(&world, registration.clone()).await;
    let id = &registration.registration_id;
    let read = world.provisioning.read_registration(&instance, id).await.unwrap();
    assert_eq!(read.registration_id, *id);
    let found = world.provisioning.find_registration(&instance, id).await.unwrap();
    assert_eq!(found, Some(read));
    assert_eq!(world.provisioning.find_registration(&other, id).await.unwrap(), None);
    let refused = world.provisioning.read_registration(&other, id).await;
    assert!(matches!(refused, Err(Error::NotFound(RecordKind::Registration))));
    assert_eq!(counted(&world, SCOPE).await, BTreeMap::from([(OperationKind::RegistrationRead, 1)]));
    assert_eq!(counted(&world, OTHER_SCOPE).await, BTreeMap::new());
}

/// At a linked hub, at one that is not linked any more, under another device ID; and not those of another registration.
#[tokio::test]
async fn cleanups_of_a_registration_are_found_wherever_the_device_was() {
    let world = World::new().await;
    let instance = world.instance(SCOPE).await;
    let device = world.device("dev-1").await;
    let mut registration = world.register(&device).await;
    let renamed = DeviceId::parse("renamed").unwrap();
    if let model::Status::Assigned(assignment) = &mut registration.status {
        assignment.device_id = renamed.clone();
    }
    let mut decision = registration.decisions.latest().cloned().unwrap();
    let [chosen, before] = ["chosen.example", "before.example"].map(sample::hub_name);
    decision.chosen = Some(Chosen { hub: chosen.clone(), because: Because::Stays });
    decision.returning =
        Some(Returning { from: before.clone(), reprovision: ReprovisionAction::Migrate, substatus: None });
    registration.decisions.push(decision);
    let own = DeviceId::from(&registration.registration_id);
    let places = [
        (sample::hub_name(HUBS[0]), own.clone()),
        (sample::hub_name(HUBS[1]), renamed.clone()),
        (chosen, own.clone()),
        (before, renamed),
    ];
    let cleanup = |(hub, device_id): &(model::HubName, DeviceId), of: &str| {
        let sample = sample::cleanup(hub.as_str(), device_id.as_str());
        let hub_device = HubDeviceRef { hub: hub.clone(), device_id: device_id.clone() };
        let residue = Residue { hub_device, ..sample.residue };
        Cleanup { registration_id: sample::registration_id(of), residue, ..sample }
    };
    let foreign = (sample::hub_name(HUBS[0]), places[1].1.clone());
    let unknown = (sample::hub_name("never.example"), own);
    let stored =
        places.iter().map(|place| (place, "dev-1")).chain([(&foreign, "dev-2"), (&unknown, "dev-1")]);
    for (place, of) in stored {
        world.enroll_in(SCOPE, Change::PutCleanup(Box::new(cleanup(place, of)))).await;
    }
    let found = world.provisioning.cleanups_of(&instance, &registration).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|it| it.residue.hub_device).collect();
    let mut expected: Vec<_> =
        places.into_iter().map(|(hub, device_id)| HubDeviceRef { hub, device_id }).collect();
    found.sort_by_key(|it| it.key().into_owned());
    expected.sort_by_key(|it| it.key().into_owned());
    assert_eq!(found, expected);
    let listed = world.provisioning.list_cleanups(&instance, ALL).await.unwrap();
    assert_eq!(listed.items.len(), 6);
}

#[tokio::test]
async fn a_cleanup_tells_why_the_device_is_removed() {
    for cause in [CleanupCause::Canceled, CleanupCause::Deleted] {
        let world = World::new().await;
        let (instance, by) = (world.instance(SCOPE).await, sample::operator());
        world.run(&world.device("dev-1").await).await;
        let id = sample::registration_id("dev-1");
        match cause {
            CleanupCause::Canceled => {
                world.provisioning.cancel_registration(&instance, &by, &id, None).await.map(drop).unwrap();
            }
            _ => world.provisioning.delete_registration(&instance, &by, id, None).await.unwrap(),
        }
        let cleanups = world.provisioning.list_cleanups(&instance, ALL).await.unwrap().items;
        assert_eq!(cleanups.iter().map(|cleanup| cleanup.cause).collect::<Vec<_>>(), [cause]);
    }
}
