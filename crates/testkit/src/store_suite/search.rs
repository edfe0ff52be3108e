//! The search table: it follows the change log, and finds what examining all records finds.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    Assignment, AttestedBy, DeviceIdPrefix, EnrollmentSearch, Failure, FailureReason, IdPrefix, IdScope,
    IndividualEnrollment, InitialTwin, Period, ProvisioningStatus, Registration, RegistrationSearch,
    SearchProgress, SearchTerm, SearchedKind, Status, StatusKind, Substatus, TagCondition, Timestamp,
};
use provisioning::{
    Ports, Provisioning,
    ports::{
        Change, LogRetention, PageRequest, SearchRecord, SearchState, SearchUpdate, TermPosition, TermRange,
        Unknown,
    },
    resource::Portion,
    search::{SearchMethod, SearchSettings},
};
use serde_json::json;

use super::world::{World, put_individual, put_registration};
use crate::{
    clock::SteppedClock,
    entropy::SeededEntropy,
    hub::FakeHubs,
    sample::{self, individual, registration, registration_of},
    webhook::FakeWebhook,
};

/// Random searches after each round of changes.
const SEARCHES: usize = 40;

/// IDs of records.
const IDS: usize = 30;

/// A sequence of numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// Returns something in one of three cases.
    fn maybe<T>(&mut self, make: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        (self.below(3) == 0).then(|| make(self))
    }

    fn time(&mut self) -> Timestamp {
        Timestamp::from_unix_seconds(1_790_000_000 + 60 * self.below(20) as i64)
    }

    fn period(&mut self) -> Period {
        Period { since: self.maybe(Dice::time), until: self.maybe(Dice::time) }
    }
}

const HUBS: [&str; 3] = ["a.hub", "b.hub", "c.hub"];

fn random_registration(dice: &mut Dice, id: &str) -> Registration {
    let mut record = match dice.maybe(|dice| dice.one_of(&["line-1", "Line-2"])) {
        Some(group) => registration_of(id, group),
        None => registration(id),
    };
    let hub = sample::hub_name(dice.one_of(&HUBS).to_owned().as_str());
    let substatus = dice.one_of(&Substatus::ALL);
    let at = Assignment { hub, substatus, ..sample::assignment(id) };
    record.status = match dice.below(4) {
        0 => {
            let reason = dice.one_of(&[FailureReason::HubFull, FailureReason::NoHub]);
            Status::Failed { failure: Failure { reason, message: "no".to_owned() }, current: None }
        }
        1 => Status::Disabled { current: Some(at) },
        _ => Status::Assigned(at),
    };
    (record.record.created, record.record.last_updated) = (dice.time(), dice.time());
    record
}

fn random_individual(dice: &mut Dice, id: &str) -> IndividualEnrollment {
    let mut enrollment = individual(id);
    enrollment.settings.hubs = dice.maybe(|dice| sample::hub_name(dice.one_of(&HUBS))).into_iter().collect();
    enrollment.settings.provisioning_status = dice.one_of(&ProvisioningStatus::ALL);
    let site = dice.one_of(&["north", "south"]);
    let tags = json!({"site": site, "floors": [dice.below(3), dice.below(3)]});
    let tags = tags.as_object().cloned().map(Into::into);
    enrollment.settings.initial_twin = dice.maybe(|_| InitialTwin { tags, desired: None });
    (enrollment.record.created, enrollment.record.last_updated) = (dice.time(), dice.time());
    enrollment
}

fn registration_search(dice: &mut Dice) -> RegistrationSearch {
    RegistrationSearch {
        prefix: dice.maybe(|dice| IdPrefix::parse(dice.one_of(&["dev", "dev-1", "dev-2", "x"])).unwrap()),
        device: dice.maybe(|dice| DeviceIdPrefix::parse(dice.one_of(&["DEV", "dev-1", "y"])).unwrap()),
        group: dice.maybe(|dice| sample::group_id(dice.one_of(&["line-1", "line-2"]))),
        hub: dice.maybe(|dice| sample::hub_name(dice.one_of(&HUBS))),
        status: dice.maybe(|dice| dice.one_of(&StatusKind::ALL)),
        substatus: dice.maybe(|dice| dice.one_of(&Substatus::ALL)),
        mechanism: dice.maybe(|dice| dice.one_of(&AttestedBy::ALL)),
        key: None,
        failures: dice.maybe(|_| vec![FailureReason::NoHub, FailureReason::HubFull]),
        created: dice.period(),
        updated: dice.period(),
    }
}

fn enrollment_search(dice: &mut Dice) -> EnrollmentSearch {
    EnrollmentSearch {
        prefix: dice.maybe(|dice| IdPrefix::parse(dice.one_of(&["dev", "dev-1", "dev-2", "x"])).unwrap()),
        device: dice.maybe(|dice| DeviceIdPrefix::parse(dice.one_of(&["DEV", "dev-1", "y"])).unwrap()),
        hub: dice.maybe(|dice| sample::hub_name(dice.one_of(&HUBS))),
        status: dice.maybe(|dice| dice.one_of(&ProvisioningStatus::ALL)),
        mechanism: dice.maybe(|dice| dice.one_of(&AttestedBy::ALL)),
        tag: dice.maybe(|dice| TagCondition::parse(dice.one_of(&["site=north", "floors=2"])).unwrap()),
        created: dice.period(),
        updated: dice.period(),
    }
}

/// Two services on a store, one of which uses the search table.
struct Searching<'a> {
    world: &'a World,
    by_table: Provisioning,
    by_scan: Provisioning,
}

fn provisioning(world: &World, settings: Option<SearchSettings>) -> Provisioning {
    let ports = Ports {
        store: Arc::clone(&world.store),
        hubs: Arc::new(FakeHubs::new([])),
        webhook: Arc::new(FakeWebhook::default()),
        topology: Arc::new(Unknown),
        clock: Arc::new(SteppedClock::default()),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    Provisioning::new(ports).searching(settings)
}

impl Searching<'_> {
    fn new(world: &World, with_tags: bool) -> Searching<'_> {
        let by_table = provisioning(world, Some(SearchSettings { with_tags }));
        Searching { world, by_table, by_scan: provisioning(world, None) }
    }

    async fn catch_up(&self) {
        while self.by_table.follow_changes(&self.world.scope).await.unwrap() == Portion::More {}
    }

    async fn registrations(
        &self,
        by: &Provisioning,
        search: &RegistrationSearch,
        limit: usize,
    ) -> (BTreeSet<String>, bool) {
        let instance = self.world.store.instance(&self.world.scope).await.unwrap().unwrap();
        let (mut found, mut after, mut is_by_table) = (BTreeSet::new(), None, false);
        loop {
            let listed =
                by.list_registrations(&instance, search, PageRequest { after, limit }).await.unwrap();
            is_by_table |= matches!(listed.method, SearchMethod::Table(_));
            for item in &listed.page.items {
                assert!(found.insert(item.registration_id.to_string()), "{search:?} finds one twice");
            }
            after = listed.page.next;
            if after.is_none() {
                return (found, is_by_table);
            }
        }
    }

    async fn individuals(
        &self,
        by: &Provisioning,
        search: &EnrollmentSearch,
        limit: usize,
    ) -> (BTreeSet<String>, bool) {
        let instance = self.world.store.instance(&self.world.scope).await.unwrap().unwrap();
        let (mut found, mut after, mut is_by_table) = (BTreeSet::new(), None, false);
        loop {
            let page = PageRequest { after, limit };
            let listed = by.list_enrollments::<IndividualEnrollment>(&instance, search, page).await.unwrap();
            is_by_table |= matches!(listed.method, SearchMethod::Table(_));
            for item in &listed.page.items {
                assert!(found.insert(item.registration_id.to_string()), "{search:?} finds one twice");
            }
            after = listed.page.next;
            if after.is_none() {
                return (found, is_by_table);
            }
        }
    }

    /// Returns how many of the searches used the table.
    async fn compare(&self, dice: &mut Dice) -> usize {
        let mut by_table = 0;
        let instance = self.world.store.instance(&self.world.scope).await.unwrap().unwrap();
        for _ in 0..SEARCHES {
            let (search, limit) = (registration_search(dice), 1 + dice.below(7));
            let (found, used) = self.registrations(&self.by_table, &search, limit).await;
            assert_eq!(found, self.registrations(&self.by_scan, &search, limit).await.0, "{search:?}");
            let counted = self.by_table.count_registrations(&instance, &search, None).await.unwrap();
            assert_eq!((counted.count, counted.next), (found.len(), None), "{search:?}");
            by_table += usize::from(used);
            let search = enrollment_search(dice);
            let (found, used) = self.individuals(&self.by_table, &search, limit).await;
            assert_eq!(found, self.individuals(&self.by_scan, &search, limit).await.0, "{search:?}");
            by_table += usize::from(used);
        }
        by_table
    }

    async fn change_some(&self, dice: &mut Dice) {
        for _ in 0..IDS {
            let id = format!("{}-{}", dice.one_of(&["dev", "Dev"]), dice.below(IDS));
            let change = match dice.below(6) {
                0 => Change::DeleteRegistration(sample::registration_id(&id)),
                1 => Change::DeleteIndividual(sample::registration_id(&id)),
                2 | 3 => put_individual(random_individual(dice, &id)),
                _ => put_registration(random_registration(dice, &id)),
            };
            self.world.commit(vec![(provisioning::ports::Expect::Anything, change)]).await;
        }
    }
}

/// After the table has caught up, searches by it find what examining all records finds: when it is built, when it follows, and
/// when the log was trimmed beyond it.
pub(super) async fn finds_what_scans_find(world: World) {
    let mut dice = Dice(7);
    for with_tags in [false, true] {
        let searching = Searching::new(&world, with_tags);
        let mut by_table = 0;
        for round in 0..4 {
            searching.change_some(&mut dice).await;
            if round == 2 {
                let keep = LogRetention { since: Timestamp::from_unix_seconds(0), rows: 1 };
                while searching.world.store.trim_log(keep).await.unwrap() {}
            }
            searching.catch_up().await;
            by_table += searching.compare(&mut dice).await;
        }
        assert!(by_table > 4 * SEARCHES, "{by_table} searches used the table");
    }
    // Tags stand in the table only on request, and nothing does once it is off.
    let text = |text: &str| SearchTerm::from_text(text.to_owned());
    let tags = TermRange::new(SearchedKind::Enrollment, &(text("tag.")..=text("tag/")), None);
    let count = async || world.store.count_terms(&world.scope, &tags, 100).await.unwrap();
    assert!(count().await > 0);
    Searching::new(&world, false).catch_up().await;
    assert_eq!(count().await, 0);
    let off = provisioning(&world, None);
    while off.follow_changes(&world.scope).await.unwrap() == Portion::More {}
    assert_eq!(world.store.search_state(&world.scope).await.unwrap(), SearchState::Absent);
}

/// A clear that ends after its first portion leaves nothing that a search uses, or that is followed: the table is cleared to
/// the end and built anew, also under the settings of before.
pub(super) async fn interrupted_clear(world: World) {
    let mut dice = Dice(11);
    let searching = Searching::new(&world, false);
    searching.change_some(&mut dice).await;
    searching.catch_up().await;
    assert!(searching.compare(&mut dice).await > SEARCHES);
    // More than is cleared at once, after the terms of the records.
    let progress = world.store.search_state(&world.scope).await.unwrap().progress().unwrap();
    let terms: Vec<_> = (0..100).map(|at| format!("zz={at}")).collect();
    let terms: Vec<_> = terms.iter().map(String::as_str).collect();
    let records = (0..60).map(|at| record(&format!("none-{at}"), &terms)).collect();
    let update = SearchUpdate { next: progress.clone(), records };
    assert!(world.store.update_search(&world.scope, Some(&progress), update).await.unwrap());
    let with_tags = provisioning(&world, Some(SearchSettings { with_tags: true }));
    assert_eq!(with_tags.follow_changes(&world.scope).await.unwrap(), Portion::More);
    assert_eq!(world.store.search_state(&world.scope).await.unwrap().progress(), None);
    assert_eq!(searching.compare(&mut dice).await, 0, "searches use what is left");
    let stale = SearchUpdate { next: progress.clone(), records: Vec::new() };
    assert!(!world.store.update_search(&world.scope, Some(&progress), stale).await.unwrap());
    searching.catch_up().await;
    assert!(searching.compare(&mut dice).await > SEARCHES);
    let none = SearchTerm::from_text("zz=".to_owned())..=SearchTerm::from_text("zz>".to_owned());
    let none = TermRange::new(SearchedKind::Registration, &none, None);
    assert_eq!(world.store.count_terms(&world.scope, &none, 1).await.unwrap(), 0);
}

/// Tables are not used under other settings than those that they are of.
pub(super) async fn other_settings(world: World) {
    let mut dice = Dice(13);
    let searching = Searching::new(&world, false);
    searching.change_some(&mut dice).await;
    searching.catch_up().await;
    assert!(searching.compare(&mut dice).await > SEARCHES);
    assert_eq!(Searching::new(&world, true).compare(&mut dice).await, 0);
}

fn everything(kind: SearchedKind) -> TermRange {
    let text = |text: &str| SearchTerm::from_text(text.to_owned());
    TermRange::new(kind, &(text("a")..=text("z")), None)
}

fn record(id: &str, terms: &[&str]) -> SearchRecord {
    let terms = terms.iter().map(|term| SearchTerm::from_text((*term).to_owned())).collect();
    SearchRecord { kind: SearchedKind::Registration, id: id.to_owned(), terms }
}

async fn found(world: &World, scope: &IdScope, range: &TermRange, at_most: usize) -> Vec<(String, String)> {
    let found = world.store.terms(scope, range, at_most).await.unwrap();
    found.into_iter().map(|it| (it.position.term.as_str().to_owned(), it.position.id)).collect()
}

/// Of two writers with the same progress one writes, whichever instance has what rows.
pub(super) async fn one_writer(world: World) {
    let other = sample::scope("two");
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let progress = |at: u64| {
        let position = format!("1-{at:x}").parse().unwrap();
        SearchProgress { position, building: None, has_tags: false }
    };
    let update = |at: u64, records: Vec<SearchRecord>| SearchUpdate { next: progress(at), records };
    let write = async |scope: &IdScope, expected: Option<u64>, update: SearchUpdate| {
        let expected = expected.map(progress);
        world.store.update_search(scope, expected.as_ref(), update).await.unwrap()
    };
    let first = vec![record("a", &["hub=x", "status=on"]), record("b", &["hub=x", "hub=y"])];
    assert!(write(&world.scope, None, update(1, first)).await);
    assert!(!write(&world.scope, None, update(2, vec![record("a", &["hub=z"])])).await);
    assert!(!write(&world.scope, Some(2), update(3, vec![record("a", &["hub=z"])])).await);
    assert!(write(&other, None, update(1, vec![record("a", &["hub=other"])])).await);
    assert!(
        write(
            &world.scope,
            Some(1),
            update(2, vec![record("a", &["hub=y", "status=on"]), record("c", &["hub=y"])])
        )
        .await
    );
    let all = everything(SearchedKind::Registration);
    let pairs = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
        expected.iter().map(|(term, id)| ((*term).to_owned(), (*id).to_owned())).collect()
    };
    let expected =
        pairs(&[("hub=x", "b"), ("hub=y", "a"), ("hub=y", "b"), ("hub=y", "c"), ("status=on", "a")]);
    assert_eq!(found(&world, &world.scope, &all, 100).await, expected);
    assert_eq!(found(&world, &world.scope, &all, 2).await, expected[..2]);
    assert_eq!(world.store.count_terms(&world.scope, &all, 100).await.unwrap(), 5);
    assert_eq!(world.store.count_terms(&world.scope, &all, 3).await.unwrap(), 3);
    let after = TermPosition { term: SearchTerm::from_text("hub=y".to_owned()), id: "a".to_owned() };
    let rest = all.clone().rest(after).unwrap();
    assert_eq!(found(&world, &world.scope, &rest, 100).await, expected[2..]);
    assert_eq!(world.store.count_terms(&world.scope, &rest, 100).await.unwrap(), 3);
    let one = SearchTerm::from_text("hub=y".to_owned());
    let prefix = IdPrefix::parse("b").unwrap();
    let begun = TermRange::new(SearchedKind::Registration, &(one.clone()..=one.clone()), Some(&prefix));
    assert_eq!(found(&world, &world.scope, &begun, 100).await, expected[2..3]);
    assert_eq!(world.store.count_terms(&world.scope, &begun, 100).await.unwrap(), 1);
    let only = TermRange::new(SearchedKind::Registration, &(one.clone()..=one), None);
    let listed = world.store.terms(&world.scope, &only, 100).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.position.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(listed[0].terms, record("a", &["hub=y", "status=on"]).terms);
    assert_eq!(found(&world, &world.scope, &everything(SearchedKind::Enrollment), 100).await, []);
    // A record without terms is gone; the other instance keeps its own.
    assert!(write(&world.scope, Some(2), update(3, vec![record("b", &[])])).await);
    assert_eq!(world.store.count_terms(&world.scope, &all, 100).await.unwrap(), 3);
    while world.store.clear_search(&world.scope).await.unwrap() {}
    assert_eq!(found(&world, &world.scope, &all, 100).await, []);
    assert_eq!(world.store.search_state(&world.scope).await.unwrap(), SearchState::Absent);
    assert_eq!(found(&world, &other, &all, 100).await, pairs(&[("hub=other", "a")]));
    assert_eq!(world.store.search_state(&other).await.unwrap(), SearchState::Kept(progress(1)));
}
