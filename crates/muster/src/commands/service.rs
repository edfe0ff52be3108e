//! Which service operations endpoint the operator's commands speak to.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use fleet::ServiceClient;
use server::dev::DevInfo;
use wire::sas::ConnectionString;

use super::target::trust;
use crate::output;

/// The endpoint, given by a connection string or as the folder of an emulator.
#[derive(Args)]
#[group(skip)]
#[command(group(ArgGroup::new("service").required(true).multiple(true).args(["dev", "connection_string"])))]
pub struct ServiceArgs {
    /// The folder of a running `muster dev`. It counts more than a connection string.
    #[arg(long, value_name = "DIR")]
    dev: Option<PathBuf>,
    /// The service instance's connection string.
    #[arg(long, env = "MUSTER_CONNECTION_STRING", hide_env_values = true)]
    connection_string: Option<String>,
    /// PEM file of the CA that vouches for the server; the CAs that the system trusts when absent.
    #[arg(long, value_name = "FILE", env = "MUSTER_CA")]
    ca: Option<PathBuf>,
}

impl ServiceArgs {
    /// A client of the endpoint.
    pub fn client(&self) -> anyhow::Result<ServiceClient> {
        let (connection, ca_file) = match (&self.dev, &self.connection_string) {
            (Some(dir), _) => {
                let info = DevInfo::read(dir)?;
                (info.service_connection_string, Some(info.ca_file))
            }
            (None, Some(connection)) => (connection.clone(), self.ca.clone()),
            // Clap asks for one or the other.
            (None, None) => anyhow::bail!("--dev or --connection-string is needed"),
        };
        let connection = ConnectionString::parse(&connection)?;
        let client = ServiceClient::new(&connection, HTTPS, trust(ca_file.as_deref())?)?;
        Ok(client.on_warning(|warning| output::note(format_args!("muster: warning: {warning}"))))
    }
}

/// The port where the connection string has none.
const HTTPS: u16 = 443;
