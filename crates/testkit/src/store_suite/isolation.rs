//! Isolation: two instances in one store have records with equal IDs, but share nothing.

use model::{DeviceId, EnrollmentGroup, OperationKind, PendingStep, Registration, Status, UsageRow};
use provisioning::ports::{Change, Expect, Outcome};

use crate::{ca::Authority, sample};

use super::{
    trust::{name, no_revocations},
    world::{
        TODAY, Versioned, World, everything, put_block, put_certificate, put_group, put_individual, put_list,
        put_registration,
    },
};

pub(super) async fn reads(world: World) {
    let root = Authority::root("Root");
    let ca = root.certificate();
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let worlds = [world.beside("one"), world.beside("two")];
    for (world, etag) in worlds.iter().zip(["of-one", "of-two"]) {
        world
            .apply([
                put_individual(sample::individual("dev").with_etag(etag)),
                put_group(sample::group("line").with_etag(etag)),
                put_group(sample::signing_group("x509", &ca, None).with_etag(etag)),
                put_certificate(sample::ca_certificate("ca", &ca).with_etag(etag)),
                put_list(sample::revocation_list("ca", &no_revocations(&root)).with_etag(etag)),
                put_block(sample::block(&ca).with_etag(etag)),
                put_registration(assigning_as(etag).with_etag(etag)),
            ])
            .await;
    }
    worlds[1].try_commit(vec![], Some(OperationKind::EnrollmentRead)).await.unwrap();
    for (world, etag) in worlds.iter().zip(["of-one", "of-two"]) {
        assert_eq!(etags_read(world, ca.subject()).await, [etag; 10]);
        let trust = world.trust().await;
        assert_eq!(trust.certificate(&name()).unwrap().etag().as_str(), etag);
        assert_eq!(trust.lists_under(&name()).next().unwrap().etag().as_str(), etag);
        assert_eq!(trust.block(ca.thumbprint()).unwrap().etag().as_str(), etag);
    }
    assert_eq!(worlds[0].usage().await, []);
    assert_eq!(
        worlds[1].usage().await,
        [UsageRow { day: TODAY, kind: OperationKind::EnrollmentRead, count: 1 }]
    );
}

/// Returns an unfinished registration `dev` of a group with this device ID, which must be unique at the hub.
fn assigning_as(device_id: &str) -> Registration {
    let mut registration = sample::while_assigning(sample::registration_of("dev", "line"));
    if let Status::Assigning { step: PendingStep::Ensure(spec), .. } = &mut registration.status {
        spec.device_id = DeviceId::parse(device_id).unwrap();
    }
    registration
}

pub(super) async fn writes(world: World) {
    let ca = Authority::root("Root").certificate();
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let (one, two) = (world.beside("one"), world.beside("two"));
    one.apply([
        put_individual(sample::individual("dev")),
        put_group(sample::group("line")),
        put_certificate(sample::ca_certificate("ca", &ca)),
        put_block(sample::block(&ca)),
        put_registration(sample::registration("dev")),
    ])
    .await;
    let deletions = [
        Change::DeleteIndividual(sample::registration_id("dev")),
        Change::DeleteGroup(sample::group_id("line")),
        Change::DeleteCertificate(name()),
        Change::DeleteBlock(ca.thumbprint().clone()),
        Change::DeleteRegistration(sample::registration_id("dev")),
    ];
    for deletion in &deletions {
        assert_eq!(two.commit(vec![(Expect::Present, deletion.clone())]).await, [Outcome::Missing]);
    }
    two.apply(deletions).await;
    two.apply([put_individual(sample::individual("dev").with_etag("of-two"))]).await;
    two.apply([Change::DeleteIndividual(sample::registration_id("dev"))]).await;

    assert_eq!(one.individual("dev").await, Some(sample::individual("dev")));
    assert_eq!(one.group("line").await, Some(sample::group("line")));
    assert_eq!(one.registration("dev").await, Some(sample::registration("dev")));
    let trust = one.trust().await;
    assert_eq!((trust.certificates().len(), trust.blocks().len()), (1, 1));
}

/// Returns the etags of the records that each kind of read finds.
async fn etags_read(world: &World, subject: &[u8]) -> Vec<String> {
    let World { store, scope, .. } = world;
    let mut etags = vec![
        world.individual("dev").await.unwrap().etag().to_string(),
        world.group("line").await.unwrap().etag().to_string(),
        world.registration("dev").await.unwrap().etag().to_string(),
    ];
    let individuals = store.individuals(scope, everything()).await.unwrap().items;
    etags.extend(individuals.iter().map(|record| record.etag().to_string()));
    let groups = world.groups().await.items;
    etags.extend(groups.iter().map(|record| record.etag().to_string()));
    let of_group = world.registrations_of("line", everything()).await.items;
    let assigning = world.assigning(everything()).await.items;
    etags.extend(of_group.iter().chain(&assigning).map(|record| record.etag().to_string()));
    let configuration = world.configuration().await;
    let by_key = configuration.groups().with_symmetric_keys();
    let by_subject = configuration.groups().signing_as(&[subject]);
    let etag = |group: &EnrollmentGroup| group.etag().to_string();
    etags.extend(by_key.iter().chain(&by_subject).map(|group| etag(group)));
    etags
}
