//! Nodes: several `muster serve` on one database, behind HAProxy, with the hubs of another process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use fleet::{Endpoint, Trust};
use http::{Method, StatusCode};
use model::{HostName, IdScope};
use net::client::{Call, Deadlines, HttpsConnection};
use tempfile::TempDir;
use testkit::{
    node::{ID_SCOPE, KEY, Ports, configuration, link},
    server_certificate::ServerCertificate,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use wire::sas::ConnectionString;

use super::haproxy::HaProxy;
use crate::{deployment::Deployment, process::Muster};

/// The time limit of whatever a test waits for, on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(90);

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A process of the service.
pub struct Node {
    pub number: usize,
    pub ports: Ports,
    /// How far its clock is ahead of the machine's, in seconds.
    clock: i64,
    config: PathBuf,
    child: Option<Child>,
}

/// Nodes and all around them.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub hubs: Muster,
    balancer: HaProxy,
    ca: String,
    _folder: TempDir,
}

impl Cluster {
    /// Starts one node for each of these URLs of one database.
    pub async fn start(databases: &[String]) -> Cluster {
        let plans: Vec<_> = databases.iter().map(|database| (database.clone(), 0)).collect();
        Cluster::start_with_clocks(&plans).await
    }

    /// Starts one node for each of these URLs of one database, with its clock ahead of the machine's by these seconds.
    pub async fn start_with_clocks(plans: &[(String, i64)]) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let hubs = Muster::start(&folder.path().join("hubs")).await;
        let certificate = ServerCertificate::of("127.0.0.1");
        certificate.write(folder.path());
        let (known, ca) = (&hubs.info.hubs, &hubs.info.ca_file);
        let links: String = known.iter().map(|hub| link(&hub.connection_string, ca)).collect();
        let mut nodes = Vec::new();
        for (number, (database, clock)) in plans.iter().enumerate() {
            let ports = Ports::free();
            let config = folder.path().join(format!("node-{number}.toml"));
            let text = configuration(folder.path(), number, ports, Some(database), &links);
            std::fs::write(&config, text).unwrap();
            nodes.push(Node { number, ports, clock: *clock, config, child: None });
        }
        let init = muster().args(["store", "init", "--config"]).arg(&nodes[0].config).output().await.unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let balancer =
            HaProxy::start(folder.path(), &nodes.iter().map(|node| node.ports).collect::<Vec<_>>());
        let mut cluster = Cluster { nodes, hubs, balancer, ca: certificate.ca, _folder: folder };
        for number in 0..plans.len() {
            cluster.start_node(number).await;
        }
        // The load balancer learns that later.
        cluster.until_ready().await;
        cluster
    }

    /// Starts a node, and waits until it is ready.
    pub async fn start_node(&mut self, number: usize) {
        self.nodes[number].spawn();
        let deployment = self.node(number);
        until("the node is ready", async || is_ready(&deployment).await).await;
    }

    /// Kills a node after this time, and starts it again after the same time.
    pub async fn fail_node(&mut self, number: usize, moment: Duration) {
        sleep(moment).await;
        self.nodes[number].kill().await;
        sleep(moment).await;
        self.start_node(number).await;
    }

    /// Returns the service as it is seen through the load balancer.
    pub fn deployment(&self) -> Deployment {
        let mut deployment = self.hubs.deployment();
        let Ports { https, mqtts, amqps } = self.balancer.ports;
        deployment.endpoint = Endpoint {
            host: HostName::parse("127.0.0.1").unwrap(),
            https_port: https,
            mqtts_port: mqtts,
            amqps_port: amqps,
            id_scope: IdScope::parse(ID_SCOPE).unwrap(),
            trust: Trust::from_pem(self.ca.as_bytes()).unwrap(),
        };
        let operator = format!("HostName=127.0.0.1;SharedAccessKeyName=owner;SharedAccessKey={KEY}");
        deployment.operator = ConnectionString::parse(&operator).unwrap();
        deployment
    }

    /// Returns the service as it is seen at one node.
    pub fn node(&self, number: usize) -> Deployment {
        let Ports { https, mqtts, amqps } = self.nodes[number].ports;
        self.deployment().at(https, mqtts, amqps)
    }

    /// Waits until the load balancer sends devices to a node again.
    pub async fn until_ready(&self) {
        let deployment = self.deployment();
        until("a node is ready", async || is_ready(&deployment).await).await;
    }
}

impl Node {
    fn spawn(&mut self) {
        assert!(self.child.is_none(), "the node runs");
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-node-{}.log", self.number));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = muster();
        command.args(["serve", "--log", "info", "--config"]).arg(&self.config).stderr(log);
        if self.clock != 0 {
            shift_clock(&mut command, self.clock);
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// Sends SIGKILL, and waits until the process is gone.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        assert_eq!(child.try_wait().unwrap(), None, "node {} ended by itself", self.number);
        child.kill().await.unwrap();
    }

    /// Sends SIGTERM, and waits for a clean stop.
    pub async fn stop(&mut self) {
        self.signal("-TERM").await;
        let mut child = self.child.take().expect("the node runs");
        let status = timeout(TIMEOUT, child.wait()).await.expect("it ends in time").unwrap();
        assert!(status.success(), "node {}: {status}", self.number);
    }

    /// Stops the process where it is, until [`resume`](Node::resume).
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        signal_process(self.child.as_ref().expect("the node runs").id().unwrap(), signal).await;
    }
}

/// Has a program see the time of day this number of seconds ahead. The monotonic clock stays, as on a machine whose clock is
/// wrong.
fn shift_clock(command: &mut Command, seconds: i64) {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let library = libraries.find(|library| library.exists());
    command.env("LD_PRELOAD", library.expect("libfaketime is not installed: run tests/install"));
    command.env("FAKETIME", format!("{seconds:+}")).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// Sends a signal to a process.
pub async fn signal_process(id: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &id.to_string()]).status().await.unwrap().success());
}

/// Returns the status of `GET` of a path at a service; absent if it does not answer.
pub async fn status(deployment: &Deployment, path: &str) -> Option<StatusCode> {
    let deadline = Duration::from_secs(5);
    let deadlines = Deadlines { connect: deadline, exchange: deadline };
    let (port, config) = (deployment.endpoint.https_port, deployment.trust().anonymous());
    let mut connection = HttpsConnection::open("127.0.0.1", port, config, deadlines).await.ok()?;
    let call = Call { method: Method::GET, path_and_query: path.to_owned(), ..Call::default() };
    Some(connection.call(call).await.ok()?.status())
}

pub async fn is_ready(deployment: &Deployment) -> bool {
    status(deployment, "/readyz").await == Some(StatusCode::OK)
}

pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(POLL_INTERVAL).await;
    }
}

fn muster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command
        .env_remove("MUSTER_STORE")
        .env_remove("MUSTER_CONFIG")
        .env_remove("MUSTER_LOG")
        .kill_on_drop(true);
    command
}

impl HaProxy {
    /// Starts it on free ports.
    fn start(folder: &Path, nodes: &[Ports]) -> HaProxy {
        HaProxy::on(Ports::free(), folder, nodes)
    }
}
