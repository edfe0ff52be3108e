//! What is deleted with an enrollment or a CA certificate: decided here, in the commit that deletes it.

use std::sync::Arc;

use model::{
    BulkItem, IfMatch, IndividualEnrollment, Instance, LinkDraft, ListId, LogEntry, LogKind, LogOperation,
    RevocationList, StatusKind, Timestamp,
};
use provisioning::{
    Error,
    link::Check,
    ports::{Change, Commit, Expect, LogQuery},
};
use testkit::{ca::Authority, crl::Revocations, sample};

use crate::register::world::{OTHER_SCOPE, SCOPE, World, group, individual};

async fn log(world: &World) -> Vec<LogEntry> {
    let query = LogQuery { limit: 1000, ..LogQuery::default() };
    world.store.read_log(&sample::scope(SCOPE), query).await.unwrap().entries
}

async fn is_registered(world: &World, scope: &str, id: &str) -> bool {
    let found = world.store.registration(&sample::scope(scope), &sample::registration_id(id)).await;
    found.unwrap().is_some()
}

#[tokio::test]
async fn a_registration_is_deleted_with_its_individual_enrollment_only() {
    let world = World::new().await;
    let device = world.device("own").await;
    world.register(&device).await;
    let registration = Box::new(sample::registration_of("grouped", "line"));
    world.enroll_in(SCOPE, Change::PutRegistration(registration)).await;
    world.enroll(individual("grouped")).await;
    let busy = world.device("busy").await;
    world.run(&busy).await;
    world.enroll_in(OTHER_SCOPE, Change::PutRegistration(Box::new(sample::registration("own-2")))).await;
    world.device("own-2").await;

    let start = log(&world).await.len();
    for id in ["OWN", "grouped", "busy", "own-2"] {
        world.delete_enrollment(id).await;
    }
    assert!(!is_registered(&world, SCOPE, "own").await);
    assert!(is_registered(&world, SCOPE, "grouped").await, "it came through a group");
    assert_eq!(world.record("busy").await.unwrap().status.kind(), StatusKind::Assigning);
    assert!(is_registered(&world, OTHER_SCOPE, "own-2").await, "it is another instance's");
    let changes: Vec<_> = log(&world).await.split_off(start);
    let of_own: Vec<_> = changes.iter().filter(|entry| entry.key == "own").collect();
    let kinds: Vec<_> = of_own.iter().map(|entry| (entry.kind, entry.version.is_none())).collect();
    assert_eq!(kinds, [(LogKind::Enrollment, true), (LogKind::Registration, true)]);
    assert!(of_own.iter().all(|entry| entry.attribution.operation == LogOperation::EnrollmentDelete));
    assert_eq!(changes.len(), 5);
}

#[tokio::test]
async fn a_bulk_deletion_deletes_the_registrations_and_reports_each_item() {
    let world = World::new().await;
    for id in ["a", "b"] {
        let device = world.device(id).await;
        world.register(&device).await;
    }
    let instance = world.instance(SCOPE).await;
    let items = ["a", "none", "b"].map(|id| BulkItem::Delete(sample::registration_id(id)));
    let by = sample::operator();
    let bulk = world.provisioning.change_enrollments::<IndividualEnrollment>(&instance, &by, items.into());
    let outcomes: Vec<_> = bulk.await.unwrap().into_iter().map(|(id, outcome)| (id, outcome.err())).collect();
    assert!(matches!(&outcomes[..], [(_, None), (_, Some(Error::NotFound(_))), (_, None)]), "{outcomes:?}");
    assert!(!is_registered(&world, SCOPE, "a").await && !is_registered(&world, SCOPE, "b").await);
}

/// A device registers while its enrollment is deleted: whichever comes first, no settled registration is left.
#[tokio::test(flavor = "multi_thread")]
async fn no_registration_outlives_its_deleted_enrollment() {
    let world = Arc::new(World::new().await);
    for round in 0..20 {
        let id = format!("dev-{round}");
        let device = world.device(&id).await;
        let registering = {
            let (world, device) = (Arc::clone(&world), device.clone());
            tokio::spawn(async move {
                let begun = world.begin_with(&device.scope, &device.id, device.evidence()).await;
                if let Ok(provisioning::register::RegisterOutcome::Running(run)) = begun {
                    world.finish(&run).await;
                }
            })
        };
        world.delete_enrollment(&id).await;
        registering.await.unwrap();
        let left = world.record(&id).await.map(|registration| registration.status.kind());
        assert!(matches!(left, None | Some(StatusKind::Failed)), "round {round}: {left:?}");
    }
}

#[tokio::test]
async fn the_deletion_of_a_group_leaves_its_registrations_alone() {
    let world = World::new().await;
    world.enroll_group(group("line")).await;
    for number in 0..30 {
        let registration = sample::registration_of(&format!("dev-{number}"), "line");
        world.enroll_in(SCOPE, Change::PutRegistration(Box::new(registration))).await;
    }
    let (instance, start) = (world.instance(SCOPE).await, log(&world).await.len());
    let id = sample::group_id("line");
    let by = sample::operator();
    world.provisioning.delete_enrollment::<model::EnrollmentGroup>(&instance, &by, id, None).await.unwrap();
    assert_eq!(log(&world).await.len(), start + 1, "one change, however many devices the group has");
    assert!(is_registered(&world, SCOPE, "dev-29").await);
}

#[tokio::test]
async fn a_ca_certificate_is_deleted_with_its_revocation_lists() {
    let world = World::new().await;
    let root = Authority::root("Root");
    let crl = Revocations::made_at(1, Timestamp::from_unix_seconds(1_795_392_000)).signed_by(&root);
    let list = |ca: &str, id| {
        let list = RevocationList { id, ..sample::revocation_list(ca, &crl) };
        (Expect::Absent, Change::PutRevocationList(Box::new(list)))
    };
    let ca = |name: &str| {
        let certificate = sample::ca_certificate(name, &root.certificate());
        (Expect::Absent, Change::PutCertificate(Box::new(certificate)))
    };
    let changes = vec![
        ca("gone"),
        list("gone", ListId::first()),
        list("gone", ListId::of(&crl)),
        ca("gone-too"),
        list("gone-too", ListId::first()),
    ];
    let commit = Commit { changes, ..Commit::by(sample::by()) };
    world.store.commit(&sample::scope(SCOPE), commit).await.unwrap();

    let (instance, by) = (world.instance(SCOPE).await, sample::operator());
    let delete = async |name: &str, if_match: IfMatch| {
        let name = sample::ca_reference(name);
        world.provisioning.delete_ca_certificate(&instance, &by, &name, &if_match).await
    };
    let wrong = delete("gone", IfMatch::Version(sample::etag("wrong"))).await;
    assert!(matches!(wrong, Err(Error::PreconditionFailed(_))), "{wrong:?}");
    assert_eq!(world.provisioning.trust(&instance).await.unwrap().lists().count(), 3);
    delete("GONE", IfMatch::Any).await.unwrap();
    let trust = world.provisioning.trust(&instance).await.unwrap();
    let left: Vec<_> = trust.lists().map(|list| list.authority.to_string()).collect();
    assert_eq!((trust.certificates().len(), left), (1, vec!["gone-too".to_owned()]));
    assert!(matches!(delete("gone", IfMatch::Any).await, Err(Error::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_instances_that_want_one_host_name_one_gets_it() {
    let world = Arc::new(World::new().await);
    let host = sample::instance("wanted").service_hosts;
    let wanting = (0..6).map(|number| {
        let instance =
            Instance { service_hosts: host.clone(), ..sample::instance(&format!("wanting-{number}")) };
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.store.put_instance(instance, sample::by()).await.is_ok() })
    });
    let mut written = 0;
    for outcome in wanting.collect::<Vec<_>>() {
        written += usize::from(outcome.await.unwrap());
    }
    let snapshot = world.store.snapshot().await.unwrap();
    assert_eq!((written, snapshot.instances().len()), (1, 3));
    assert!(snapshot.instance_by_host(&host[0]).unwrap().is_some());
}

#[tokio::test]
async fn a_changed_link_is_logged_under_the_name_of_its_hub() {
    let world = World::new().await;
    let (instance, by) = (world.instance(SCOPE).await, sample::operator());
    let hub = &instance.linked_hubs[0];
    let draft = LinkDraft {
        name: hub.name.clone(),
        access: None,
        location: "elsewhere".to_owned(),
        weight: hub.weight,
        takes_new_devices: true,
        max_devices: None,
    };
    let start = log(&world).await.len();
    let changed = world.provisioning.link_hub(&instance, &by, (draft, Check::Skip), Some(IfMatch::Any)).await;
    changed.unwrap();
    world.provisioning.unlink_hub(&instance, &by, &hub.name, None).await.unwrap();
    let logged = log(&world).await.split_off(start);
    let logged: Vec<_> = logged.into_iter().map(|entry| (entry.attribution.operation, entry.key)).collect();
    let name = hub.name.to_string();
    let expected = [LogOperation::LinkedHubPut, LogOperation::LinkedHubDelete];
    assert_eq!(logged, expected.map(|operation| (operation, name.clone())));
}
