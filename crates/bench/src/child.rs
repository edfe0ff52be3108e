//! Starts, reads and stops child processes.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use fleet::{Endpoint, Trust};
use model::{HostName, IdScope, SymmetricKey};
use serde::{Deserialize, Serialize};

use crate::{cpu, load::Size};

/// The line of JSON that a server prints when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The port for HTTPS.
    pub https: u16,
    /// The port for MQTT.
    pub mqtts: u16,
    /// The port for AMQP; 0 for the bare server, which has none.
    pub amqps: u16,
    /// The ID scope of the service instance.
    pub id_scope: String,
    /// The CA certificate of the server, PEM.
    pub ca_pem: String,
    /// The service connection string; empty for the bare server.
    pub service: String,
    /// The key of the sample group, base64; empty for the bare server.
    pub group_key: String,
}

/// A running server.
pub struct Server {
    process: Child,
    /// The line that the server printed.
    pub ready: Ready,
}

impl Server {
    /// Starts the bare server.
    pub fn bare() -> anyhow::Result<Self> {
        Self::start(&["bare"])
    }

    /// Starts the service in a folder.
    pub fn muster(dir: &Path) -> anyhow::Result<Self> {
        Self::start(&["muster", &dir.display().to_string()])
    }

    /// Starts the service in a folder, with this number of embedded hubs.
    pub fn muster_with_hubs(dir: &Path, hubs: usize) -> anyhow::Result<Self> {
        Self::start(&["muster", &dir.display().to_string(), &hubs.to_string()])
    }

    /// Starts a node with this configuration file.
    pub fn node(config: &Path) -> anyhow::Result<Self> {
        Self::start(&["node", &config.display().to_string()])
    }

    fn start(args: &[&str]) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let mut line = String::new();
        let output = process.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            bail!("the server {args:?} ended before it was ready");
        }
        Ok(Server { process, ready: serde_json::from_str(&line)? })
    }

    /// Returns the endpoint for devices.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint {
            host: HostName::parse("127.0.0.1")?,
            https_port: self.ready.https,
            mqtts_port: self.ready.mqtts,
            amqps_port: self.ready.amqps,
            id_scope: IdScope::parse(&self.ready.id_scope)?,
            trust: Trust::from_pem(self.ready.ca_pem.as_bytes())?,
        })
    }

    /// Returns the key of the sample group.
    pub fn group_key(&self) -> anyhow::Result<SymmetricKey> {
        Ok(SymmetricKey::parse(&self.ready.group_key)?)
    }

    /// Returns the CPU time of the server so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::time(self.process.id())
    }

    /// Returns the resident memory of the server, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        cpu::resident(self.process.id())
    }

    /// Stops the server cleanly by closing its input. Fails if its exit status is not 0.
    pub fn stop(mut self) -> anyhow::Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { bail!("the server ended with {status}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process has ended after `stop`; this is for measurements that fail.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Prints the line of a ready server, and waits until standard input is closed.
pub async fn report_ready_and_wait(ready: &Ready) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(ready)?);
    let until_closed = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    tokio::task::spawn_blocking(until_closed).await??;
    Ok(())
}

/// The cost of a hub by itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hub {
    /// The CPU time for a new device, in microseconds.
    pub create_us: f64,
    /// The CPU time for an unchanged device, in microseconds.
    pub confirm_us: f64,
}

impl Hub {
    /// Measures a hub in a separate process.
    pub fn measure(size: Size) -> anyhow::Result<Self> {
        let output = Command::new(std::env::current_exe()?)
            .args(["hub", &size.devices.to_string(), &size.concurrency.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("the hub ended with {}", output.status);
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
