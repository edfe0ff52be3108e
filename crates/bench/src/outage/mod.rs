//! Measures registrations per second at two healthy hubs while a third hub is healthy, slow, or down.
//!
//! Three hubs of another process are linked over REST, each through a relay in this process that simulates failures. Devices
//! of the third hub register continuously, with half the concurrency.

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
pub use relay::HubState;
use relay::Relay;

/// The index of the first linked hub of the other process. Lower ones have the addresses of the service's own hubs.
const FIRST_HUB: usize = 2;
const HUBS: usize = 3;

/// How long a device of the third hub waits before the next one starts.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(1);

/// The rate with the third hub in one state.
#[derive(Debug, Clone, Copy)]
pub struct OutageRate {
    /// The state of the third hub.
    pub state: HubState,
    /// The registrations per second at the other two hubs.
    pub rate: f64,
}

/// Measures all states, the healthy one first.
pub async fn measure(size: Size) -> anyhow::Result<Vec<OutageRate>> {
    let mut seen = Vec::new();
    for state in [HubState::Healthy, HubState::Slow, HubState::Down] {
        eprintln!("one of three hubs is {state} …");
        seen.push(OutageRate { state, rate: rate(state, size).await? });
    }
    Ok(seen)
}

async fn rate(state: HubState, size: Size) -> anyhow::Result<f64> {
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
    // Warms up connections and circuit breakers.
    register_all(&endpoint, &keys[0], "warm", Size { devices: size.devices / 4, ..size }).await?;
    relays[2].set(state);
    let mut background = troubled(&endpoint, &keys[1], size.concurrency / 2);
    tokio::time::sleep(DEVICE_TIMEOUT).await;
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

/// Registers devices of the third hub continuously, with this number of workers, until the set is dropped.
fn troubled(endpoint: &Endpoint, key: &SymmetricKey, workers: usize) -> JoinSet<()> {
    let (endpoint, key) = (Arc::new(endpoint.clone()), Arc::new(key.clone()));
    (0..workers)
        .map(|worker| {
            let (endpoint, key) = (Arc::clone(&endpoint), Arc::clone(&key));
            async move {
                for number in 0.. {
                    let Ok(device) = device(&key, &format!("troubled-{worker}"), number) else { return };
                    // The outcome is not measured.
                    let _ =
                        timeout(DEVICE_TIMEOUT, fleet::register(&endpoint, &device, Transport::Https, None))
                            .await;
                }
            }
        })
        .collect()
}
