//! The trust of an instance: CA certificates, their revocation lists, and blocks.

use std::sync::Arc;

use model::{CaReference, Certificate, ListId, RevocationList, Timestamp, Trust};
use provisioning::ports::{Change, Expect, Outcome};

use super::world::{Versioned, World, put_block, put_certificate, put_group, put_individual, put_list};
use crate::{
    ca::{Authority, Identity, Profile},
    crl::Revocations,
    sample,
};

pub(super) async fn records(world: World) {
    let root = Authority::root("Root");
    let list = sample::revocation_list("Root of 2026", &no_revocations(&root));
    let other = RevocationList { id: ListId::of(&list.crl), ..list.clone() };
    let certificate = sample::ca_certificate("Root of 2026", &root.certificate());
    let block = sample::block(&root.certificate());
    world
        .apply([
            put_certificate(certificate.clone()),
            put_list(list.clone()),
            put_list(other.clone()),
            put_block(block.clone()),
        ])
        .await;
    let check = |trust: &Trust| {
        let name = sample::ca_reference("rOOT of 2026");
        assert_eq!(trust.certificate(&name).map(Arc::as_ref), Some(&certificate));
        let lists: Vec<_> = trust.lists_under(&name).map(Arc::as_ref).collect();
        assert_eq!(lists, [&list, &other]);
        assert_eq!(trust.block(&block.thumbprint).map(Arc::as_ref), Some(&block));
        let counts = (trust.certificates().len(), trust.lists().count(), trust.blocks().len());
        assert_eq!(counts, (1, 2, 1));
        assert!(trust.certificate(&sample::ca_reference("Root of 2027")).is_none());
    };
    check(&*world.trust().await);
    world.store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
    check(&*world.trust().await);
    let before = world.trust().await;
    let world = world.reopen().await;
    assert_eq!(world.trust().await, before);
    check(&*world.trust().await);
}

pub(super) async fn of_subject(world: World) {
    let root = Authority::root("Root");
    let (factory, renewed) = (root.intermediate("Factory"), root.intermediate("Factory"));
    let put =
        |name: &str, certificate: &Certificate| put_certificate(sample::ca_certificate(name, certificate));
    let (factory, renewed, root) = (factory.certificate(), renewed.certificate(), root.certificate());
    world.apply([put("new", &renewed), put("Factory", &factory), put("root", &root)]).await;
    check_subject(&world, &factory, &["Factory", "new"]).await;
    check_subject(&world, &root, &["root"]).await;

    world.apply([put("NEW", &root)]).await;
    check_subject(&world, &factory, &["Factory"]).await;
    check_subject(&world, &root, &["NEW", "root"]).await;
    world.apply([Change::DeleteCertificate(sample::ca_reference("factory"))]).await;
    check_subject(&world, &factory, &[]).await;
    let world = world.reopen().await;
    check_subject(&world, &factory, &[]).await;
    check_subject(&world, &root, &["NEW", "root"]).await;
}

async fn check_subject(world: &World, of: &Certificate, expected: &[&str]) {
    let trust = world.trust().await;
    let names: Vec<_> = trust.of_subject(of.subject()).iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, expected);
}

pub(super) async fn deletion(world: World) {
    let root = Authority::root("Root");
    let put = |name: &str| {
        let list = sample::revocation_list(name, &no_revocations(&root));
        let other = RevocationList { id: ListId::of(&list.crl), ..list.clone() };
        let certificate = sample::ca_certificate(name, &root.certificate());
        [put_certificate(certificate), put_list(list), put_list(other)]
    };
    world.apply(put("gone").into_iter().chain(put("gone-too"))).await;
    world.apply([put_block(sample::block(&root.certificate()))]).await;
    let gone = Change::DeleteCertificate(sample::ca_reference("Gone"));
    let wrong = world.commit(vec![(Expect::Version(sample::etag("wrong")), gone.clone())]).await;
    assert_eq!(wrong, [Outcome::OtherVersion]);
    assert_eq!(world.trust().await.lists().count(), 4);

    // No list is deleted with its certificate, and none of another name that begins the same.
    world.apply([gone]).await;
    assert_eq!(world.trust().await.lists_under(&sample::ca_reference("gone")).count(), 2);
    let lists: Vec<_> = world.trust().await.lists_under(&sample::ca_reference("gone")).cloned().collect();
    world
        .apply(lists.into_iter().map(|it| Change::DeleteRevocationList(it.authority.clone(), it.id.clone())))
        .await;
    world.apply([Change::DeleteRevocationList(sample::ca_reference("gone-too"), ListId::first())]).await;
    let left = |trust: &Trust| {
        let names: Vec<_> = trust.certificates().map(|it| it.name.to_string()).collect();
        (names, trust.lists().count(), trust.blocks().len())
    };
    assert_eq!(left(&*world.trust().await), (vec!["gone-too".to_owned()], 1, 1));
    world.apply([Change::DeleteBlock(root.certificate().thumbprint().clone())]).await;
    let world = world.reopen().await;
    assert_eq!(left(&*world.trust().await), (vec!["gone-too".to_owned()], 1, 0));
}

pub(super) async fn reference_groups(world: World) {
    let ca = Authority::root("Root").certificate();
    let referring = |id: &str| {
        let (_, attestation) = sample::group_attestations(&ca).pop().unwrap();
        put_group(model::EnrollmentGroup { attestation, ..sample::group(id) })
    };
    let listed = async |world: &World| {
        // The CA that the groups name, in another case, and one that no group names.
        let configuration = world.configuration().await;
        let groups = configuration.groups();
        let name = groups.named_cas().next().unwrap().to_string();
        let names = [sample::ca_reference(&name.to_uppercase()), sample::ca_reference("none")];
        assert_eq!(groups.naming(&names[1..]), []);
        groups.naming(&names).iter().map(|group| group.group_id.to_string()).collect::<Vec<_>>()
    };
    world.apply([referring("b"), referring("A"), put_group(sample::group("key"))]).await;
    world.apply([put_group(sample::signing_group("signing", &ca, None))]).await;
    assert_eq!(listed(&world).await, ["A", "b"]);
    world.apply([put_group(sample::group("a"))]).await;
    assert_eq!(listed(&world).await, ["b"]);
    let world = world.reopen().await;
    assert_eq!(listed(&world).await, ["b"]);
}

pub(super) async fn expiring(world: World) {
    let at = |seconds: i64| Timestamp::from_unix_seconds(1_795_392_000 + seconds);
    let put_expiring = |id: &str, expires: i64| {
        let leaf =
            Identity::self_signed(&Profile { not_after: at(expires), ..Profile::device(id) }).certificate();
        let (_, attestation) = sample::individual_attestations(&leaf).swap_remove(3);
        put_individual(model::IndividualEnrollment { attestation, ..sample::individual(id) })
    };
    world.apply([put_expiring("late", 300), put_expiring("first", 100), put_expiring("second", 200)]).await;
    world.apply([put_expiring("gone", 50)]).await;
    world
        .apply([put_individual(sample::individual("key")), put_individual(sample::individual("gone"))])
        .await;
    let listed = async |world: &World, until: i64, limit: usize| {
        let found = world.store.individuals_expiring(&world.scope, at(until), limit).await.unwrap().items;
        found.iter().map(|it| it.registration_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&world, 99, 10).await, [""; 0]);
    assert_eq!(listed(&world, 200, 10).await, ["first", "second"]);
    assert_eq!(listed(&world, 1000, 2).await, ["first", "second"]);
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    assert_eq!(listed(&world.beside("two"), 1000, 10).await, [""; 0]);
    let version = Expect::Version(sample::individual("first").etag().clone());
    assert_eq!(world.commit(vec![(version, put_expiring("first", 400))]).await, [Outcome::Applied]);
    let world = world.reopen().await;
    assert_eq!(listed(&world, 1000, 10).await, ["second", "late", "first"]);
}

pub(super) fn no_revocations(authority: &Authority) -> certpath::Crl {
    Revocations::made_at(1, Timestamp::from_unix_seconds(1_795_392_000)).signed_by(authority)
}

/// Returns the name of the CA certificate in the samples.
pub(super) fn name() -> CaReference {
    sample::ca_reference("ca")
}
