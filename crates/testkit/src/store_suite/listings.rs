//! Listings: pages are in order and complete, and have each record once.

use model::{EnrollmentGroup, IndividualEnrollment, Registration, StatusKind};
use provisioning::ports::{Change, Page, PageRequest, RecordCounts};

use super::world::{World, everything, ids, put_group, put_individual, put_registration};
use crate::sample;

pub(super) async fn individuals(world: World) {
    world.apply(names(COUNT).map(|name| put_individual(sample::individual(&name)))).await;
    let page = async |request| world.store.individuals(&world.scope, request).await.unwrap();
    check(page, |record: &IndividualEnrollment| record.registration_id.to_string()).await;
}

pub(super) async fn counts(world: World) {
    world.apply(names(COUNT).map(|name| put_individual(sample::individual(&name)))).await;
    world.apply([put_registration(sample::registration("dev"))]).await;
    for at_most in [0, 1, COUNT as u64 - 1, COUNT as u64, 1_000_000] {
        let counts = world.store.counts(&world.scope, at_most).await.unwrap();
        let expected = RecordCounts {
            individuals: at_most.min(COUNT as u64),
            registrations: at_most.min(1),
            cleanups: 0,
        };
        assert_eq!(counts, expected, "up to {at_most}");
    }
}

pub(super) async fn groups(world: World) {
    world.apply(names(COUNT).map(|name| put_group(sample::group(&name)))).await;
    let page = async |request| world.configuration().await.group_page(&request);
    check(page, |record: &EnrollmentGroup| record.group_id.to_string()).await;
}

pub(super) async fn registrations_of(world: World) {
    world.apply(names(COUNT).map(|name| put_registration(sample::registration_of(&name, "Line-1")))).await;
    world.apply(other_registrations()).await;
    let page = async |request| world.registrations_of("lINE-1", request).await;
    check(page, |record: &Registration| record.registration_id.to_string()).await;
    assert_eq!(ids(&world.registrations_of("line-11", everything()).await.items), ["x2"]);
}

pub(super) async fn assigning(world: World) {
    let assigning = |name: String| sample::while_assigning(sample::registration(&name));
    world.apply(names(COUNT).map(|name| put_registration(assigning(name)))).await;
    world.apply(other_registrations()).await;
    let page = async |request| world.assigning(request).await;
    check(page, |record: &Registration| record.registration_id.to_string()).await;

    let first =
        sample::registration(&world.assigning(everything()).await.items[0].registration_id.to_string());
    world.apply([put_registration(first.clone())]).await;
    assert_eq!(world.assigning(everything()).await.items.len(), COUNT - 1);
    world.apply([put_registration(sample::while_assigning(first))]).await;
    assert_eq!(world.assigning(everything()).await.items.len(), COUNT);
}

/// Registrations are listed by their current status, whatever their enrollment.
pub(super) async fn statuses(world: World) {
    let records: Vec<_> = (0..sample::statuses("any").len())
        .map(|number| {
            let id = format!("dev-{number}");
            let (_, status) = sample::statuses(&id).swap_remove(number);
            let base = if number % 2 == 0 {
                sample::registration(&id)
            } else {
                sample::registration_of(&id, "line")
            };
            Registration { status, ..base }
        })
        .collect();
    world.apply(records.iter().cloned().map(put_registration)).await;
    let listed = async |kind| {
        let page = world.store.registrations_in(&world.scope, kind, everything()).await.unwrap();
        ids(&page.items).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = |kind| {
        let of_kind = records.iter().filter(|record| record.status.kind() == kind);
        of_kind.map(|record| record.registration_id.to_string()).collect::<Vec<_>>()
    };
    for kind in StatusKind::ALL {
        assert_eq!(listed(kind).await, expected(kind), "{kind:?}");
    }
    let page = async |request| world.store.registrations(&world.scope, request).await.unwrap();
    let all = page(everything()).await;
    assert_eq!(ids(&all.items), records.iter().map(|it| it.registration_id.as_str()).collect::<Vec<_>>());
    let first = page(PageRequest { after: None, limit: 2 }).await;
    let rest = page(PageRequest { after: first.next, limit: 1000 }).await;
    assert_eq!((first.items, rest.items), (all.items[..2].to_vec(), all.items[2..].to_vec()));
    let first = records.iter().find(|record| record.status.kind() == StatusKind::Assigned).unwrap();
    let failed = records.iter().find(|record| record.status.kind() == StatusKind::Failed).unwrap();
    world.apply([put_registration(Registration { status: failed.status.clone(), ..first.clone() })]).await;
    assert_eq!(listed(StatusKind::Assigned).await.len(), expected(StatusKind::Assigned).len() - 1);
    assert_eq!(listed(StatusKind::Failed).await.len(), expected(StatusKind::Failed).len() + 1);
}

pub(super) async fn changes_between_pages(world: World) {
    let put = |name: &str| put_individual(sample::individual(name));
    world.apply(["b", "d", "f", "h"].map(put)).await;
    let page = async |after: Option<String>| {
        world.store.individuals(&world.scope, PageRequest { after, limit: 2 }).await.unwrap()
    };
    let first = page(None).await;
    assert_eq!(first.next.as_deref(), Some("d"));
    world.apply([put("a"), put("e"), Change::DeleteIndividual(sample::registration_id("d"))]).await;
    let second = page(first.next).await;
    let names: Vec<_> = second.items.iter().map(|record| record.registration_id.as_str()).collect();
    assert_eq!(names, ["e", "f"]);
    assert_eq!(page(second.next).await.next, None);
    assert_eq!(page(Some("zzz".to_owned())).await, Page::default());
}

pub(super) async fn changed_group(world: World) {
    let listed = async |group| world.registrations_of(group, everything()).await.items.len();
    let steps = [
        (put_registration(sample::registration_of("dev", "a")), (1, 0)),
        (put_registration(sample::registration_of("dev", "A")), (1, 0)),
        (put_registration(sample::registration_of("dev", "b")), (0, 1)),
        (put_registration(sample::registration("dev")), (0, 0)),
        (put_registration(sample::registration_of("dev", "b")), (0, 1)),
        (Change::DeleteRegistration(sample::registration_id("dev")), (0, 0)),
    ];
    for (index, (change, expected)) in steps.into_iter().enumerate() {
        world.apply([change]).await;
        assert_eq!((listed("a").await, listed("b").await), expected, "step {index}");
    }
}

/// Reads a listing in pages of several sizes, and compares it with the sorted names.
async fn check<T>(page: impl AsyncFn(PageRequest) -> Page<T>, name: impl Fn(&T) -> String) {
    let mut expected: Vec<_> = names(COUNT).collect();
    expected.sort_by_key(|name| name.to_ascii_lowercase());
    for limit in [1, 7, COUNT - 1, COUNT, COUNT + 1, usize::MAX] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let Page { items, next, .. } = page(PageRequest { after, limit }).await;
            assert!(!items.is_empty() && items.len() <= limit, "{} of {limit}", items.len());
            found.extend(items.iter().map(&name));
            let last = found.last().map(|name| name.to_ascii_lowercase());
            assert!(next.is_none() || next == last, "{next:?} after {last:?}");
            let Some(next) = next else { break };
            after = Some(next);
        }
        assert_eq!(found, expected, "limit {limit}");
    }
}

/// Returns names of mixed case in random order, some of which are prefixes of others.
fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |index| {
        let number = index * 37 % count;
        let prefix = ["dev", "DEV", "Dev-", "dev.", "z"][number % 5];
        format!("{prefix}{number}")
    })
}

/// Returns registrations that belong into neither listing.
fn other_registrations() -> [Change; 3] {
    [
        put_registration(sample::registration("x1")),
        put_registration(sample::registration_of("x2", "line-11")),
        put_registration(sample::registration_of("x3", "line")),
    ]
}

/// The number of records in a listing.
const COUNT: usize = 84;
