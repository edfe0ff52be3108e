//! Nodes with one store, the hubs of another process, and the devices that register at the nodes.

use std::{
    fs,
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
use testkit::{
    node::{self, KEY, MASTER_KEY_FILE, Ports},
    server_certificate::ServerCertificate,
};

use super::database::Database;
use crate::{
    child::Server,
    load::{ConnectedDevices, Kind, Scene, Size, devices, service},
};

/// The linked hubs. A node has at most 32 calls under way to each, and more devices register at once.
const HUBS: usize = 4;

/// A node answers when a registration has ended, so that devices need not poll.
const ANSWERS: &str = "[device]\nanswer_within_ms = 10000\n";

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
        ServerCertificate::of("127.0.0.1").write(path);
        Sealer::load_or_create(&master_key(path))?;
        let hubs = Server::muster_with_hubs(&path.join("hubs"), HUBS)?;
        let info = DevInfo::read(&path.join("hubs"))?;
        let links: String =
            info.hubs.iter().map(|hub| node::link(&hub.connection_string, &info.ca_file)).collect();
        let start = |number| {
            let file = path.join(format!("node-{number}.toml"));
            let text = node::configuration(path, number, Ports::free(), url.as_deref(), &links);
            fs::write(&file, text + ANSWERS)?;
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
    folder.join(MASTER_KEY_FILE)
}
