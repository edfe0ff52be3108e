//! The service operations endpoint of the operator commands.

use std::path::{Path, PathBuf};

use clap::Args;
use fleet::ServiceClient;
use model::HostPort;
use server::dev::DevInfo;
use wire::sas::ConnectionString;

use super::{UsageError, login::login_file, target::trust};
use crate::output;

/// The port of an address without one.
pub(super) const HTTPS: u16 = 443;

/// The arguments for the endpoint. The first of them that is given counts; without any, the login of the user does.
#[derive(Args)]
#[group(skip)]
pub struct ServiceArgs {
    /// The folder of a running `muster dev`.
    #[arg(long, value_name = "DIR")]
    dev: Option<PathBuf>,
    /// A service of the login (`muster login`), unless --dev is given. Default: its first one.
    #[arg(long, value_name = "HOST[:PORT]", env = "MUSTER_SERVICE")]
    service: Option<HostPort>,
    /// The connection string of the service instance, unless --dev or --service is given.
    #[arg(long, env = "MUSTER_CONNECTION_STRING", hide_env_values = true)]
    connection_string: Option<String>,
    /// A PEM file with the CA certificates of the server. Default: that of the login, or else the CAs of the system.
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
        let client = match (&self.dev, &self.service, &self.connection_string) {
            (Some(dir), ..) => {
                let info = DevInfo::read(dir)?;
                let ca_file = info.ca_file.clone();
                client_by_key(&of_emulator(info), Some(&ca_file))?
            }
            (None, None, Some(connection)) => client_by_key(connection, self.ca.as_deref())?,
            (None, service, _) => self.client_by_login(service.as_ref())?,
        };
        Ok(client.on_warning(|warning| output::note(format_args!("muster: warning: {warning}"))))
    }

    /// Makes a client with the rights of the login.
    fn client_by_login(&self, service: Option<&HostPort>) -> anyhow::Result<ServiceClient> {
        let file = login_file()?;
        let login = file.read()?.ok_or(UsageError(
            "no service is given: use --dev DIR or --connection-string (MUSTER_CONNECTION_STRING), or run muster login",
        ))?;
        let trust = trust(self.ca.as_deref().or(login.ca.as_deref()))?;
        Ok(ServiceClient::with_login(login.service(service)?, HTTPS, trust, file))
    }
}

fn client_by_key(connection: &str, ca_file: Option<&Path>) -> anyhow::Result<ServiceClient> {
    Ok(ServiceClient::new(&ConnectionString::parse(connection)?, HTTPS, trust(ca_file)?)?)
}
