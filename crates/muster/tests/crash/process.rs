//! Starts and kills the program.

use std::{fs::File, path::Path, process::Stdio, time::Duration};

use fleet::{Endpoint, HubEndpoint, Trust};
use model::{HostName, HubName, IdScope};
use server::dev::{DevHub, DevInfo};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use wire::sas::ConnectionString;

use crate::deployment::{DeployedHub, Deployment};

/// The time limit of a start, including the recovery, which takes a fraction of it.
const START: Duration = Duration::from_secs(60);

/// The time limit from SIGTERM to a clean stop.
const STOP: Duration = Duration::from_secs(30);

/// A running `muster dev`, killed when dropped.
pub struct Muster {
    child: Child,
    pub info: DevInfo,
}

impl Muster {
    /// Starts the program, and waits until it is ready.
    pub async fn start(folder: &Path) -> Muster {
        let mut child = spawn(folder);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let info = timeout(START, read_info(&mut lines)).await.expect("it starts in time");
        Muster { child, info }
    }

    /// Starts the program, and kills it after this time, ready or not.
    pub async fn start_and_kill(folder: &Path, after: Duration) {
        let mut child = spawn(folder);
        tokio::time::sleep(after).await;
        child.kill().await.unwrap();
    }

    /// Sends SIGKILL, and waits until the process is gone.
    pub async fn kill(mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "it ended by itself");
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM, and waits for a clean stop.
    pub async fn stop(mut self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(id).status().await.unwrap().success());
        let status = timeout(STOP, self.child.wait()).await.expect("it ends in time").unwrap();
        assert!(status.success(), "{status}");
    }

    /// Returns the service and its hubs.
    pub fn deployment(&self) -> Deployment {
        let DevInfo { ports, .. } = self.info;
        let trust = Trust::from_pem(&std::fs::read(&self.info.ca_file).unwrap()).unwrap();
        let endpoint = Endpoint {
            host: HostName::parse(&self.info.device_endpoint).unwrap(),
            https_port: ports.https,
            mqtts_port: ports.mqtts,
            amqps_port: ports.amqps,
            id_scope: IdScope::parse(&self.info.id_scope).unwrap(),
            trust: trust.clone(),
        };
        let hub = |hub: &DevHub| {
            let name = HubName::parse(&hub.host_name).unwrap();
            DeployedHub {
                endpoint: HubEndpoint { name, mqtts_port: ports.mqtts, trust: trust.clone() },
                owner: ConnectionString::parse(&hub.connection_string).unwrap(),
                https_port: ports.https,
            }
        };
        let hubs = self.info.hubs.iter().map(hub).collect();
        let operator = ConnectionString::parse(&self.info.service_connection_string).unwrap();
        Deployment { endpoint, operator, hubs }
    }

    /// Returns the process ID.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }
}

fn spawn(folder: &Path) -> Child {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash.log");
    let log = File::options().create(true).append(true).open(log).unwrap();
    Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["dev", "--ports", "free", "--json", "--log", "warn,server=info", "--dir"])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Reads the JSON that the program prints when it is ready. Its last line is a closing brace.
async fn read_info(lines: &mut Lines<BufReader<ChildStdout>>) -> DevInfo {
    let mut text = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        text.push_str(&line);
        if line == "}" {
            return serde_json::from_str(&text).unwrap();
        }
    }
    panic!("it ended instead of starting; see crash.log in {}", env!("CARGO_TARGET_TMPDIR"));
}
