//! Registrations per second of devices of two healthy hubs, while a third hub is healthy, slow, or down.
//!
//! Three hubs of another process are linked over REST, each through a relay of this process that can be told to fail.
//! Devices of the third hub keep coming all the while, half as many at once.

mod relay;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use fleet::{Device, Endpoint, LinkCheck, ServiceClient, Transport};
use futures_util::{StreamExt, stream};
use model::{RegistrationId, SymmetricKey};
use serde_json::{Value, json};
use server::dev::DevInfo;
use tokio::{task::JoinSet, time::timeout};
use wire::sas::ConnectionString;

use crate::{child::Server, load::Size};
pub use relay::Mood;
use relay::Relay;

/// What was seen with the third hub in one mood.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The third hub's.
    pub mood: Mood,
    /// Registrations per second of devices of the other two.
    pub rate: f64,
}

/// The hubs of the other process: those before are the ones that the service under test embeds itself.
const FIRST_HUB: usize = 2;
const HUBS: usize = 3;

/// How long a device of the third hub waits before it gives its place to the next.
const PATIENCE: Duration = Duration::from_secs(1);

/// All moods, the healthy one first.
pub async fn measure(size: Size) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for mood in [Mood::Healthy, Mood::Slow, Mood::Down] {
        eprintln!("one of three hubs is {mood} …");
        seen.push(Seen { mood, rate: rate(mood, size).await? });
    }
    Ok(seen)
}

async fn rate(mood: Mood, size: Size) -> anyhow::Result<f64> {
    let (dir, far_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let near = Server::muster(dir.path())?;
    let far = Server::muster_with_hubs(far_dir.path(), FIRST_HUB + HUBS)?;
    let relays = link(&near, &far, far_dir.path()).await?;
    let mut service = service(&near)?;
    let [one, two, third] = &relays.each_ref().map(Relay::name);
    let keys = [
        group(&mut service, "healthy", &[one, two]).await?,
        group(&mut service, "troubled", &[third]).await?,
    ];
    let endpoint = near.endpoint()?;
    // So that connections and circuits are as they are in a service that runs for long.
    register_all(&endpoint, &keys[0], "warm", Size { devices: size.devices / 4, ..size }).await?;
    relays[2].set(mood);
    let mut background = troubled(&endpoint, &keys[1], size.concurrency / 2);
    tokio::time::sleep(PATIENCE).await;
    let began = Instant::now();
    register_all(&endpoint, &keys[0], "device", size).await?;
    let rate = size.devices as f64 / began.elapsed().as_secs_f64();
    background.shutdown().await;
    near.stop()?;
    far.stop()?;
    Ok(rate)
}

/// Links three hubs of the other process, each through a relay.
async fn link(near: &Server, far: &Server, far_dir: &Path) -> anyhow::Result<[Relay; HUBS]> {
    let info = DevInfo::read(far_dir)?;
    let mut service = service(near)?;
    let mut relays = Vec::new();
    for hub in info.hubs.iter().skip(FIRST_HUB) {
        let address: Ipv4Addr = hub.host_name.parse()?;
        let relay = Relay::start(SocketAddr::new(IpAddr::V4(address), far.ready.https)).await?;
        let string = ConnectionString::parse(&hub.connection_string)?;
        let string = ConnectionString { host: relay.address().to_string(), ..string };
        let link = json!({ "connectionString": string.to_string(), "caCertificates": far.ready.ca_pem });
        service.put_linked_hub(&hub.host_name, &link, None, LinkCheck::First).await?;
        relays.push(relay);
    }
    relays.try_into().ok().context("the other process has too few hubs")
}

fn service(server: &Server) -> anyhow::Result<ServiceClient> {
    let connection = ConnectionString::parse(&server.ready.service)?;
    Ok(ServiceClient::new(&connection, server.ready.https, server.endpoint()?.trust)?)
}

/// Creates a group whose devices go to these hubs, and returns its key.
async fn group(service: &mut ServiceClient, name: &str, hubs: &[&String]) -> anyhow::Result<SymmetricKey> {
    let attestation = json!({ "type": "symmetricKey" });
    let body = json!({ "enrollmentGroupId": name, "attestation": attestation, "iotHubs": hubs });
    let created = service.create_group(&body).await?;
    let key = created.pointer("/attestation/symmetricKey/primaryKey").and_then(Value::as_str);
    Ok(SymmetricKey::parse(key.context("no key")?)?)
}

fn device(key: &SymmetricKey, name: &str, number: usize) -> anyhow::Result<Device> {
    Ok(Device::in_group(RegistrationId::parse(format!("{name}-{number:05}"))?, key))
}

async fn register_all(endpoint: &Endpoint, key: &SymmetricKey, name: &str, size: Size) -> anyhow::Result<()> {
    let calls =
        (0..size.devices).map(|number| {
            let (endpoint, device) = (endpoint.clone(), device(key, name, number));
            async move {
                anyhow::Ok(fleet::register(&endpoint, &device?, Transport::Https, None).await.map(drop)?)
            }
        });
    let mut ended = stream::iter(calls.map(tokio::spawn)).buffer_unordered(size.concurrency);
    while let Some(call) = ended.next().await {
        call??;
    }
    Ok(())
}

/// Devices of the third hub, one after the other in each of so many places, until the set is ended.
fn troubled(endpoint: &Endpoint, key: &SymmetricKey, places: usize) -> JoinSet<()> {
    let (endpoint, key) = (Arc::new(endpoint.clone()), Arc::new(key.clone()));
    (0..places)
        .map(|place| {
            let (endpoint, key) = (Arc::clone(&endpoint), Arc::clone(&key));
            async move {
                for number in 0.. {
                    let Ok(device) = device(&key, &format!("troubled-{place}"), number) else { return };
                    // How it fares does not count.
                    let _ =
                        timeout(PATIENCE, fleet::register(&endpoint, &device, Transport::Https, None)).await;
                }
            }
        })
        .collect()
}
