//! The endpoint of the device commands.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use fleet::{Endpoint, Trust};
use model::{HostName, HostPort, IdScope, SymmetricKey};
use server::dev::DevInfo;

/// The arguments for the endpoint: its address, or the folder of an emulator.
#[derive(Args)]
pub struct TargetArgs {
    /// The folder of a running `muster dev`, which provides endpoint, ID scope, CA and sample enrollment group.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["endpoint", "id_scope"])]
    dev: Option<PathBuf>,
    /// The device provisioning endpoint, with its HTTPS port. Default port: 443.
    #[arg(long, value_name = "HOST[:PORT]", required_unless_present = "dev")]
    endpoint: Option<HostPort>,
    /// The endpoint's port for MQTT over TLS.
    #[arg(long, value_name = "PORT", default_value_t = 8883, conflicts_with = "dev")]
    mqtt_port: u16,
    /// The endpoint's port for AMQP over TLS.
    #[arg(long, value_name = "PORT", default_value_t = 5671, conflicts_with = "dev")]
    amqp_port: u16,
    /// The ID scope of the service instance.
    #[arg(long, value_name = "SCOPE", value_parser = |text: &str| IdScope::parse(text), required_unless_present = "dev")]
    id_scope: Option<IdScope>,
    /// A PEM file with the CA certificates of the servers. Default: the CAs of the system.
    #[arg(long, value_name = "FILE", env = "MUSTER_CA")]
    ca: Option<PathBuf>,
}

/// The endpoint where devices register, and further values of an emulator.
pub struct Target {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The hubs' port for MQTT over TLS, if an emulator specifies it.
    pub hub_port: Option<u16>,
    /// The key of the emulator's sample enrollment group.
    pub sample_key: Option<SymmetricKey>,
}

impl TargetArgs {
    /// Reads the files that the arguments name, and returns the endpoint. Fails if one is missing or malformed.
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
            // Clap requires one or the other.
            (None, ..) => anyhow::bail!("--dev, or --endpoint and --id-scope, are required"),
        }
    }
}

impl Target {
    /// Reads the target from the `dev.json` of an emulator.
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

/// Reads the CA certificates in a file, or those of the system without one.
pub fn trust(ca_file: Option<&Path>) -> anyhow::Result<Trust> {
    match ca_file {
        Some(file) => Trust::from_pem(&read(file)?).with_context(|| file.display().to_string()),
        None => Ok(Trust::of_system()?),
    }
}

/// Reads a file. The error names it.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
