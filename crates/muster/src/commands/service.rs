//! Which service operations endpoint the operator's commands speak to.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use fleet::{ServiceClient, Trust};
use server::dev::DevInfo;
use wire::sas::ConnectionString;

use super::target::read;

/// The endpoint, given by a connection string or as the folder of an emulator.
#[derive(Args)]
pub struct ServiceArgs {
    /// The folder of a running `muster dev`.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["connection_string", "ca"],
        required_unless_present = "connection_string"
    )]
    dev: Option<PathBuf>,
    /// The service instance's connection string.
    #[arg(long, env = "MUSTER_CONNECTION_STRING", hide_env_values = true, requires = "ca")]
    connection_string: Option<String>,
    /// PEM file of the CA that vouches for the server.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl ServiceArgs {
    /// A client of the endpoint.
    pub fn client(&self) -> anyhow::Result<ServiceClient> {
        let (connection, ca_file) = match (&self.dev, &self.connection_string, &self.ca) {
            (Some(dir), ..) => {
                let info = DevInfo::read(dir)?;
                (info.service_connection_string, info.ca_file)
            }
            (None, Some(connection), Some(ca)) => (connection.clone(), ca.clone()),
            // Clap asks for one or the other.
            _ => anyhow::bail!("--dev, or --connection-string with --ca, is needed"),
        };
        let trust = Trust::from_pem(&read(&ca_file)?).with_context(|| ca_file.display().to_string())?;
        Ok(ServiceClient::new(&ConnectionString::parse(&connection)?, HTTPS, trust)?)
    }
}

/// The port where the connection string has none.
const HTTPS: u16 = 443;
