//! The load: devices that register over new and reused connections.

use std::{
    future::Future,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use fleet::{
    AmqpSession, BulkMode, Carrier, CertificateAuthority, Device, Endpoint, HttpsSession, MqttSession,
    ServiceClient, Transport,
};
use futures_util::{StreamExt, stream};
use model::RegistrationId;
use net::tls::Identity;
use serde_json::{Value, json};
use wire::sas::ConnectionString;

use crate::child::Server;

/// The size of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// The number of devices.
    pub devices: usize,
    /// The number of devices that register concurrently.
    pub concurrency: usize,
}

/// The result of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// The CPU time of the server per device.
    pub cpu: Duration,
    /// The number of devices per second of wall time.
    pub rate: f64,
}

/// One row of the table of registrations.
pub struct RegistrationCosts {
    /// The credentials, transport, and kind of connection.
    pub title: String,
    /// The cost of first registrations.
    pub first: Cost,
    /// The cost of registrations that change nothing.
    pub again: Cost,
    /// The cost of the same connections at the bare server.
    pub bare: Cost,
}

/// The attestation of the devices.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The symmetric key of a group.
    Key,
    /// A certificate of its own, enrolled individually.
    Leaf,
    /// A certificate of the CA of a group.
    Chain,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Key, Kind::Leaf, Kind::Chain];

    /// Returns the title of a row.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Key => "symmetric key, group",
            Kind::Leaf => "X.509 P-256, own leaf",
            Kind::Chain => "X.509 P-256, group",
        }
    }
}

/// Measures all combinations, or those whose title contains `only`.
pub async fn registrations(size: Size, only: Option<&str>) -> anyhow::Result<Vec<RegistrationCosts>> {
    let bare = Server::bare()?;
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        for transport in [Transport::Https, Transport::Mqtt] {
            for kept in [false, true] {
                let title = format!("{}, {transport}, {}", kind.title(), connections(kept));
                if only.is_none_or(|part| title.contains(part)) {
                    eprintln!("{title} …");
                    let scene = Scene { kind, transport, kept, size };
                    lines.push(line(&bare, scene, title).await?);
                }
            }
        }
    }
    bare.stop()?;
    Ok(lines)
}

/// The throughput of one transport, with symmetric keys of a group.
pub struct Throughput {
    /// The transport.
    pub transport: Transport,
    /// The costs of first and repeated registrations over new connections.
    pub fresh: [Cost; 2],
    /// The costs of first and repeated registrations over reused connections.
    pub kept: [Cost; 2],
}

/// Measures all transports.
pub async fn throughput(size: Size) -> anyhow::Result<Vec<Throughput>> {
    let mut lines = Vec::new();
    for transport in Transport::ALL {
        eprintln!("{transport} …");
        let measure = async |kept| {
            let dir = tempfile::tempdir()?;
            let server = Server::muster(dir.path())?;
            let scene = Scene { kind: Kind::Key, transport, kept, size };
            let devices = devices(&server, scene.kind, registration_ids(size)?).await?;
            let costs = twice(&server, &devices, scene).await?;
            server.stop()?;
            anyhow::Ok(costs)
        };
        lines.push(Throughput { transport, fresh: measure(false).await?, kept: measure(true).await? });
    }
    Ok(lines)
}

fn connections(kept: bool) -> &'static str {
    if kept { "kept connections" } else { "fresh connections" }
}

/// The parameters of one row.
#[derive(Clone, Copy)]
pub struct Scene {
    /// The attestation.
    pub kind: Kind,
    /// The transport.
    pub transport: Transport,
    /// Whether connections are reused.
    pub kept: bool,
    /// The size.
    pub size: Size,
}

async fn line(bare: &Server, scene: Scene, title: String) -> anyhow::Result<RegistrationCosts> {
    let dir = tempfile::tempdir()?;
    let server = Server::muster(dir.path())?;
    let devices = devices(&server, scene.kind, registration_ids(scene.size)?).await?;
    let [first, again] = twice(&server, &devices, scene).await?;
    let [_, bare] = twice(bare, &devices, scene).await?;
    server.stop()?;
    Ok(RegistrationCosts { title, first, again, bare })
}

/// Registers all devices, then all of them again.
async fn twice(server: &Server, devices: &Arc<[Device]>, scene: Scene) -> anyhow::Result<[Cost; 2]> {
    let endpoint = server.endpoint()?;
    if !scene.kept {
        return first_and_again(async || fresh(server, &endpoint, devices, scene).await).await;
    }
    let mut kept = ConnectedDevices::open(&endpoint, Arc::clone(devices), scene).await?;
    first_and_again(async || Ok(metered(server, scene.size.devices, kept.register_all()).await?.0)).await
}

/// Returns the cost of the first and of the last of three equal rounds. The second round is not measured, because it writes
/// once to each record that the device registered again.
pub async fn first_and_again<T>(mut round: impl AsyncFnMut() -> anyhow::Result<T>) -> anyhow::Result<[T; 2]> {
    let first = round().await?;
    round().await?;
    Ok([first, round().await?])
}

async fn fresh(
    server: &Server,
    endpoint: &Endpoint,
    devices: &Arc<[Device]>,
    scene: Scene,
) -> anyhow::Result<Cost> {
    let calls = (0..devices.len()).map(|at| {
        let (endpoint, devices) = (endpoint.clone(), Arc::clone(devices));
        async move { Ok(fleet::register(&endpoint, &devices[at], scene.transport, None).await.map(drop)?) }
    });
    Ok(measured(server, calls, scene.size).await?.0)
}

/// An open connection of a device.
pub enum Session {
    /// AMQP, over TLS or WebSockets.
    Amqp(Box<AmqpSession>),
    /// HTTPS.
    Https(Box<HttpsSession>),
    /// MQTT, over TLS or WebSockets.
    Mqtt(Box<MqttSession>),
}

impl Session {
    /// Connects a device.
    pub async fn open(endpoint: &Endpoint, device: &Device, transport: Transport) -> anyhow::Result<Session> {
        let carrier = Carrier::of(transport);
        Ok(match transport {
            Transport::Https => Session::Https(Box::new(HttpsSession::open(endpoint, device).await?)),
            Transport::Mqtt | Transport::MqttWs => {
                Session::Mqtt(Box::new(MqttSession::open(endpoint, device, carrier).await?))
            }
            Transport::Amqp | Transport::AmqpWs => {
                Session::Amqp(Box::new(AmqpSession::open(endpoint, device, carrier).await?))
            }
        })
    }

    /// Registers a device.
    pub async fn register(&mut self, device: &Device) -> anyhow::Result<()> {
        match self {
            Session::Amqp(amqp) => amqp.register(None).await?,
            Session::Https(https) => https.register(device, None).await?,
            Session::Mqtt(mqtt) => mqtt.register(None).await?,
        };
        Ok(())
    }
}

/// Devices with open connections: one for each device, or one per concurrent call if a connection can serve any device.
pub struct ConnectedDevices {
    sessions: Vec<Session>,
    devices: Arc<[Device]>,
    concurrency: usize,
}

impl ConnectedDevices {
    /// Opens the connections.
    pub async fn open(
        endpoint: &Endpoint,
        devices: Arc<[Device]>,
        scene: Scene,
    ) -> anyhow::Result<ConnectedDevices> {
        let concurrency = scene.size.concurrency;
        let shared = matches!((scene.kind, scene.transport), (Kind::Key, Transport::Https));
        let count = if shared { concurrency.min(devices.len()) } else { devices.len() };
        let opened = (0..count).map(|at| Session::open(endpoint, &devices[at], scene.transport));
        let sessions: Vec<_> = stream::iter(opened).buffered(concurrency).collect().await;
        Ok(ConnectedDevices {
            sessions: sessions.into_iter().collect::<anyhow::Result<_>>()?,
            devices,
            concurrency,
        })
    }

    /// Returns the number of devices.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// Registers all devices. Each of the n sessions registers its own device, or every n-th one.
    pub async fn register_all(&mut self) -> anyhow::Result<()> {
        let step = self.sessions.len();
        let calls = mem::take(&mut self.sessions).into_iter().enumerate().map(|(first, mut session)| {
            let devices = Arc::clone(&self.devices);
            async move {
                for at in (first..devices.len()).step_by(step) {
                    session.register(&devices[at]).await?;
                }
                Ok((first, session))
            }
        });
        let mut sessions = concurrently(calls, self.concurrency).await?;
        sessions.sort_by_key(|(first, _)| *first);
        self.sessions = sessions.into_iter().map(|(_, session)| session).collect();
        Ok(())
    }
}

/// Runs the calls concurrently, and measures the server meanwhile. Returns the cost per device, and the results.
pub async fn measured<T, F>(
    server: &Server,
    calls: impl Iterator<Item = F>,
    size: Size,
) -> anyhow::Result<(Cost, Vec<T>)>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    metered(server, size.devices, concurrently(calls, size.concurrency)).await
}

/// Measures the server during work for this number of devices. Returns the cost per device, and the result.
async fn metered<T>(
    server: &Server,
    devices: usize,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Cost, T)> {
    let (cpu, start) = (server.cpu()?, Instant::now());
    let result = work.await?;
    let (cpu, wall) = (server.cpu()?.saturating_sub(cpu), start.elapsed());
    let devices = u32::try_from(devices).context("too many devices")?.max(1);
    Ok((Cost { cpu: cpu / devices, rate: f64::from(devices) / wall.as_secs_f64() }, result))
}

/// Runs this number of calls at once, and returns the results of all.
async fn concurrently<T, F>(calls: impl Iterator<Item = F>, concurrency: usize) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let mut ended = stream::iter(calls.map(tokio::spawn)).buffer_unordered(concurrency);
    let mut results = Vec::new();
    while let Some(call) = ended.next().await {
        results.push(call??);
    }
    Ok(results)
}

/// Makes the registration IDs of a measurement.
pub fn registration_ids(size: Size) -> anyhow::Result<Vec<RegistrationId>> {
    let ids = (0..size.devices).map(|number| RegistrationId::parse(format!("device-{number:05}")));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Makes and enrolls devices with these registration IDs.
pub async fn devices(server: &Server, kind: Kind, ids: Vec<RegistrationId>) -> anyhow::Result<Arc<[Device]>> {
    match kind {
        Kind::Key => {
            let key = server.group_key()?;
            Ok(ids.into_iter().map(|id| Device::in_group(id, &key)).collect())
        }
        Kind::Leaf => enrolled_leaves(server, ids).await,
        Kind::Chain => {
            let ca = CertificateAuthority::root("bench root")?;
            let mut service = service(server)?;
            let body = json!({
                "enrollmentGroupId": "bench-chain",
                "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": ca.pem()}}}}
            });
            service.create_group(&body).await?;
            let devices =
                ids.into_iter().map(|id| anyhow::Ok(Device::with_certificate(id.clone(), ca.issue(&id)?)));
            devices.collect()
        }
    }
}

async fn enrolled_leaves(server: &Server, ids: Vec<RegistrationId>) -> anyhow::Result<Arc<[Device]>> {
    let identities = ids.into_iter().map(|id| anyhow::Ok((fleet::self_signed(&id)?.0, id)));
    let identities: Vec<(Identity, RegistrationId)> = identities.collect::<anyhow::Result<_>>()?;
    let enrollments: Vec<Value> = identities.iter().map(|(identity, id)| enrollment(identity, id)).collect();
    let mut service = service(server)?;
    for some in enrollments.chunks(ServiceClient::BULK_LIMIT) {
        service.bulk(BulkMode::Create, some).await?;
    }
    Ok(identities.into_iter().map(|(identity, id)| Device::with_certificate(id, identity)).collect())
}

fn enrollment(identity: &Identity, id: &RegistrationId) -> Value {
    let leaf = identity.chain().first().map(|leaf| STANDARD.encode(leaf));
    json!({
        "registrationId": id,
        "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": leaf}}}}
    })
}

/// Makes a client of the service endpoint.
pub fn service(server: &Server) -> anyhow::Result<ServiceClient> {
    let connection = ConnectionString::parse(&server.ready.service)?;
    Ok(ServiceClient::new(&connection, server.ready.https, server.endpoint()?.trust)?)
}
