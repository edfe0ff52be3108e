//! How many enrollments there may be, in an instance and in a call.

use std::collections::BTreeMap;

use model::{
    BulkItem, CertificateDraft, Day, EnrollmentGroup, GroupAttestationDraft, GroupDraft, HostName, IfMatch,
    IndividualEnrollment, KeysDraft, OperationKind, Pair, RegistrationIdsDraft,
};
use provisioning::{
    Error,
    enroll::{MAX_BULK_ITEMS, MAX_SYMMETRIC_KEY_GROUPS, MAX_USAGE_DAYS, MAX_X509_GROUPS},
    ports::{Change, Commit, Expect},
};
use testkit::sample;

use super::counted;
use crate::register::world::{OTHER_SCOPE, SCOPE, World};

fn draft(id: &str, attestation: GroupAttestationDraft) -> GroupDraft {
    GroupDraft {
        group_id: sample::group_id(id),
        attestation,
        registration_ids: RegistrationIdsDraft::Kept,
        settings: Default::default(),
    }
}

fn by_keys() -> GroupAttestationDraft {
    GroupAttestationDraft::SymmetricKey(KeysDraft::default())
}

fn by_certificates() -> GroupAttestationDraft {
    let ca = CertificateDraft::Given(testkit::ca::Authority::root("CA").certificate());
    GroupAttestationDraft::SigningCertificates(Pair::new(Some(ca), None).unwrap())
}

/// Stores this many groups of one kind.
async fn fill(world: &World, count: usize, group: impl Fn(&str) -> EnrollmentGroup) {
    let put = |at| (Expect::Absent, Change::PutGroup(Box::new(group(&format!("filler-{at}")))));
    let commit = Commit { changes: (0..count).map(put).collect(), ..Commit::by(sample::by()) };
    world.store.commit(&sample::scope(SCOPE), commit).await.unwrap();
}

/// Checks that a group can be created while there is room for one, and none after it; but replaced by one of its kind.
async fn check_last(world: &World, name: &str, attestation: fn() -> GroupAttestationDraft) {
    let (instance, by) = (world.instance(SCOPE).await, sample::operator());
    let put = async |id: &str, attestation, if_match| {
        let draft = draft(id, attestation);
        world.provisioning.put_enrollment::<EnrollmentGroup>(&instance, &by, draft, if_match).await
    };
    let [last, beyond] = ["last", "beyond"].map(|suffix| format!("{name}-{suffix}"));
    let items = [&last, &beyond].map(|id| BulkItem::Create(draft(id, attestation()))).to_vec();
    let created =
        world.provisioning.change_enrollments::<EnrollmentGroup>(&instance, &by, items).await.unwrap();
    let is_created: Vec<_> = created.iter().map(|(_, result)| result.is_ok()).collect();
    assert_eq!(is_created, [true, false], "{created:?}");
    let refused = put(&beyond, attestation(), None).await.err();
    assert!(
        matches!(&refused, Some(Error::Invalid(text)) if text.contains("delete one first")),
        "{refused:?}"
    );
    assert!(put(&last, attestation(), Some(IfMatch::Any)).await.is_ok());
}

#[tokio::test]
async fn groups_of_each_mechanism_have_a_limit_of_their_own() {
    let world = World::new().await;
    let ca = testkit::ca::Authority::root("CA").certificate();
    fill(&world, MAX_SYMMETRIC_KEY_GROUPS - 1, sample::group).await;
    check_last(&world, "keys", by_keys).await;
    fill(&world, MAX_X509_GROUPS - 1, |id| sample::signing_group(&format!("x-{id}"), &ca, None)).await;
    check_last(&world, "certificates", by_certificates).await;
}

#[tokio::test]
async fn a_bulk_call_without_items_or_with_too_many_changes_nothing() {
    let world = World::new().await;
    let (instance, by) = (world.instance(SCOPE).await, sample::operator());
    for (count, is_accepted) in [(0, false), (1, true), (MAX_BULK_ITEMS, true), (MAX_BULK_ITEMS + 1, false)] {
        let delete = |at| BulkItem::Delete(sample::registration_id(&format!("dev-{at}")));
        let items = (0..count).map(delete).collect();
        let done = world.provisioning.change_enrollments::<IndividualEnrollment>(&instance, &by, items).await;
        assert_eq!(done.as_ref().ok().map(Vec::len), is_accepted.then_some(count), "{done:?}");
    }
    assert_eq!(counted(&world, SCOPE).await, BTreeMap::new());
}

#[tokio::test]
async fn usage_is_reported_for_a_thousand_days_at_most_and_in_order() {
    let world = World::new().await;
    let instance = world.instance(SCOPE).await;
    let kinds = [OperationKind::EnrollmentQuery, OperationKind::EnrollmentRead, OperationKind::Registration];
    for (day, kind) in [12, 10, 11].into_iter().flat_map(|day| kinds.map(|kind| (day, kind))) {
        let commit = Commit { operation: Some((kind, Day::from_number(day))), ..Commit::by(sample::by()) };
        world.store.commit(&instance.id_scope, commit).await.unwrap();
    }
    let usage = async |from, to| {
        world.provisioning.usage(&instance, Day::from_number(from), Day::from_number(to)).await
    };
    let rows: Vec<_> = usage(10, 11).await.unwrap().iter().map(|row| (row.day.number(), row.kind)).collect();
    let mut expected: Vec<_> = [10, 11].into_iter().flat_map(|day| kinds.map(|kind| (day, kind))).collect();
    expected.sort_unstable();
    assert_eq!(rows, expected);
    for (from, to, is_accepted) in
        [(10, 10, true), (10, 9, false), (10, 9 + MAX_USAGE_DAYS, true), (10, 10 + MAX_USAGE_DAYS, false)]
    {
        assert_eq!(usage(from, to).await.is_ok(), is_accepted, "{from} to {to}");
    }
}

#[tokio::test]
async fn an_instance_is_found_by_its_host_name() {
    let world = World::new().await;
    for scope in [SCOPE, OTHER_SCOPE] {
        let instance = world.instance(scope).await;
        for host in &instance.service_hosts {
            let found = world.provisioning.instance_by_host(host).await.unwrap();
            assert_eq!(found.map(|found| found.id_scope.clone()), Some(instance.id_scope.clone()), "{host}");
        }
    }
    let unknown = HostName::parse("unknown.example").unwrap();
    assert_eq!(world.provisioning.instance_by_host(&unknown).await.unwrap(), None);
}
