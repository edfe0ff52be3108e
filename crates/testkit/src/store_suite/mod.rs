//! The conformance suite of the `Store` port, which every engine must pass.
//!
//! The test of an engine passes [`run`] a function that creates the location of an empty store:
//!
//! ```text
//! #[tokio::test(flavor = "multi_thread")]
//! async fn passes_the_conformance_suite() {
//!     testkit::store_suite::run(|| Arc::new(TemporaryDirectory::new())).await;
//! }
//! ```
//!
//! Each case runs in a location of its own. All cases run, and a final panic names the failed ones.

mod attempts;
mod change_log;
mod cleanups;
mod commits;
mod concurrency;
mod deletion;
mod durability;
mod expectations;
mod groups;
mod guards;
mod handles;
mod instances;
mod isolation;
mod leases;
mod listings;
mod owners;
mod records;
mod search;
mod trust;
mod usage;
mod world;

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use provisioning::ports::Store;
use tokio::task::{self, LocalSet};

use world::World;

/// The location of one store.
#[async_trait]
pub trait StoreLocation: Send + Sync {
    /// Opens the store. It is empty at first, and later must have every acknowledged write. The suite drops a store
    /// before it opens the next one.
    async fn open(&self) -> Arc<dyn Store>;

    /// Opens the same store as two handles that share nothing in memory by which one learns what the other has written.
    async fn open_twice(&self) -> [Arc<dyn Store>; 2];
}

/// Runs all cases; panics with the names of the failed ones.
pub async fn run<L: StoreLocation + 'static>(new_location: impl Fn() -> L) {
    LocalSet::new().run_until(run_here(new_location)).await;
}

async fn run_here<L: StoreLocation + 'static>(new_location: impl Fn() -> L) {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let location: Arc<dyn StoreLocation> = Arc::new(new_location());
        let case = task::spawn_local(async move { case(World::open(location).await).await });
        let outcome = case.await; // an error is a panic of the case, which is printed already
        println!("store suite: {name}: {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed.extend(outcome.is_err().then_some(*name));
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {}", failed.len(), CASES.len(), failed.join(", "));
}

type Case = fn(World) -> Pin<Box<dyn Future<Output = ()>>>;

/// The requirements for a store.
const CASES: &[(&str, Case)] = &[
    ("instances are read as they were written", |w| Box::pin(records::instances(w))),
    ("a replaced instance keeps its records", |w| Box::pin(records::replaced_instance(w))),
    ("an instance is replaced only if it equals the expected one", |w| {
        Box::pin(instances::replaced_as_expected(w))
    }),
    ("one of many replacements of an instance wins", |w| Box::pin(instances::one_replaces(w))),
    ("two instances never have the same host name", |w| Box::pin(records::taken_host(w))),
    ("individual enrollments are read as they were written", |w| Box::pin(records::individuals(w))),
    ("groups are read as they were written", |w| Box::pin(records::groups(w))),
    ("registrations are read as they were written", |w| Box::pin(records::registrations(w))),
    ("the records of a device are read together", |w| Box::pin(records::of_devices(w))),
    ("IDs keep their case and are found in any case", |w| Box::pin(records::letter_case(w))),
    ("absent records are not found", |w| Box::pin(records::absent(w))),
    ("nothing is written for an unknown instance", |w| Box::pin(records::unknown_instance(w))),
    ("changes of individual enrollments obey their precondition", |w| Box::pin(expectations::individuals(w))),
    ("changes of groups obey their precondition", |w| Box::pin(expectations::groups(w))),
    ("changes of registrations obey their precondition", |w| Box::pin(expectations::registrations(w))),
    ("changes of CA certificates obey their precondition", |w| Box::pin(expectations::certificates(w))),
    ("changes of revocation lists obey their precondition", |w| Box::pin(expectations::revocation_lists(w))),
    ("changes of blocks obey their precondition", |w| Box::pin(expectations::blocks(w))),
    ("each change of a commit has its own outcome", |w| Box::pin(commits::outcomes(w))),
    ("later changes of a commit see earlier ones", |w| Box::pin(commits::sequence(w))),
    ("an operation is counted if a change was applied", |w| Box::pin(commits::counting(w))),
    ("a failed guard prevents the whole commit", |w| Box::pin(guards::failed(w))),
    ("a guard demands that a record does not exist", |w| Box::pin(guards::absent(w))),
    ("a guard demands that a snapshot is the newest", |w| Box::pin(guards::snapshots(w))),
    ("a guard is checked in the transaction of its commit", |w| Box::pin(guards::race(w))),
    ("a device at a hub belongs to one registration", |w| Box::pin(owners::one_per_device(w))),
    ("one of many registrations gets a device at a hub", |w| Box::pin(owners::race(w))),
    ("readers see a whole commit or nothing of it", |w| Box::pin(commits::all_or_nothing(w))),
    ("pages of individual enrollments", |w| Box::pin(listings::individuals(w))),
    ("records are counted up to a number", |w| Box::pin(listings::counts(w))),
    ("pages of groups", |w| Box::pin(listings::groups(w))),
    ("pages of registrations of a group", |w| Box::pin(listings::registrations_of(w))),
    ("pages of unfinished registrations", |w| Box::pin(listings::assigning(w))),
    ("pages continue while records are created and deleted", |w| {
        Box::pin(listings::changes_between_pages(w))
    }),
    ("a registration is listed under its current group", |w| Box::pin(listings::changed_group(w))),
    ("registrations by status", |w| Box::pin(listings::statuses(w))),
    ("cleanups are read as they were written", |w| Box::pin(cleanups::records(w))),
    ("pages of cleanups", |w| Box::pin(cleanups::listing(w))),
    ("cleanups that are due at a hub", |w| Box::pin(cleanups::due(w))),
    ("cleanups of another instance", |w| Box::pin(cleanups::isolation(w))),
    ("a change that follows another is applied only with it", |w| Box::pin(cleanups::following(w))),
    ("groups with symmetric keys", |w| Box::pin(groups::symmetric_key(w))),
    ("groups by subject of a signing certificate", |w| Box::pin(groups::signing_as(w))),
    ("groups that name CA certificates", |w| Box::pin(trust::reference_groups(w))),
    ("CA certificates, revocation lists and blocks are read as they were written", |w| {
        Box::pin(trust::records(w))
    }),
    ("CA certificates by subject", |w| Box::pin(trust::of_subject(w))),
    ("the deletion of a CA certificate keeps its revocation lists", |w| Box::pin(trust::deletion(w))),
    ("individual enrollments that expire", |w| Box::pin(trust::expiring(w))),
    ("attempts are read in their instance only", |w| Box::pin(attempts::records(w))),
    ("the newest attempts of a registration ID are kept", |w| Box::pin(attempts::newest_of_one(w))),
    ("the newest attempts of an instance are kept", |w| Box::pin(attempts::newest_of_all(w))),
    ("attempts are read in pages", |w| Box::pin(attempts::pages(w))),
    ("attempts are deleted by their age", |w| Box::pin(attempts::trimmed(w))),
    ("the deletion of an individual enrollment keeps its registration", |w| {
        Box::pin(deletion::of_individual(w))
    }),
    ("the deletion of a group keeps its registrations", |w| Box::pin(deletion::of_group(w))),
    ("the deletion of a registration keeps its enrollment", |w| Box::pin(deletion::of_registration(w))),
    ("no record of an instance is read through another", |w| Box::pin(isolation::reads(w))),
    ("no record of an instance is changed through another", |w| Box::pin(isolation::writes(w))),
    ("every change of a record is logged with who made it", |w| Box::pin(change_log::every_change(w))),
    ("the log names the linked hub that is changed", |w| Box::pin(change_log::linked_hubs(w))),
    ("what changes nothing is not logged", |w| Box::pin(change_log::nothing(w))),
    ("the log is followed without a gap", |w| Box::pin(change_log::followed(w))),
    ("an instance sees its own log only", |w| Box::pin(change_log::isolation(w))),
    ("the log is filtered", |w| Box::pin(change_log::filters(w))),
    ("a position that is not kept any more is refused", |w| Box::pin(change_log::trimmed(w))),
    ("of two writers of a search table one writes", |w| Box::pin(search::one_writer(w))),
    ("nothing uses a search table whose clear was interrupted", |w| Box::pin(search::interrupted_clear(w))),
    ("nothing uses a search table of other settings", |w| Box::pin(search::other_settings(w))),
    ("the search table finds what examining all records finds", |w| {
        Box::pin(search::finds_what_scans_find(w))
    }),
    ("two handles see each other's changes at once", |w| Box::pin(handles::see_each_other(w))),
    ("two handles see each other's instances at once", |w| Box::pin(handles::instances(w))),
    ("of two handles one replaces an instance", |w| Box::pin(handles::one_replaces(w))),
    ("a handle that fell behind the log sees everything", |w| Box::pin(handles::behind_the_log(w))),
    ("a lease has one holder", |w| Box::pin(leases::one_holder(w))),
    ("a renewed lease lasts longer", |w| Box::pin(leases::renewed(w))),
    ("a released lease is free at once", |w| Box::pin(leases::released(w))),
    ("a lease that ended has a new token with its new holder", |w| Box::pin(leases::taken_over(w))),
    ("a fenced commit changes nothing", |w| Box::pin(leases::fenced(w))),
    ("a fenced commit does not affect others", |w| Box::pin(leases::fenced_beside_others(w))),
    ("of two handles one gets a lease", |w| Box::pin(leases::two_handles(w))),
    ("a commit of one handle is fenced by another", |w| Box::pin(leases::fenced_by_another_handle(w))),
    ("usage by day and kind", |w| Box::pin(usage::by_day_and_kind(w))),
    ("concurrent operations are all counted", |w| Box::pin(usage::concurrent(w))),
    ("one of many compare-and-sets wins", |w| Box::pin(concurrency::one_replaces(w))),
    ("one of many creations wins", |w| Box::pin(concurrency::one_creates(w))),
    ("concurrent changes of groups have the same result in memory and on disk", |w| {
        Box::pin(concurrency::group_order(w))
    }),
    ("a canceled commit is applied wholly or not at all", |w| Box::pin(concurrency::canceled(w))),
    ("a reopened store has every acknowledged write", |w| Box::pin(durability::reopened(w))),
];
