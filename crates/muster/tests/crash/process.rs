//! The real program, started, killed and started again.

use std::{fs::File, path::Path, process::Stdio, time::Duration};

use fleet::{Endpoint, Trust};
use model::{HostName, IdScope};
use server::dev::DevInfo;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A running `muster dev`, killed when dropped.
pub struct Muster {
    child: Child,
    pub info: DevInfo,
}

/// Opening the databases and taking up what was cut off takes a fraction of this.
const START: Duration = Duration::from_secs(60);

/// From SIGTERM to a clean end.
const STOP: Duration = Duration::from_secs(30);

impl Muster {
    /// Starts and waits until it serves.
    pub async fn start(folder: &Path) -> Muster {
        let mut child = spawn(folder);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let info = timeout(START, read_info(&mut lines)).await.expect("it starts in time");
        Muster { child, info }
    }

    /// Starts and kills it, ready or not.
    pub async fn start_and_kill(folder: &Path, after: Duration) {
        let mut child = spawn(folder);
        tokio::time::sleep(after).await;
        child.kill().await.unwrap();
    }

    /// SIGKILL; returns when the process is gone.
    pub async fn kill(mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "it ended by itself");
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and a clean end.
    pub async fn stop(mut self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(id).status().await.unwrap().success());
        let status = timeout(STOP, self.child.wait()).await.expect("it ends in time").unwrap();
        assert!(status.success(), "{status}");
    }

    /// Where devices register.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: HostName::parse(&self.info.device_endpoint).unwrap(),
            https_port: self.info.ports.https,
            mqtts_port: self.info.ports.mqtts,
            amqps_port: self.info.ports.amqps,
            id_scope: IdScope::parse(&self.info.id_scope).unwrap(),
            trust: self.trust(),
        }
    }

    /// Whom devices and operators believe.
    pub fn trust(&self) -> Trust {
        Trust::from_pem(&std::fs::read(&self.info.ca_file).unwrap()).unwrap()
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

/// The JSON that is printed when it is ready; its last line is a closing brace.
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
