//! Where a linked hub is, and what opens it.

use std::{sync::Arc, time::Duration};

use model::{HostPort, HostPortError, HubName, IdError, KeyError, SymmetricKey};
use net::client::Deadlines;
use rustls::ClientConfig;
use wire::sas::ConnectionString;

/// A link to a hub: where its REST API is, and the shared access policy that is used there. The policy must allow to
/// write the registry (`RegistryWrite`) and twins (`ServiceConnect`).
#[derive(Clone)]
pub struct RestLink {
    /// The hub's host name, which devices are told and tokens are signed for.
    pub hub: HubName,
    /// The port of its REST API.
    pub port: u16,
    /// The policy's name.
    pub policy: String,
    /// The policy's key.
    pub key: SymmetricKey,
    /// Which certificates it may show.
    pub tls: Arc<ClientConfig>,
    /// How long it may take.
    pub deadlines: Deadlines,
    /// How long a call waits while as many are under way as the hub gets at once. Who then has no place is told that the
    /// hub is unavailable, and tries again.
    pub place_within: Duration,
}

/// Why a connection string leads to no hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Its host is none.
    #[error("connection string: {0}")]
    Address(#[from] HostPortError),
    /// Its host is no name that devices can be told.
    #[error("connection string: {0}")]
    Name(#[from] IdError),
    /// Its key is none.
    #[error("connection string: {0}")]
    Key(#[from] KeyError),
}

impl RestLink {
    /// The link that a connection string describes, over HTTPS with this configuration.
    pub fn new(connection: &ConnectionString, tls: Arc<ClientConfig>) -> Result<RestLink, LinkError> {
        let address: HostPort = connection.host.parse()?;
        Ok(RestLink {
            hub: HubName::parse(address.host.as_str())?,
            port: address.port.unwrap_or(HTTPS),
            policy: connection.key_name.clone(),
            key: SymmetricKey::parse(&connection.key)?,
            tls,
            deadlines: DEADLINES,
            place_within: Duration::from_secs(10),
        })
    }
}

const HTTPS: u16 = 443;

/// A hub that throttles holds requests back for up to a minute before it says so.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(15), exchange: Duration::from_secs(60) };
