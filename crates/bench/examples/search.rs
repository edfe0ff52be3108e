//! The time of a page of a search: `cargo run --release -p bench --example search [-- REGISTRATIONS]`.
//!
//! Fills a new store beside the program with this many registrations (1,000,000 by default), has the job fill the search table,
//! and prints the median and the longest of pages of 100 registrations by the table, in milliseconds and as a multiple of the
//! median time of a lookup by ID in the same run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use durable::Sealer;
use model::{
    Assignment, DeviceIdPrefix, Failure, FailureReason, IdPrefix, Instance as ServiceInstance, Period,
    Registration, RegistrationId, RegistrationSearch, Status, StatusKind, Substatus, Timestamp,
};
use provisioning::{
    Ports, Provisioning,
    ports::{Change, Commit, Commits, Expect, InstanceWriter, PageRequest, Registrations, Store, Unknown},
    resource::Portion,
    search::{SearchMethod, SearchSettings},
};
use store::{EmbeddedStore, SystemClock};
use testkit::{entropy::SeededEntropy, hub::FakeHubs, sample, webhook::FakeWebhook};

/// Registrations of a commit.
const AT_ONCE: usize = 500;

/// Pages and lookups whose median is printed.
const SAMPLES: usize = 25;

/// Items of a page.
const PAGE: usize = 100;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let program = std::env::current_exe()?;
    // The temporary directory may be in memory, where fsync is free.
    let directory = tempfile::tempdir_in(program.parent().context("the program has no directory")?)?;
    let store = EmbeddedStore::open(&directory.path().join("store.db"), Sealer::from_key([7; 32]))?;
    store.put_instance(sample::instance("one"), sample::by()).await?;
    let began = Instant::now();
    fill(&store, count).await?;
    println!("{count} registrations written in {:.0} s", began.elapsed().as_secs_f64());
    let provisioning = provisioning(Arc::new(store.clone()));
    let scope = sample::scope("one");
    let began = Instant::now();
    while provisioning.follow_changes(&scope).await? == Portion::More {}
    let micros = began.elapsed().as_micros() as f64 / count as f64;
    println!("search table filled in {:.0} s, {micros:.0} µs for each", began.elapsed().as_secs_f64());
    let bytes = std::fs::metadata(directory.path().join("store.db"))?.len();
    println!("{:.0} bytes in the file for each registration", bytes as f64 / count as f64);
    let lookup = lookup(&store, count).await?;
    println!("lookup by ID: {:.0} µs", lookup.as_secs_f64() * 1e6);
    let instance = provisioning.instance(&scope).await?.context("no instance")?;
    for (name, search) in searches(count) {
        measure(&provisioning, &instance, (name, &search), lookup).await?;
    }
    Ok(())
}

fn provisioning(store: Arc<dyn Store>) -> Provisioning {
    let ports = Ports {
        store,
        hubs: Arc::new(FakeHubs::new([])),
        webhook: Arc::new(FakeWebhook::default()),
        topology: Arc::new(Unknown),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    Provisioning::new(ports).searching(Some(SearchSettings::default()))
}

async fn fill(store: &EmbeddedStore, count: usize) -> anyhow::Result<()> {
    let scope = sample::scope("one");
    for first in (0..count).step_by(AT_ONCE) {
        let numbers = first..count.min(first + AT_ONCE);
        let changes = numbers.map(|at| (Expect::Absent, Change::PutRegistration(Box::new(registration(at)))));
        let commit = Commit { changes: changes.collect(), ..Commit::by(sample::by()) };
        store.commit(&scope, commit).await?;
    }
    Ok(())
}

fn id(at: usize) -> String {
    format!("dev-{:016x}", (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Returns a registration: at one of four hubs, one in ten moved, one in a thousand failed, in one of a hundred groups.
fn registration(at: usize) -> Registration {
    let id = id(at);
    let mut registration = sample::registration_of(&id, &format!("line-{}", at % 100));
    let substatus =
        if at.is_multiple_of(10) { Substatus::DeviceDataMigrated } else { Substatus::InitialAssignment };
    let hub = sample::hub_name(&format!("hub-{}.example", at % 4));
    registration.status = match at % 1000 {
        999 => {
            let failure = Failure { reason: FailureReason::HubFull, message: "full".to_owned() };
            Status::Failed { failure, current: None }
        }
        _ => Status::Assigned(Assignment { hub, substatus, ..sample::assignment(&id) }),
    };
    registration.record.last_updated = time(at);
    registration
}

fn time(at: usize) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + at as i64)
}

fn searches(count: usize) -> Vec<(&'static str, RegistrationSearch)> {
    let all = RegistrationSearch::default;
    let hub = Some(sample::hub_name("hub-1.example"));
    let last = Period { since: Some(time(count - count / 100)), until: None };
    vec![
        ("hub", RegistrationSearch { hub: hub.clone(), ..all() }),
        ("status assigned", RegistrationSearch { status: Some(StatusKind::Assigned), ..all() }),
        ("substatus", RegistrationSearch { substatus: Some(Substatus::DeviceDataMigrated), ..all() }),
        ("error code", RegistrationSearch { failures: Some(vec![FailureReason::HubFull]), ..all() }),
        ("device ID prefix", RegistrationSearch { device: DeviceIdPrefix::parse("dev-0"), ..all() }),
        ("changed in the last hundredth", RegistrationSearch { updated: last, ..all() }),
        (
            "hub and group",
            RegistrationSearch { hub: hub.clone(), group: Some(sample::group_id("line-1")), ..all() },
        ),
        (
            "hub and ID prefix",
            RegistrationSearch { hub: hub.clone(), prefix: IdPrefix::parse("dev-7"), ..all() },
        ),
        (
            "hub and substatus, which never meet",
            RegistrationSearch { hub, substatus: Some(Substatus::DeviceDataMigrated), ..all() },
        ),
    ]
}

/// Returns the median time of reading a registration by its ID.
async fn lookup(store: &EmbeddedStore, count: usize) -> anyhow::Result<Duration> {
    let (scope, mut times) = (sample::scope("one"), Vec::new());
    for at in 0..SAMPLES * 40 {
        let id = RegistrationId::parse(id(at * 7919 % count))?;
        let began = Instant::now();
        store.registration(&scope, &id).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Prints the times of pages, one after the other, and what was found.
async fn measure(
    provisioning: &Provisioning,
    instance: &ServiceInstance,
    (name, search): (&str, &RegistrationSearch),
    lookup: Duration,
) -> anyhow::Result<()> {
    let (mut times, mut after, mut found) = (Vec::new(), None, 0);
    for _ in 0..SAMPLES {
        let began = Instant::now();
        let listed =
            provisioning.list_registrations(instance, search, PageRequest { after, limit: PAGE }).await?;
        times.push(began.elapsed());
        anyhow::ensure!(matches!(listed.method, SearchMethod::Table(_)), "{name} did not use the table");
        found += listed.page.items.len();
        after = listed.page.next;
        if after.is_none() {
            break;
        }
    }
    let began = Instant::now();
    let (mut count, mut requests, mut next) = (0, 0, None);
    loop {
        let counted = provisioning.count_registrations(instance, search, next).await?;
        (count, requests, next) = (count + counted.count, requests + 1, counted.next);
        if next.is_none() {
            break;
        }
    }
    let counting = began.elapsed();
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    let ratio = median.as_secs_f64() / lookup.as_secs_f64();
    println!(
        "{name}: {:.1} ms, {ratio:.0} lookups; longest {:.1} ms; {found} found on {} pages; {count} counted in {:.1} s by {requests} requests",
        median.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
        times.len(),
        counting.as_secs_f64(),
    );
    Ok(())
}
