//! Revocation lists that are fetched: when they are due, and what becomes of them.

use std::{sync::Arc, time::Duration};

use certpath::Crl;
use model::{CaCertificateDraft, CrlAddresses, HttpUrl, IfMatch, LeaseToken};
use provisioning::{
    Ports, Provisioning,
    ports::{Clock, InstanceWriter, LeaseName, Leases, RunnerId, Unknown},
    trust::{Fetch, Fetching, RevocationChange},
};
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::{
    ca::Authority, clock::SteppedClock, crl::Revocations, entropy::SeededEntropy, hub::FakeHubs, sample,
    webhook::FakeWebhook,
};

/// An instance with one CA, and a lease to fetch its lists under.
struct World {
    provisioning: Provisioning,
    store: EmbeddedStore,
    clock: Arc<SteppedClock>,
    ca: Authority,
    lease: LeaseToken,
    _directory: TempDir,
}

impl World {
    async fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("db"), durable::Sealer::from_key([7; 32]));
        let (store, clock) = (store.unwrap(), Arc::new(SteppedClock::default()));
        store.put_instance(sample::instance("one"), sample::by()).await.unwrap();
        let provisioning = Provisioning::new(Ports {
            store: Arc::new(store.clone()),
            hubs: Arc::new(FakeHubs::new([])),
            webhook: Arc::new(FakeWebhook::default()),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
        });
        let runner = RunnerId::random(&SeededEntropy::new(2));
        let name = LeaseName::Job(model::Job::RevocationLists);
        let lease = store.claim(&name, &runner, Duration::from_secs(60)).await.unwrap().unwrap().token;
        let ca = Authority::root("Root");
        let draft = CaCertificateDraft { certificate: ca.certificate(), is_verified: None };
        let put = (&sample::ca_reference("root"), &draft);
        let instance = sample::instance("one");
        provisioning
            .put_ca_certificate(&instance, &sample::operator(), put, Some(&IfMatch::Any))
            .await
            .unwrap();
        World { provisioning, store, clock, ca, lease, _directory: directory }
    }

    /// Sets the addresses that lists are fetched from; none ends that.
    async fn fetch_from(&self, addresses: &[HttpUrl]) {
        let fetching = match addresses {
            [] => Fetching::Off,
            some => Fetching::From(CrlAddresses::new(some.iter().cloned()).unwrap()),
        };
        let change = RevocationChange { fetching: Some(fetching), ..RevocationChange::default() };
        let (instance, name) = (sample::instance("one"), sample::ca_reference("root"));
        self.provisioning.change_revocation(&instance, &sample::operator(), &name, change).await.unwrap();
    }

    fn list(&self, number: u64) -> Crl {
        Revocations::made_at(number, self.clock.now().plus_seconds(-60)).signed_by(&self.ca)
    }

    /// Returns the addresses from which lists are due.
    async fn due(&self) -> Vec<HttpUrl> {
        let due = self.provisioning.lists_due(&sample::instance("one")).await.unwrap();
        due.into_iter().map(|(_, from)| from).collect()
    }

    /// Takes what was fetched from an address; returns why it is not accepted.
    async fn take(&self, from: &HttpUrl, fetched: Result<Crl, &str>) -> Option<String> {
        let list = (&sample::ca_reference("root"), from.clone());
        let fetched = fetched.map_err(str::to_owned);
        let instance = sample::instance("one");
        self.provisioning.take_fetched_list(&instance, list, fetched, self.lease).await.err()
    }

    async fn last_fetches(&self) -> Vec<Fetch> {
        let (instance, name) = (sample::instance("one"), sample::ca_reference("root"));
        let ca = self.provisioning.ca_certificate(&instance, &name).await.unwrap();
        self.provisioning.last_fetches(&instance, &ca)
    }

    async fn number(&self) -> Option<String> {
        let trust = self.provisioning.trust(&sample::instance("one")).await.unwrap();
        trust.lists_under(&sample::ca_reference("root")).next().and_then(|list| list.crl.number())
    }
}

fn address(text: &str) -> HttpUrl {
    HttpUrl::parse(text).unwrap()
}

#[tokio::test]
async fn lists_are_due_again_after_an_hour_or_five_minutes_and_bad_ones_change_nothing() {
    let world = World::new().await;
    assert_eq!(world.due().await, [], "none is to be fetched");
    let from = address("http://crl.example/root.crl");
    world.fetch_from(std::slice::from_ref(&from)).await;
    assert_eq!(world.due().await, std::slice::from_ref(&from));
    assert_eq!(world.take(&from, Ok(world.list(5))).await, None);
    assert_eq!(world.number().await.as_deref(), Some("05"));
    for (pause, fetched, problem) in [
        (3600, Err("the server answered 404"), "the server answered 404"),
        (300, Ok(world.list(4)), "is older than"),
    ] {
        world.clock.advance(Duration::from_secs(pause - 1));
        assert_eq!(world.due().await, []);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.due().await, std::slice::from_ref(&from));
        assert!(world.take(&from, fetched).await.unwrap().contains(problem), "{problem}");
        assert_eq!(world.number().await.as_deref(), Some("05"));
        let [fetch] = world.last_fetches().await.try_into().unwrap();
        assert!(fetch.problem.as_ref().is_some_and(|shown| shown.contains(problem)), "{fetch:?}");
        assert_eq!((fetch.at, fetch.next()), (world.clock.now(), world.clock.now().plus_seconds(300)));
    }
    assert_eq!(world.take(&from, Ok(world.list(6))).await, None);
    assert_eq!(world.number().await.as_deref(), Some("06"));
    assert_eq!(world.last_fetches().await[0].problem, None);

    world.fetch_from(&[]).await;
    assert_eq!(world.due().await, []);
    assert_eq!(world.last_fetches().await, [], "attempts at addresses that are not configured are forgotten");
}

#[tokio::test]
async fn each_address_of_a_ca_is_due_by_itself_and_a_stale_list_is_reported() {
    let world = World::new().await;
    let [down, up] = ["http://a.example/", "http://b.example/"].map(address);
    world.fetch_from(&[down.clone(), up.clone()]).await;
    let report = async || world.provisioning.trust_report(&sample::instance("one")).await.unwrap();
    assert_eq!(report().await.without_fresh_list, [sample::ca_reference("root")]);
    world.take(&down, Err("down")).await;
    world.take(&up, Ok(world.list(5))).await;
    let fetches = world.last_fetches().await;
    let outcomes: Vec<_> = fetches.iter().map(|fetch| (&fetch.from, fetch.problem.is_some())).collect();
    assert_eq!(outcomes, [(&down, true), (&up, false)]);
    assert_eq!(report().await.without_fresh_list, []);
    world.clock.advance(Duration::from_secs(301));
    assert_eq!(world.due().await, [down]);
    world.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(report().await.without_fresh_list, [sample::ca_reference("root")]);
}

#[tokio::test]
async fn a_list_that_was_fetched_under_a_lost_lease_is_not_stored() {
    let world = World::new().await;
    let from = address("http://crl.example/root.crl");
    world.fetch_from(std::slice::from_ref(&from)).await;
    world.store.release(world.lease).await.unwrap();
    assert!(world.take(&from, Ok(world.list(5))).await.is_some());
    assert_eq!(world.number().await, None);
}
