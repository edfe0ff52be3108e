//! An endpoint on free ports, over the embedded store and hubs that fail on command.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::Duration,
};

use device_api::{DeviceApi, FirstReply, Ports, Timing};
use durable::Sealer;
use model::{
    Day, EnrollmentGroup, EnrollmentSettings, GroupAttestation, IndividualAttestation, IndividualEnrollment,
    Instance, LinkedHub, Registration, SymmetricKey,
};
use net::{CancellationToken, ConnectionLimiter, HttpServices, Limits, Listener, Transport};
use provisioning::{
    Provisioning,
    ports::{Change, Clock, Commit, Expect, Hubs, RunnerId, Store, Unknown},
};
use runner::{AssignmentRunner, RunLimits, Runner, RunnerLimits};
use store::{EmbeddedStore, PostgresStore, postgres::Settings};
use tempfile::TempDir;
use testkit::{
    ca::Identity,
    clock::SteppedClock,
    entropy::SeededEntropy,
    hub::{FakeHub, FakeHubs},
    postgres::Database,
    sample,
    webhook::FakeWebhook,
};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    http::Http,
    mqtt_client::Mqtt,
    tls::{ByteStream, Presented, ServerCa},
};

pub const SCOPE: &str = "0ne00000001";
pub const OTHER_SCOPE: &str = "0ne00000002";
pub const HUB: &str = "hub-1.example";

/// Results come in time unless a test slows the hub down; a slow machine does not.
pub const IN_TIME: Timing = Timing {
    answer_within: Duration::from_secs(20),
    retry_after_secs: 3,
    java_delay: Duration::from_millis(700),
    first_reply: FirstReply::ByClient,
};

/// Runs in progress for one hub.
pub const ROOM: usize = 40;

/// And those of one instance.
pub const INSTANCE_ROOM: usize = 60;

/// Nothing is waited for.
pub const AT_ONCE: Timing = Timing { answer_within: Duration::from_millis(50), ..IN_TIME };

/// Two instances, each linked to one and the same hub.
pub struct World {
    pub store: Arc<dyn Store>,
    pub hubs: Arc<FakeHubs>,
    pub runner: Arc<Runner>,
    pub runs: AssignmentRunner,
    pub provisioning: Arc<Provisioning>,
    pub api: DeviceApi,
    /// That of the listeners.
    pub limiter: ConnectionLimiter,
    ca: ServerCa,
    ports: ListeningAt,
    shutdown: CancellationToken,
    _directory: TempDir,
}

impl World {
    pub async fn new(timing: Timing) -> World {
        let hubs = Arc::new(FakeHubs::new([sample::hub_name(HUB)]));
        World::over(Arc::clone(&hubs), hubs, timing).await
    }

    /// Over hubs that do more than the fake ones.
    pub async fn over(hubs: Arc<FakeHubs>, port: Arc<dyn Hubs>, timing: Timing) -> World {
        World::within(hubs, port, timing, Limits::default()).await
    }

    /// With other bounds of connections.
    pub async fn limited(limits: Limits) -> World {
        let hubs = Arc::new(FakeHubs::new([sample::hub_name(HUB)]));
        World::within(Arc::clone(&hubs), hubs, IN_TIME, limits).await
    }

    /// With its records in this database.
    pub async fn on(database: &Database) -> World {
        let hubs = Arc::new(FakeHubs::new([sample::hub_name(HUB)]));
        let (store, directory) = (connect(database).await, directory());
        World::with_store((store, directory), (Arc::clone(&hubs), hubs), IN_TIME, Limits::default()).await
    }

    /// With listeners behind a proxy, which reports the clients.
    pub async fn behind_proxy() -> World {
        let hubs = Arc::new(FakeHubs::new([sample::hub_name(HUB)]));
        let directory = directory();
        let store = open(directory.path()).await;
        let hubs = (Arc::clone(&hubs), hubs as Arc<dyn Hubs>);
        World::listening((store, directory), hubs, IN_TIME, (Limits::default(), Behind::Proxy)).await
    }

    /// Has new connections come from a client behind the proxy, by a PROXY header of this version.
    pub fn come_from(&self, client: IpAddr, version: ProxyVersion) {
        self.ca.send_first(proxy_header(client, version));
    }

    async fn within(hubs: Arc<FakeHubs>, port: Arc<dyn Hubs>, timing: Timing, limits: Limits) -> World {
        let directory = directory();
        let store = open(directory.path()).await;
        World::with_store((store, directory), (hubs, port), timing, limits).await
    }

    async fn with_store(
        (store, directory): (Arc<dyn Store>, TempDir),
        (hubs, port): (Arc<FakeHubs>, Arc<dyn Hubs>),
        timing: Timing,
        limits: Limits,
    ) -> World {
        World::listening((store, directory), (hubs, port), timing, (limits, Behind::Nothing)).await
    }

    async fn listening(
        (store, directory): (Arc<dyn Store>, TempDir),
        (hubs, port): (Arc<FakeHubs>, Arc<dyn Hubs>),
        timing: Timing,
        (limits, behind): (Limits, Behind),
    ) -> World {
        for scope in [SCOPE, OTHER_SCOPE] {
            let hub =
                LinkedHub { takes_new_devices: true, ..sample::instance(scope).linked_hubs.swap_remove(0) };
            let operation_key = sample::key(scope.as_bytes()[10]);
            let instance = Instance { linked_hubs: vec![hub], operation_key, ..sample::instance(scope) };
            store.put_instance(instance, sample::by()).await.unwrap();
        }
        let (clock, entropy) = (Arc::new(SteppedClock::default()), Arc::new(SeededEntropy::new(1)));
        let provisioning = Arc::new(Provisioning::new(provisioning::Ports {
            store: Arc::clone(&store),
            hubs: port,
            webhook: Arc::new(FakeWebhook::default()),
            topology: Arc::new(Unknown),
            clock: clock.clone(),
            entropy: entropy.clone(),
        }));
        let runs = RunLimits { per_instance: INSTANCE_ROOM, per_target: ROOM };
        let run_limits = RunnerLimits { runs, ..RunnerLimits::default() };
        let id = RunnerId::random(&*entropy);
        let runner = Runner::with_limits(Arc::clone(&provisioning), store.clone(), id, run_limits);
        runner.start().await.unwrap();
        let runs = runner.assignments().clone();
        let runner = Arc::new(runner);
        let ports = Ports { clock, entropy };
        let api = DeviceApi::new(Arc::clone(&provisioning), Arc::new(runs.clone()), ports, timing);
        let (ca, shutdown) = (ServerCa::new(), CancellationToken::new());
        let limiter = ConnectionLimiter::new(limits).observed_by(Arc::new(api.clone()));
        let ports = serve(&api, (&ca, behind), &limiter, &shutdown);
        let (keeper, ended) = (Arc::clone(&runner), shutdown.clone());
        tokio::spawn(async move { keeper.keep_leases(ended).await });
        World {
            store,
            hubs,
            runner,
            runs,
            provisioning,
            api,
            limiter,
            ca,
            ports,
            shutdown,
            _directory: directory,
        }
    }

    /// Does the runner's jobs until the token is canceled.
    pub fn work(&self, shutdown: &CancellationToken) -> JoinHandle<()> {
        let (runner, shutdown) = (Arc::clone(&self.runner), shutdown.clone());
        tokio::spawn(async move { runner.work(shutdown).await })
    }

    pub fn hub(&self) -> Arc<FakeHub> {
        self.hubs.hub(&sample::hub_name(HUB)).unwrap()
    }

    pub async fn http(&self, device: Option<&Presented>) -> Http {
        Http::new(self.dial_https(device).await).await
    }

    pub async fn mqtt(&self, device: Option<&Presented>) -> Mqtt {
        Mqtt::new(self.dial_mqtts(device).await)
    }

    pub async fn dial_https(&self, device: Option<&Presented>) -> ByteStream {
        self.ca.connect(self.ports.https, device).await
    }

    pub async fn dial_mqtts(&self, device: Option<&Presented>) -> ByteStream {
        self.ca.connect(self.ports.mqtts, device).await
    }

    /// A connection for MQTT with a certificate, and perhaps a key that is not its own, to the first instance's host name.
    pub async fn dial_mqtts_with(&self, chain: Vec<Vec<u8>>, key: &Identity) -> ByteStream {
        self.ca.connect_with(self.ports.mqtts, chain, key).await
    }

    /// A connection for MQTT before its handshake.
    pub async fn dial_mqtts_in_clear(&self) -> TcpStream {
        TcpStream::connect(self.ports.mqtts).await.unwrap()
    }

    pub async fn dial_amqps(&self, device: Option<&Presented>) -> ByteStream {
        self.ca.connect(self.ports.amqps, device).await
    }

    pub async fn write(&self, scope: &str, change: Change) {
        let commit = Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(sample::by()) };
        self.store.commit(&sample::scope(scope), commit).await.unwrap();
    }

    pub async fn enroll(&self, enrollment: IndividualEnrollment) {
        self.write(SCOPE, Change::PutIndividual(Box::new(enrollment))).await;
    }

    pub async fn enroll_group(&self, group: EnrollmentGroup) {
        self.write(SCOPE, Change::PutGroup(Box::new(group))).await;
    }

    /// Enrolls a device with `sample::keys(10)`.
    pub async fn device(&self, id: &str) -> Device {
        self.enroll(individual(id)).await;
        Device::new(SCOPE, id, sample::key(10))
    }

    pub async fn unlink_hubs(&self) {
        self.link(SCOPE, vec![]).await;
    }

    /// Links these hubs instead of those that were.
    pub async fn link(&self, scope: &str, linked_hubs: Vec<LinkedHub>) {
        self.change(scope, |instance| Instance { linked_hubs, ..instance }).await;
    }

    /// Limits the instance to this number of registrations per minute.
    pub async fn limit(&self, scope: &str, per_minute: u32) {
        let max_registrations_per_minute = NonZeroU32::new(per_minute);
        self.change(scope, |instance| Instance { max_registrations_per_minute, ..instance }).await;
    }

    pub async fn change(&self, scope: &str, change: impl FnOnce(Instance) -> Instance) {
        let instance = self.store.instance(&sample::scope(scope)).await.unwrap().unwrap();
        self.store.put_instance(change(Instance::clone(&instance)), sample::by()).await.unwrap();
    }

    pub async fn record(&self, id: &str) -> Option<Registration> {
        self.store.registration(&sample::scope(SCOPE), &sample::registration_id(id)).await.unwrap()
    }

    /// Operations counted so far.
    pub async fn counted(&self) -> u64 {
        let (from, to) = (Day::from_number(0), Day::from_number(100_000));
        let rows = self.store.usage(&sample::scope(SCOPE), from, to).await.unwrap();
        rows.iter().map(|row| row.count).sum()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Opens an empty store: an embedded one, or what `MUSTER_TEST_STORE` names.
async fn open(directory: &Path) -> Arc<dyn Store> {
    match Database::chosen() {
        Some(database) => connect(&database).await,
        None => Arc::new(EmbeddedStore::open(&directory.join("store.db"), sealer()).unwrap()),
    }
}

async fn connect(database: &Database) -> Arc<dyn Store> {
    let settings = Settings::parse(&database.url()).unwrap();
    Arc::new(PostgresStore::connect(settings, sealer()).await.unwrap())
}

fn sealer() -> Sealer {
    Sealer::from_key([7; 32])
}

/// A directory in memory if possible.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Where the endpoint listens.
struct ListeningAt {
    https: SocketAddr,
    mqtts: SocketAddr,
    amqps: SocketAddr,
}

fn serve(
    api: &DeviceApi,
    (ca, behind): (&ServerCa, Behind),
    limiter: &ConnectionLimiter,
    shutdown: &CancellationToken,
) -> ListeningAt {
    let listen = || {
        let listener = net::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        match behind {
            Behind::Nothing => (Listener::from(listener), addr),
            Behind::Proxy => (Listener::from(listener).behind(&["127.0.0.1/32".parse().unwrap()]), addr),
        }
    };
    let [(https, https_addr), (mqtts, mqtts_addr), (amqps, amqps_addr)] = [listen(), listen(), listen()];
    let tls = ca.server();
    let (mqtt, amqp) = (Some(api.mqtt(Transport::MqttWs)), Some(api.amqp(Transport::AmqpWs)));
    let site = HttpServices { router: api.router(), mqtt, amqp };
    let (mqtt, amqp) = (api.mqtt(Transport::Mqtt), api.amqp(Transport::Amqp));
    tokio::spawn(net::serve_https(https, tls.clone(), site, limiter.clone(), shutdown.clone()));
    tokio::spawn(net::serve_mqtt(mqtts, tls.clone(), mqtt, limiter.clone(), shutdown.clone()));
    tokio::spawn(net::serve_amqp(amqps, tls, amqp, limiter.clone(), shutdown.clone()));
    ListeningAt { https: https_addr, mqtts: mqtts_addr, amqps: amqps_addr }
}

/// What is in front of the listeners.
#[derive(Clone, Copy)]
enum Behind {
    Nothing,
    Proxy,
}

/// The versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

fn proxy_header(client: IpAddr, version: ProxyVersion) -> Vec<u8> {
    let (family, server) = match client {
        IpAddr::V4(_) => ("TCP4", "198.51.100.1".parse().unwrap()),
        IpAddr::V6(_) => ("TCP6", "2001:db8:ffff::1".parse().unwrap()),
    };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if version == ProxyVersion::One {
        return format!("PROXY {family} {client} {server} 56324 443\r\n").into_bytes();
    }
    let addresses = [octets(client), octets(server), vec![0xdc, 4, 1, 0xbb]].concat();
    let family = if client.is_ipv4() { 0x11 } else { 0x21 };
    let head = [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family, 0, addresses.len() as u8]].concat();
    [head, addresses].concat()
}

/// How Node's SDK names itself, and that of Java.
pub const NODE: &str = "azure-iot-provisioning-device/1.9.1";
pub const JAVA: &str = "com.microsoft.azure.sdk.iot.dps.dps-device-client/2.1.0";

/// A device with a key.
#[derive(Clone)]
pub struct Device {
    pub scope: String,
    pub id: String,
    pub key: SymmetricKey,
    /// How its SDK names itself.
    pub agent: &'static str,
}

impl Device {
    pub fn new(scope: &str, id: &str, key: SymmetricKey) -> Device {
        Device { scope: scope.into(), id: id.into(), key, agent: NODE }
    }

    pub fn with_key(&self, key: SymmetricKey) -> Device {
        Device { key, ..self.clone() }
    }

    pub fn resource(&self) -> String {
        format!("{}/registrations/{}", self.scope, self.id)
    }

    /// A token for an hour.
    pub fn token(&self) -> String {
        self.token_until(now() + 3600)
    }

    pub fn token_until(&self, expiry: u64) -> String {
        wire::sas::sign(&self.resource(), self.key.as_bytes(), expiry, Some("registration"))
    }

    pub fn path(&self) -> String {
        format!("/{}", self.resource())
    }
}

/// What the stepped clock shows, in seconds.
pub fn now() -> u64 {
    SteppedClock::default().now().unix_seconds().unsigned_abs()
}

/// Lets this much time pass, in steps between which the runner can renew its lease.
pub async fn pass(time: Duration) {
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(Duration::from_secs(2));
        tokio::time::pause();
        tokio::time::advance(step).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(25)).await;
        left -= step;
    }
}

/// An enabled individual enrollment with `sample::keys(10)`.
pub fn individual(id: &str) -> IndividualEnrollment {
    let settings = EnrollmentSettings { initial_twin: Some(sample::twin()), ..EnrollmentSettings::default() };
    IndividualEnrollment { device_id: None, settings, ..sample::individual(id) }
}

pub fn with_keys(id: &str, number: u8) -> IndividualEnrollment {
    let attestation = IndividualAttestation::SymmetricKey(sample::keys(number));
    IndividualEnrollment { attestation, ..individual(id) }
}

pub fn group(id: &str, attestation: GroupAttestation) -> EnrollmentGroup {
    EnrollmentGroup { attestation, settings: EnrollmentSettings::default(), ..sample::group(id) }
}
