//! Nodes with one store, the hubs of another process, and the devices that register at the nodes.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use durable::Sealer;
use fleet::{Device, Transport};
use futures_util::future::try_join_all;
use model::RegistrationId;
use serde_json::json;
use server::dev::DevInfo;
use tempfile::TempDir;
use testkit::server_certificate::ServerCertificate;

use super::database::Database;
use crate::{
    child::Server,
    load::{ConnectedDevices, Kind, Scene, Size, devices, service},
    node::{CA_FILE, ID_SCOPE, KEY},
};

/// The linked hubs. A node has at most 32 calls under way to each, and more devices register at once.
const HUBS: usize = 4;

/// The number of devices that register before a measurement, so that connections and plans are there.
const WARM: usize = 512;

/// CPU time per registration.
#[derive(Debug, Clone, Copy)]
pub struct CpuCost {
    /// The time of all nodes.
    pub nodes: Duration,
    /// The time of all processes of the database; zero for the embedded store.
    pub database: Duration,
}

/// Nodes that serve.
pub struct Cluster {
    nodes: Vec<Server>,
    database: Option<Database>,
    folder: TempDir,
    _hubs: Server,
}

impl Cluster {
    /// Starts one node with the embedded store.
    pub async fn embedded() -> anyhow::Result<Cluster> {
        Cluster::start(None, None, 1).await
    }

    /// Starts nodes with a database of their own, which they reach at another port if there is a relay.
    pub async fn shared(nodes: usize, database: Database, relay: Option<u16>) -> anyhow::Result<Cluster> {
        let mut address = database.address().clone();
        address.port = relay.unwrap_or(address.port);
        Cluster::start(Some(database), Some(address.url()), nodes).await
    }

    async fn start(database: Option<Database>, url: Option<String>, nodes: usize) -> anyhow::Result<Cluster> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let certificate = ServerCertificate::of("127.0.0.1");
        fs::write(path.join(CA_FILE), certificate.ca)?;
        fs::write(path.join("server.pem"), certificate.certificate)?;
        fs::write(path.join("server.key"), certificate.key)?;
        Sealer::load_or_create(&master_key(path))?;
        let hubs = Server::muster_with_hubs(&path.join("hubs"), HUBS)?;
        let info = DevInfo::read(&path.join("hubs"))?;
        let start = |number| {
            let file = path.join(format!("node-{number}.toml"));
            fs::write(&file, configuration(path, number, url.as_deref(), &info)?)?;
            Server::node(&file)
        };
        let nodes = (0..nodes).map(start).collect::<anyhow::Result<_>>()?;
        let cluster = Cluster { nodes, database, folder, _hubs: hubs };
        cluster.warm_up().await?;
        Ok(cluster)
    }

    /// Returns the database. Fails for the embedded store.
    pub fn database(&self) -> anyhow::Result<&Database> {
        self.database.as_ref().ok_or_else(|| anyhow::anyhow!("the store is embedded"))
    }

    /// Returns the file of the key that documents are sealed with.
    pub fn master_key(&self) -> PathBuf {
        master_key(self.folder.path())
    }

    /// Creates the group of the devices with keys, and registers some.
    async fn warm_up(&self) -> anyhow::Result<()> {
        let attestation =
            json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}});
        let group = json!({"enrollmentGroupId": "bench-keys", "attestation": attestation});
        service(&self.nodes[0])?.create_group(&group).await?;
        let size = Size { devices: WARM, concurrency: 64 };
        self.register_all(&mut self.open(Kind::Key, "warm", size).await?).await
    }

    /// Enrolls devices whose IDs begin with this, and connects them to all nodes evenly.
    pub async fn open(&self, kind: Kind, prefix: &str, size: Size) -> anyhow::Result<Vec<ConnectedDevices>> {
        let ids = (0..size.devices).map(|number| RegistrationId::parse(format!("{prefix}-{number:05}")));
        let devices = devices(&self.nodes[0], kind, ids.collect::<Result<_, _>>()?).await?;
        self.connect(kind, &devices, size).await
    }

    /// Connects devices that are enrolled already.
    pub async fn connect(
        &self,
        kind: Kind,
        devices: &[Device],
        size: Size,
    ) -> anyhow::Result<Vec<ConnectedDevices>> {
        let share = devices.len().div_ceil(self.nodes.len());
        let concurrency = (size.concurrency / self.nodes.len()).max(1);
        let mut loads = Vec::new();
        for (node, devices) in self.nodes.iter().zip(devices.chunks(share)) {
            let size = Size { devices: devices.len(), concurrency };
            let scene = Scene { kind, transport: Transport::Https, kept: true, size };
            loads.push(ConnectedDevices::open(&node.endpoint()?, Arc::from(devices), scene).await?);
        }
        Ok(loads)
    }

    /// Registers all devices once.
    pub async fn register_all(&self, loads: &mut [ConnectedDevices]) -> anyhow::Result<()> {
        try_join_all(loads.iter_mut().map(ConnectedDevices::register_all)).await.map(drop)
    }

    /// Registers all devices once, and measures nodes and database meanwhile.
    pub async fn measured(&self, loads: &mut [ConnectedDevices]) -> anyhow::Result<CpuCost> {
        let devices = u32::try_from(loads.iter().map(ConnectedDevices::devices).sum::<usize>())?;
        let before = self.cpu()?;
        self.register_all(loads).await?;
        let after = self.cpu()?;
        let each = |of: fn(&CpuCost) -> Duration| of(&after).saturating_sub(of(&before)) / devices;
        Ok(CpuCost { nodes: each(|cpu| cpu.nodes), database: each(|cpu| cpu.database) })
    }

    fn cpu(&self) -> anyhow::Result<CpuCost> {
        let nodes = self.nodes.iter().map(Server::cpu).sum::<anyhow::Result<_>>()?;
        let database = self.database.as_ref().map(Database::cpu).transpose()?.unwrap_or_default();
        Ok(CpuCost { nodes, database })
    }
}

fn master_key(folder: &Path) -> PathBuf {
    folder.join("master.key")
}

/// Returns the configuration of a node. It answers when a registration has ended, so that devices need not poll.
fn configuration(folder: &Path, number: usize, url: Option<&str>, hubs: &DevInfo) -> anyhow::Result<String> {
    let [https, mqtts, amqps] = free_ports()?;
    let store = url.map(|url| format!("store = {url:?}\n")).unwrap_or_default();
    let ca = &hubs.ca_file;
    let links = hubs.hubs.iter().map(|hub| {
        format!("[[instance.linked_hub]]\nconnection_string = {:?}\nca = {ca:?}\n", hub.connection_string)
    });
    let (links, folder) = (links.collect::<String>(), folder.display());
    Ok(format!(
        "data_dir = \"{folder}/node-{number}\"\nmaster_key_file = \"{folder}/master.key\"\n{store}\
         [listen]\nhttps = \"127.0.0.1:{https}\"\nmqtts = \"127.0.0.1:{mqtts}\"\namqps = \"127.0.0.1:{amqps}\"\n\
         [device]\nanswer_within_ms = 10000\n\
         [[tls]]\ncertificate = \"{folder}/server.pem\"\nkey = \"{folder}/server.key\"\n\
         [[instance]]\nname = \"bench\"\nid_scope = \"{ID_SCOPE}\"\nservice_hosts = [\"127.0.0.1\"]\n\
         require_verified_ca = false\n\
         [[instance.access_policy]]\nname = \"owner\"\nprimary_key = {KEY:?}\nsecondary_key = {KEY:?}\n\
         rights = \"ServiceConfig, EnrollmentWrite\"\n{links}"
    ))
}

fn free_ports() -> anyhow::Result<[u16; 3]> {
    let listeners = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let [https, mqtts, amqps] = listeners.map(|listener| listener.local_addr().map(|address| address.port()));
    Ok([https?, mqtts?, amqps?])
}
