//! Measures nodes on PostgreSQL: against the embedded store, by registrations in flight, by number of enrollments, and one node
//! against two. The main figures are CPU times, of the nodes and of the database, over kept HTTPS connections.

mod cluster;
mod database;
mod tables;
mod traffic;

use std::time::{Duration, Instant};

use fleet::Device;
use testkit::node::ID_SCOPE;

use self::{
    cluster::{Cluster, CpuCost},
    database::Database,
    traffic::{Relay, Traffic},
};
use crate::{
    fill,
    load::{ConnectedDevices, Kind, Size, first_and_again},
    median,
};

/// The registrations in flight of most measurements.
const IN_FLIGHT: usize = 128;

/// The registrations in flight by which the cost of the database is measured.
const LEVELS: [usize; 5] = [1, 8, 64, IN_FLIGHT, 512];

/// Turns of what is compared with each other, in alternation, so that other work on the machine affects all. The medians count.
const TURNS: usize = 3;

/// How long a node without devices is observed.
const IDLE: Duration = Duration::from_secs(3);

/// The costs of first registrations, and of later ones without changes.
type FirstAndAgain = [CpuCost; 2];

/// The same devices with both stores.
struct Engines {
    kind: Kind,
    embedded: FirstAndAgain,
    shared: FirstAndAgain,
}

/// What one registration takes of the database, beside CPU.
#[derive(Clone, Copy)]
struct Usage {
    traffic: Traffic,
    rows: f64,
    bytes: f64,
    wal: f64,
}

/// Measures and prints everything, or the parts whose name contains `only`.
pub async fn measure(size: Size, enrollments: &[usize], only: Option<&str>) -> anyhow::Result<()> {
    let size = Size { concurrency: IN_FLIGHT, ..size };
    let begins = |part: &str| {
        let is_wanted = only.is_none_or(|only| part.contains(only));
        is_wanted.then(|| eprintln!("PostgreSQL: {part} …")).is_some()
    };
    if begins("against the embedded store") {
        tables::engines(&[engines(Kind::Key, size).await?, engines(Kind::Chain, size).await?]);
    }
    if begins("registrations in flight") {
        tables::levels(&LEVELS, &levels(size).await?);
    }
    if begins("statements and bytes") {
        tables::usage([usage(fewer(size)).await?, usage(size).await?]);
    }
    if begins("one node and two") {
        tables::nodes(nodes(size).await?);
    }
    if begins("enrollments") {
        let mut sizes = Vec::new();
        for count in enrollments {
            sizes.push((*count, at_size(*count, size).await?));
        }
        tables::sizes(&sizes);
    }
    Ok(())
}

/// Returns a size with one registration in flight, which takes long, and needs fewer devices to be measured.
fn fewer(size: Size) -> Size {
    Size { devices: size.devices.div_ceil(10), concurrency: 1 }
}

async fn engines(kind: Kind, size: Size) -> anyhow::Result<Engines> {
    let (mut embedded, mut shared) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        embedded.push(registrations(&Cluster::embedded().await?, kind, size).await?);
        let cluster = Cluster::shared(1, Database::start(), None).await?;
        shared.push(registrations(&cluster, kind, size).await?);
    }
    Ok(Engines { kind, embedded: medians(&embedded), shared: medians(&shared) })
}

/// Registers new devices, then the same ones again.
async fn registrations(cluster: &Cluster, kind: Kind, size: Size) -> anyhow::Result<FirstAndAgain> {
    let mut loads = cluster.open(kind, &format!("at-{}", size.concurrency), size).await?;
    first_and_again(async || cluster.measured(&mut loads).await).await
}

async fn levels(size: Size) -> anyhow::Result<Vec<FirstAndAgain>> {
    let cluster = Cluster::shared(1, Database::start(), None).await?;
    let mut costs = Vec::new();
    for concurrency in LEVELS {
        let size = if concurrency == 1 { fewer(size) } else { Size { concurrency, ..size } };
        costs.push(registrations(&cluster, Kind::Key, size).await?);
    }
    Ok(costs)
}

async fn usage(size: Size) -> anyhow::Result<[Usage; 2]> {
    let database = Database::start();
    let relay = Relay::start(database.address().port).await?;
    let cluster = Cluster::shared(1, database, Some(relay.port)).await?;
    let mut loads = cluster.open(Kind::Key, "counted", size).await?;
    let before = relay.traffic();
    tokio::time::sleep(IDLE).await;
    let idle = (relay.traffic() - before) * (1.0 / IDLE.as_secs_f64());
    let devices = size.devices as f64;
    first_and_again(async || used(&cluster, &relay, idle, &mut loads, devices).await).await
}

/// Registers all devices once, and returns what each took of the database, without what the node sends on its own.
async fn used(
    cluster: &Cluster,
    relay: &Relay,
    idle: Traffic,
    loads: &mut [ConnectedDevices],
    devices: f64,
) -> anyhow::Result<Usage> {
    let (start, contents, traffic) = (Instant::now(), cluster.database()?.contents()?, relay.traffic());
    cluster.register_all(loads).await?;
    let traffic = relay.traffic() - traffic - idle * start.elapsed().as_secs_f64();
    let after = cluster.database()?.contents()?;
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / devices;
    Ok(Usage {
        traffic: traffic * (1.0 / devices),
        rows: each(contents.rows, after.rows),
        bytes: each(contents.bytes, after.bytes),
        wal: each(contents.wal, after.wal),
    })
}

/// Measures one node, and two.
async fn nodes(size: Size) -> anyhow::Result<[FirstAndAgain; 2]> {
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (costs, nodes) in costs.iter_mut().zip(1..) {
            let cluster = Cluster::shared(nodes, Database::start(), None).await?;
            costs.push(registrations(&cluster, Kind::Key, size).await?);
        }
    }
    Ok(costs.map(|costs| medians(&costs)))
}

/// Registers devices that are spread over this number of enrollments.
async fn at_size(enrollments: usize, size: Size) -> anyhow::Result<FirstAndAgain> {
    let cluster = Cluster::shared(1, Database::start(), None).await?;
    let database = cluster.database()?;
    fill::shared_enrollments(&database.address().url(), &cluster.master_key(), ID_SCOPE, enrollments).await?;
    database.settle();
    let count = size.devices.min(enrollments);
    let devices = (0..count).map(|number| {
        let id = fill::registration_id(number * (enrollments / count))?;
        Ok(Device::with_key(id.clone(), fill::device_key(&id)?))
    });
    let devices: Vec<Device> = devices.collect::<anyhow::Result<_>>()?;
    let mut loads = cluster.connect(Kind::Key, &devices, size).await?;
    first_and_again(async || cluster.measured(&mut loads).await).await
}

/// Returns the median of each figure.
fn medians(turns: &[FirstAndAgain]) -> FirstAndAgain {
    [0, 1].map(|at| {
        let of =
            |figure: fn(&CpuCost) -> Duration| median(turns.iter().map(|turn| figure(&turn[at])).collect());
        CpuCost { nodes: of(|cost| cost.nodes), database: of(|cost| cost.database) }
    })
}
