//! Measures the memory of idle connections, and costs by number of enrollments.

use std::time::{Duration, Instant};

use fleet::{Device, Transport};
use futures_util::{StreamExt, stream};
use model::RegistrationId;

use crate::{
    child::Server,
    cpu, fill,
    load::{Cost, Session, Size, first_and_again, measured},
};

/// The memory of idle connections.
pub struct IdleMemory {
    /// The transport.
    pub transport: Transport,
    /// The number of connections.
    pub connections: usize,
    /// The bytes per connection in the server.
    pub bytes_each: u64,
}

/// Opens connections and leaves them idle.
pub async fn idle_memory(size: Size) -> anyhow::Result<Vec<IdleMemory>> {
    let mut memory = Vec::new();
    for transport in [Transport::Mqtt, Transport::MqttWs, Transport::Amqp, Transport::AmqpWs] {
        memory.push(idle_memory_of(transport, size).await?);
    }
    Ok(memory)
}

async fn idle_memory_of(transport: Transport, size: Size) -> anyhow::Result<IdleMemory> {
    let dir = tempfile::tempdir()?;
    let server = Server::muster(dir.path())?;
    let (endpoint, key) = (server.endpoint()?, server.group_key()?);
    // The first ones warm up memory that is not per connection.
    let open = |number: usize| {
        let (endpoint, key) = (&endpoint, &key);
        async move {
            let device = Device::in_group(RegistrationId::parse(format!("idle-{number}"))?, key);
            Session::open(endpoint, &device, transport).await
        }
    };
    let warm: Vec<_> = stream::iter(0..100).map(open).buffer_unordered(size.concurrency).collect().await;
    let before = server.resident()?;
    let idle: Vec<_> =
        stream::iter(100..100 + size.devices).map(open).buffer_unordered(size.concurrency).collect().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = server.resident()?.saturating_sub(before);
    let open: Vec<Session> = warm.into_iter().chain(idle).collect::<anyhow::Result<_>>()?;
    drop(open);
    server.stop()?;
    Ok(IdleMemory { transport, connections: size.devices, bytes_each: bytes / size.devices as u64 })
}

/// The costs with a number of enrollments.
pub struct AtSize {
    /// The number of enrollments.
    pub enrollments: usize,
    /// The bytes on disk per enrollment.
    pub disk_each: u64,
    /// The time until the service is ready, including the opening of its database.
    pub start: Duration,
    /// The resident memory after the start, in bytes.
    pub resident_at_start: u64,
    /// The resident memory after the registrations, in bytes.
    pub resident: u64,
    /// The cost of first registrations, of devices spread over all enrollments.
    pub first: Cost,
    /// The cost of their repeated registrations.
    pub again: Cost,
}

/// Fills a store, and registers some of its devices.
pub async fn at_size(enrollments: usize, size: Size) -> anyhow::Result<AtSize> {
    let dir = tempfile::tempdir()?;
    let server = Server::muster(dir.path())?;
    let scope = server.ready.id_scope.clone();
    server.stop()?;
    let empty = cpu::disk(dir.path())?;
    fill::individual_enrollments(dir.path(), &scope, enrollments).await?;
    let disk_each = cpu::disk(dir.path())?.saturating_sub(empty) / enrollments as u64;

    let start = Instant::now();
    let server = Server::muster(dir.path())?;
    let start = start.elapsed();
    let resident_at_start = server.resident()?;
    let [first, again] = first_and_again(async || some_devices(&server, enrollments, size).await).await?;
    let resident = server.resident()?;
    server.stop()?;
    Ok(AtSize { enrollments, disk_each, start, resident_at_start, resident, first, again })
}

async fn some_devices(server: &Server, enrollments: usize, size: Size) -> anyhow::Result<Cost> {
    let endpoint = server.endpoint()?;
    let count = size.devices.min(enrollments);
    let step = enrollments / count;
    let calls = (0..count).map(|number| {
        let endpoint = endpoint.clone();
        async move {
            let id = fill::registration_id(number * step)?;
            let device = Device::with_key(id.clone(), fill::device_key(&id)?);
            fleet::register(&endpoint, &device, Transport::Https, None).await?;
            Ok(())
        }
    });
    Ok(measured(server, calls, Size { devices: count, ..size }).await?.0)
}
