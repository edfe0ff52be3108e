//! Which endpoint the device commands speak to.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use fleet::{Endpoint, Trust};
use model::{HostName, HostPort, IdScope, SymmetricKey};
use server::dev::DevInfo;

/// The endpoint, given in full or as the folder of an emulator.
#[derive(Args)]
pub struct TargetArgs {
    /// The folder of a running `muster dev`: endpoint, ID scope, CA and the sample enrollment group are taken from it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["endpoint", "id_scope"])]
    dev: Option<PathBuf>,
    /// The device provisioning endpoint; the port is that of HTTPS, 443 without one.
    #[arg(long, value_name = "HOST[:PORT]", required_unless_present = "dev")]
    endpoint: Option<HostPort>,
    /// The endpoint's port of MQTT over TLS.
    #[arg(long, value_name = "PORT", default_value_t = 8883, conflicts_with = "dev")]
    mqtt_port: u16,
    /// The endpoint's port of AMQP over TLS.
    #[arg(long, value_name = "PORT", default_value_t = 5671, conflicts_with = "dev")]
    amqp_port: u16,
    /// The ID scope of the service instance.
    #[arg(long, value_name = "SCOPE", value_parser = |text: &str| IdScope::parse(text), required_unless_present = "dev")]
    id_scope: Option<IdScope>,
    /// PEM file of the CA certificates that servers must chain to; those that the system trusts when absent.
    #[arg(long, value_name = "FILE", env = "MUSTER_CA")]
    ca: Option<PathBuf>,
}

/// Where devices register, and what an emulator says beyond that.
pub struct Target {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The port of hubs for MQTT over TLS, where an emulator tells it.
    pub hub_port: Option<u16>,
    /// The key of the emulator's sample enrollment group.
    pub sample_key: Option<SymmetricKey>,
}

impl TargetArgs {
    /// Reads the files that the arguments name.
    pub fn resolve(self) -> anyhow::Result<Target> {
        match (self.dev, self.endpoint, self.id_scope) {
            (Some(dir), ..) => Target::of_emulator(&DevInfo::read(&dir)?),
            (None, Some(HostPort { host, port }), Some(id_scope)) => {
                let endpoint = Endpoint {
                    host,
                    https_port: port.unwrap_or(443),
                    mqtts_port: self.mqtt_port,
                    amqps_port: self.amqp_port,
                    id_scope,
                    trust: trust(self.ca.as_deref())?,
                };
                Ok(Target { endpoint, hub_port: None, sample_key: None })
            }
            // Clap asks for one or the other.
            (None, ..) => anyhow::bail!("--dev, or --endpoint and --id-scope are needed"),
        }
    }
}

impl Target {
    /// What an emulator says of itself.
    pub fn of_emulator(info: &DevInfo) -> anyhow::Result<Target> {
        let endpoint = Endpoint {
            host: HostName::parse(&info.device_endpoint)?,
            https_port: info.ports.https,
            mqtts_port: info.ports.mqtts,
            amqps_port: info.ports.amqps,
            id_scope: IdScope::parse(&info.id_scope)?,
            trust: trust(Some(&info.ca_file))?,
        };
        let sample_key = Some(SymmetricKey::parse(&info.sample_enrollment_group.primary_key)?);
        Ok(Target { endpoint, hub_port: Some(info.ports.mqtts), sample_key })
    }
}

/// The CA certificates in a file; without one, those that the system trusts.
pub fn trust(ca_file: Option<&Path>) -> anyhow::Result<Trust> {
    match ca_file {
        Some(file) => Trust::from_pem(&read(file)?).with_context(|| file.display().to_string()),
        None => Ok(Trust::of_system()?),
    }
}

/// Reads a file; the error names it.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
