//! The service operations endpoint of the operator commands.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use fleet::ServiceClient;
use server::dev::DevInfo;
use wire::sas::ConnectionString;

use super::target::trust;
use crate::output;

/// The port of a connection string without one.
pub(super) const HTTPS: u16 = 443;

/// The arguments for the endpoint: a connection string, or the folder of an emulator.
#[derive(Args)]
#[group(skip)]
#[command(group(ArgGroup::new("service").required(true).multiple(true).args(["dev", "connection_string"])))]
pub struct ServiceArgs {
    /// The folder of a running `muster dev`. It overrides the connection string.
    #[arg(long, value_name = "DIR")]
    dev: Option<PathBuf>,
    /// The connection string of the service instance.
    #[arg(long, env = "MUSTER_CONNECTION_STRING", hide_env_values = true)]
    connection_string: Option<String>,
    /// A PEM file with the CA certificates of the server. Default: the CAs of the system.
    #[arg(long, value_name = "FILE", env = "MUSTER_CA")]
    ca: Option<PathBuf>,
}

impl ServiceArgs {
    /// Makes a client of the endpoint. It prints warnings of the service to standard error.
    pub fn client(&self) -> anyhow::Result<ServiceClient> {
        self.client_with(|info| info.service_connection_string)
    }

    /// Makes a client of the management API.
    pub fn management_client(&self) -> anyhow::Result<ServiceClient> {
        self.client_with(|info| info.management_connection_string)
    }

    fn client_with(&self, of_emulator: impl Fn(DevInfo) -> String) -> anyhow::Result<ServiceClient> {
        let (connection, ca_file) = match (&self.dev, &self.connection_string) {
            (Some(dir), _) => {
                let info = DevInfo::read(dir)?;
                let ca_file = info.ca_file.clone();
                (of_emulator(info), Some(ca_file))
            }
            (None, Some(connection)) => (connection.clone(), self.ca.clone()),
            // Clap requires one or the other.
            (None, None) => anyhow::bail!("--dev or --connection-string is required"),
        };
        let connection = ConnectionString::parse(&connection)?;
        let client = ServiceClient::new(&connection, HTTPS, trust(ca_file.as_deref())?)?;
        Ok(client.on_warning(|warning| output::note(format_args!("muster: warning: {warning}"))))
    }
}
