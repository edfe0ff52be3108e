//! The jobs, which one of two runners does.

use std::{collections::BTreeSet, time::Duration};

use model::{CaCertificateDraft, CrlAddresses, HttpUrl, IfMatch, LogEntry, RefusalReason};
use provisioning::{
    ports::{Change, ChangeLog, Clock, Commit, Commits, Expect, LogLimits, LogQuery},
    register::EarlyRefusal,
    trust::{Fetching, RevocationChange},
};
use runner::ExpiringCount;
use testkit::{
    ca::{Authority, Profile},
    crl::Revocations,
    sample,
};
use tokio::time::sleep;

use crate::world::{Process, SCOPE, World, reach};

const DAY: i64 = 86_400;

impl World {
    /// Adds a CA whose lists are fetched from these addresses.
    async fn put_ca(&self, ca: &Authority, addresses: &[HttpUrl]) {
        let (instance, name) = (self.instance().await, sample::ca_reference("root"));
        let draft = CaCertificateDraft { certificate: ca.certificate(), is_verified: None };
        let (by, verbs) = (sample::operator(), self.verbs(0));
        verbs.put_ca_certificate(&instance, &by, (&name, &draft), Some(&IfMatch::Any)).await.unwrap();
        let fetching = Some(Fetching::From(CrlAddresses::new(addresses.iter().cloned()).unwrap()));
        let change = RevocationChange { fetching, ..RevocationChange::default() };
        verbs.change_revocation(&instance, &by, &name, change).await.unwrap();
    }

    /// Publishes a list of a CA at an address.
    fn publish(&self, ca: &Authority, address: &HttpUrl) {
        let made = Revocations::made_at(5, self.clock.now().plus_seconds(-60));
        self.lists.publish(address, made.signed_by(ca));
    }

    async fn log(&self) -> Vec<LogEntry> {
        let query = LogQuery { limit: 1000, ..LogQuery::default() };
        self.store.read_log(&sample::scope(SCOPE), query).await.unwrap().entries
    }
}

impl Process {
    async fn has_list(&self) -> bool {
        let trust = self.provisioning.trust(&sample::instance(SCOPE)).await.unwrap();
        trust.lists_under(&sample::ca_reference("root")).next().is_some()
    }

    fn expiring(&self) -> Option<ExpiringCount> {
        self.runner.expiring_certificates().of(&sample::scope(SCOPE))
    }
}

fn address(text: &str) -> HttpUrl {
    HttpUrl::parse(text).unwrap()
}

/// Starts a process in a world with a CA whose list is published.
async fn with_published_list() -> (World, Process) {
    let world = World::new().await;
    let root = Authority::root("Root");
    let published = address("http://crl.example/root.crl");
    world.publish(&root, &published);
    world.put_ca(&root, &[published]).await;
    let one = world.start(1).await;
    reach(async || one.has_list().await).await;
    (world, one)
}

#[tokio::test]
async fn one_runner_fetches_revocation_lists_and_another_takes_over_when_it_stops() {
    let (world, one) = with_published_list().await;
    let two = world.start(2).await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.lists.fetches().len(), 1, "only one of them fetches");
    assert!(two.has_list().await);
    world.clock.advance(Duration::from_secs(3600));
    one.ended.cancel();
    reach(async || world.lists.fetches().len() == 2).await;
}

#[tokio::test]
async fn another_runner_fetches_revocation_lists_once_the_first_one_is_lost() {
    let (world, mut one) = with_published_list().await;
    let two = world.start(2).await;
    one.kill().await;
    // Its leases end, and the list is due again.
    world.clock.advance(Duration::from_secs(3600));
    reach(async || world.lists.fetches().len() == 2).await;
    assert!(two.has_list().await);
}

#[tokio::test]
async fn a_server_that_hangs_delays_no_list_from_another() {
    let world = World::new().await;
    let root = Authority::root("Root");
    let [hangs, serves] = ["http://a.example/1", "http://b.example/2"].map(address);
    world.lists.hang(&hangs);
    world.publish(&root, &serves);
    world.put_ca(&root, &[hangs.clone(), serves]).await;
    let one = world.start(1).await;
    reach(async || one.has_list().await).await;
    let instance = world.instance().await;
    let ca = one.provisioning.ca_certificate(&instance, &sample::ca_reference("root")).await.unwrap();
    let fetched = one.provisioning.last_fetches(&instance, &ca);
    assert!(fetched.iter().all(|fetch| fetch.from != hangs), "it is still being fetched");
}

#[tokio::test]
async fn servers_that_are_asked_at_once_are_bounded() {
    let world = World::new().await;
    let servers: Vec<_> = (0..6).map(|number| address(&format!("http://crl{number}.example/"))).collect();
    servers.iter().for_each(|server| world.lists.hang(server));
    world.put_ca(&Authority::root("Root"), &servers).await;
    let _one = world.start(1).await;
    reach(async || world.lists.fetches().len() >= 4).await;
    sleep(Duration::from_millis(300)).await;
    let asked: BTreeSet<_> = world.lists.fetches().into_iter().collect();
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn the_runner_that_watches_expiry_has_the_counts() {
    let world = World::new().await;
    let now = world.clock.now();
    let not_after = now.plus_seconds(10 * DAY);
    let root = Authority::self_signed(&Profile { not_after, ..Profile::ca("soon") });
    world.put_ca(&root, &[address("http://crl.example/root.crl")]).await;
    let one = world.start(1).await;
    let expected = Some(ExpiringCount { ca: 1, ..ExpiringCount::default() });
    reach(async || one.expiring() == expected).await;
    let two = world.start(2).await;
    sleep(Duration::from_millis(1000)).await;
    assert_eq!(two.expiring(), None, "the first one checks");
    one.ended.cancel();
    reach(async || two.expiring() == expected).await;
    assert_eq!(one.expiring(), None);
}

/// Logs a change of each of these ages in days, and returns the ages that the job leaves.
async fn kept_of(ages: &[i64], change_log: LogLimits) -> Vec<i64> {
    let mut world = World::new().await;
    world.change_log = change_log;
    let now = world.clock.now();
    for (number, age) in ages.iter().enumerate() {
        let by = model::Attribution { at: now.plus_seconds(-DAY * age - 60), ..sample::by() };
        let group = sample::group(&format!("line-{number}"));
        let changes = vec![(Expect::Absent, Change::PutGroup(Box::new(group)))];
        world.store.commit(&sample::scope(SCOPE), Commit { changes, ..Commit::by(by) }).await.unwrap();
    }
    let before = world.log().await.len();
    let _one = world.start(1).await;
    reach(async || world.log().await.len() < before).await;
    let age = |entry: LogEntry| (now.unix_seconds() - entry.attribution.at.unix_seconds()) / DAY;
    world.log().await.into_iter().map(age).collect()
}

#[tokio::test]
async fn entries_of_the_change_log_are_kept_as_long_as_the_limits_say() {
    let ages = [9, 8, 7, 6, 2, 1, 0];
    assert_eq!(kept_of(&ages, LogLimits { days: 7, rows: 1000 }).await, [6, 2, 1, 0]);
    assert_eq!(kept_of(&ages, LogLimits { days: 30, rows: 3 }).await, [2, 1, 0]);
    assert_eq!(kept_of(&[9, 9, 8], LogLimits { days: 1, rows: 5 }).await, [8], "the newest is always kept");
}

#[tokio::test]
async fn a_refusal_at_one_process_shows_at_another() {
    let world = World::new().await;
    let (one, two) = (world.start(1).await, world.start(2).await);
    let (instance, id) = (world.instance().await, sample::registration_id("dev-9"));
    let refusal = EarlyRefusal {
        registration_id: id.clone(),
        address: None,
        certificates: [].into(),
        code: RefusalReason::NoCertificate,
        reason: "no certificate".into(),
    };
    one.provisioning.buffer_early_refusal(&instance.id_scope, refusal).await.unwrap();
    let shown = async || two.provisioning.attempts(&instance, &id).await.unwrap().items.len();
    reach(async || shown().await == 1).await;
}
