//! `make bench`: measures the cost of a registration, as ratios within one run.
//!
//! The server under test, and a bare server with the same TLS stack, run as child processes; this process is the load. The
//! main figure is the CPU time of the child, because with few cores the load saturates before the server. Commits are durable.

mod bare;
mod change_log;
mod child;
mod choosing;
mod cpu;
mod decide;
mod fill;
mod hostile;
mod hub;
mod load;
mod muster;
mod node;
mod outage;
mod postgres;
mod scale;
mod table;
mod tpm;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures server CPU time per registration, memory per connection, and cost by number of enrollments.
#[derive(Parser)]
#[command(version)]
struct Program {
    /// The number of devices per measurement.
    #[arg(long, default_value_t = 2000)]
    devices: usize,
    /// The number of devices that register concurrently.
    #[arg(long, default_value_t = 48)]
    concurrency: usize,
    /// Measure only rows whose title contains this text, and no other tables; or parts of `postgres`.
    #[arg(long, global = true)]
    only: Option<String>,
    /// The numbers of enrollments for the tables of costs by size.
    #[arg(long, global = true, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    enrollments: Vec<usize>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The parts to measure alone, and the roles of child processes.
#[derive(Subcommand, Clone)]
enum Part {
    /// Measure allocation decisions per second.
    Decisions,
    /// Measure the cost of the change log per registration.
    ChangeLog,
    /// Measure the rates of all transports, and the memory of idle connections.
    Transports,
    /// Measure registrations per second while one of three hubs is slow or down.
    Outage,
    /// Measure nodes on PostgreSQL: against the embedded store, by registrations in flight and by number of enrollments.
    Postgres,
    /// Measure the cost of hostile peers, and their effect on honest devices.
    Hostile,
    /// Measure registrations with a TPM, and their challenge, against the RSA operations in it.
    Tpm,
    /// Run the bare server, which sends a fixed reply.
    #[command(hide = true)]
    Bare,
    /// Run the service as an emulator in this folder.
    #[command(hide = true)]
    Muster {
        /// The folder.
        dir: std::path::PathBuf,
        /// The number of embedded hubs.
        #[arg(default_value_t = 2)]
        hubs: usize,
    },
    /// Run a node of the service with this configuration file.
    #[command(hide = true)]
    Node {
        /// The file.
        config: std::path::PathBuf,
    },
    /// Measure an embedded hub that creates this number of devices, and print the cost.
    #[command(hide = true)]
    Hub {
        /// The number of devices.
        devices: usize,
        /// The number of concurrent calls.
        concurrency: usize,
    },
}

impl Program {
    fn size(&self) -> load::Size {
        load::Size { devices: self.devices, concurrency: self.concurrency }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    match program.part.clone() {
        Some(Part::Bare) => bare::serve().await,
        Some(Part::Muster { dir, hubs }) => muster::serve(dir, hubs).await,
        Some(Part::Node { config }) => node::serve(&config).await,
        Some(Part::Hub { devices, concurrency }) => hub::measure(devices, concurrency).await,
        Some(Part::Decisions) => decisions().await,
        Some(Part::ChangeLog) => change_log(program.size()).await,
        Some(Part::Transports) => transports(program.size()).await,
        Some(Part::Tpm) => tpm(program.size()).await,
        Some(Part::Hostile) => hostile(program.size()).await,
        Some(Part::Postgres) => {
            postgres::measure(program.size(), &program.enrollments, program.only.as_deref()).await
        }
        Some(Part::Outage) => outage(program.size()).await,
        None => everything(&program).await,
    }
}

async fn everything(program: &Program) -> anyhow::Result<()> {
    let size = program.size();
    println!("{} devices per measurement, {} at once, durable commits on\n", size.devices, size.concurrency);
    table::registrations(&load::registrations(size, program.only.as_deref()).await?);
    if program.only.is_some() {
        return Ok(());
    }
    transports(size).await?;
    let hub = child::Hub::measure(size)?;
    table::hub(&hub);
    change_log(size).await?;
    decisions().await?;
    tpm(size).await?;
    outage(size).await?;
    hostile(size).await?;
    postgres::measure(size, &program.enrollments, None).await?;
    let mut rows = Vec::new();
    for enrollments in &program.enrollments {
        eprintln!("filling a store with {enrollments} enrollments …");
        rows.push(scale::at_size(*enrollments, size).await?);
    }
    table::sizes(&rows);
    Ok(())
}

async fn transports(size: load::Size) -> anyhow::Result<()> {
    table::throughput(&load::throughput(size).await?);
    table::idle_memory(&scale::idle_memory(size).await?);
    Ok(())
}

async fn outage(size: load::Size) -> anyhow::Result<()> {
    table::outage(&outage::measure(size).await?);
    Ok(())
}

async fn hostile(size: load::Size) -> anyhow::Result<()> {
    table::hostile(&hostile::measure(size).await?);
    Ok(())
}

async fn change_log(size: load::Size) -> anyhow::Result<()> {
    table::change_log(&change_log::measure(size).await?);
    Ok(())
}

async fn decisions() -> anyhow::Result<()> {
    table::decisions(&decide::measure().await?);
    Ok(())
}

async fn tpm(size: load::Size) -> anyhow::Result<()> {
    table::tpm(&tpm::measure(size).await?);
    Ok(())
}

fn median<T: Ord + Copy>(mut figures: Vec<T>) -> T {
    figures.sort();
    figures[figures.len() / 2]
}
