//! The conformance suite of the `Store` port: what every engine must do, whatever it is made of.
//!
//! An engine's test gives the suite a way to make empty places for stores, and [`run`] does the rest:
//!
//! ```text
//! #[tokio::test(flavor = "multi_thread")]
//! async fn passes_the_conformance_suite() {
//!     testkit::store_suite::run(|| Arc::new(TemporaryDirectory::new())).await;
//! }
//! ```
//!
//! Each case runs on a place of its own. All run; the failed ones are named at the end.

mod attempts;
mod authorities;
mod cleanups;
mod commits;
mod concurrency;
mod deletion;
mod durability;
mod expectations;
mod groups;
mod guards;
mod instances;
mod isolation;
mod listings;
mod places;
mod records;
mod usage;
mod world;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use provisioning::ports::Store;
use tokio::task::{self, LocalSet};

use world::World;

/// Where one store lives.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens the store that lives here: empty the first time, later with all that earlier ones acknowledged. Those
    /// are gone by then: the suite drops its handle before it opens again.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Runs every case; panics with the names of those that failed.
pub async fn run<P: Place + 'static>(new_place: impl Fn() -> P) {
    LocalSet::new().run_until(run_here(new_place)).await;
}

async fn run_here<P: Place + 'static>(new_place: impl Fn() -> P) {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let place: Arc<dyn Place> = Arc::new(new_place());
        let case = task::spawn_local(async move { case(World::open(place).await).await });
        let outcome = case.await; // an error is a panic of the case, printed already
        println!("store suite: {name}: {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed.extend(outcome.is_err().then_some(*name));
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {}", failed.len(), CASES.len(), failed.join(", "));
}

type Case = fn(World) -> Pin<Box<dyn Future<Output = ()>>>;

/// What is demanded of a store.
const CASES: &[(&str, Case)] = &[
    ("instances come back as they were put", |w| Box::pin(records::instances(w))),
    ("an instance is replaced and keeps its records", |w| Box::pin(records::replaced_instance(w))),
    ("an instance is replaced if it is as expected", |w| Box::pin(instances::replaced_as_expected(w))),
    ("one of many replacements of an instance wins", |w| Box::pin(instances::one_replaces(w))),
    ("two instances never share a host name", |w| Box::pin(records::taken_host(w))),
    ("individual enrollments come back as they were put", |w| Box::pin(records::individuals(w))),
    ("groups come back as they were put", |w| Box::pin(records::groups(w))),
    ("registrations come back as they were put", |w| Box::pin(records::registrations(w))),
    ("IDs keep their case and are found without it", |w| Box::pin(records::letter_case(w))),
    ("what is not there is not found", |w| Box::pin(records::absent(w))),
    ("nothing is written for an unknown instance", |w| Box::pin(records::unknown_instance(w))),
    ("an individual enrollment is changed as expected", |w| Box::pin(expectations::individuals(w))),
    ("a group is changed as expected", |w| Box::pin(expectations::groups(w))),
    ("a registration is changed as expected", |w| Box::pin(expectations::registrations(w))),
    ("a CA certificate is changed as expected", |w| Box::pin(expectations::certificates(w))),
    ("a revocation list is changed as expected", |w| Box::pin(expectations::revocation_lists(w))),
    ("a block is changed as expected", |w| Box::pin(expectations::blocks(w))),
    ("each change of a commit stands on its own", |w| Box::pin(commits::outcomes(w))),
    ("later changes of a commit see earlier ones", |w| Box::pin(commits::sequence(w))),
    ("an operation counts if something was done", |w| Box::pin(commits::counting(w))),
    ("a guard that does not hold keeps a whole commit back", |w| Box::pin(guards::hold_back(w))),
    ("a guard is checked in the transaction of its commit", |w| Box::pin(guards::race(w))),
    ("a place at a hub belongs to one registration", |w| Box::pin(places::belong_to_one(w))),
    ("of many registrations one gets a place", |w| Box::pin(places::race(w))),
    ("readers see all of a commit or nothing", |w| Box::pin(commits::all_or_nothing(w))),
    ("pages of individual enrollments", |w| Box::pin(listings::individuals(w))),
    ("pages of groups", |w| Box::pin(listings::groups(w))),
    ("pages of registrations of a group", |w| Box::pin(listings::registrations_of(w))),
    ("pages of registrations being carried out", |w| Box::pin(listings::assigning(w))),
    ("pages go on while records come and go", |w| Box::pin(listings::changes_between_pages(w))),
    ("a registration is listed under its present group", |w| Box::pin(listings::changed_group(w))),
    ("registrations by status", |w| Box::pin(listings::statuses(w))),
    ("clean-ups come back as they were put", |w| Box::pin(cleanups::records(w))),
    ("pages of clean-ups", |w| Box::pin(cleanups::listing(w))),
    ("clean-ups that are due at a hub", |w| Box::pin(cleanups::due(w))),
    ("clean-ups of another instance", |w| Box::pin(cleanups::isolation(w))),
    ("a change that follows another is made with it", |w| Box::pin(cleanups::following(w))),
    ("groups with symmetric keys", |w| Box::pin(groups::symmetric_key(w))),
    ("groups by subject of a signing certificate", |w| Box::pin(groups::signing_as(w))),
    ("groups that name CA certificates", |w| Box::pin(authorities::reference_groups(w))),
    ("CA certificates, revocation lists and blocks come back", |w| Box::pin(authorities::come_back(w))),
    ("CA certificates by subject", |w| Box::pin(authorities::of_subject(w))),
    ("a CA certificate takes its revocation lists along", |w| Box::pin(authorities::deletion(w))),
    ("individual enrollments that expire", |w| Box::pin(authorities::expiring(w))),
    ("attempts come back, each to its instance", |w| Box::pin(attempts::come_back(w))),
    ("of one name the newest attempts are kept", |w| Box::pin(attempts::of_one_the_newest(w))),
    ("in all the newest attempts are kept", |w| Box::pin(attempts::in_all_the_newest(w))),
    ("an individual enrollment takes its registration along", |w| Box::pin(deletion::of_individual(w))),
    ("a group leaves its registrations behind", |w| Box::pin(deletion::of_group(w))),
    ("a registration goes alone", |w| Box::pin(deletion::of_registration(w))),
    ("nothing of an instance shows through another", |w| Box::pin(isolation::reads(w))),
    ("nothing of an instance is changed through another", |w| Box::pin(isolation::writes(w))),
    ("usage by day and kind", |w| Box::pin(usage::by_day_and_kind(w))),
    ("usage without a gap under concurrency", |w| Box::pin(usage::concurrent(w))),
    ("one of many compare-and-sets wins", |w| Box::pin(concurrency::one_replaces(w))),
    ("one of many creations wins", |w| Box::pin(concurrency::one_creates(w))),
    ("concurrent group changes end the same in memory and on disk", |w| {
        Box::pin(concurrency::group_order(w))
    }),
    ("a caller that goes away leaves no half", |w| Box::pin(concurrency::abandoned(w))),
    ("a store that is opened again has everything", |w| Box::pin(durability::reopened(w))),
];
