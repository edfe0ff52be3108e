//! Address, key and limits of a linked hub.

use std::{sync::Arc, time::Duration};

use model::{HubAccess, HubName, SymmetricKey};
use net::{client::Deadlines, tls::TlsError};
use rustls::ClientConfig;

/// How to call a hub: the address of its REST API, and a shared access policy with the rights `RegistryRead`, `RegistryWrite` and
/// `ServiceConnect`.
#[derive(Clone)]
pub struct RestLink {
    /// The hub's host name, which tokens are signed for.
    pub hub: HubName,
    /// The port of its REST API.
    pub port: u16,
    /// The policy's name.
    pub policy: String,
    /// The policy's key.
    pub key: SymmetricKey,
    /// The TLS configuration with the CAs that its certificate may chain to.
    pub tls: Arc<ClientConfig>,
    /// How long a connection and an exchange may take.
    pub deadlines: Deadlines,
    /// How long a call waits for a permit while too many are in flight. Then the hub counts as unavailable for that call.
    pub permit_within: Duration,
}

impl RestLink {
    /// Makes the link of a hub from its stored access. Fails if its CA certificates are not usable.
    pub fn new(hub: HubName, access: &HubAccess) -> Result<RestLink, TlsError> {
        Ok(RestLink {
            hub,
            port: access.port,
            policy: access.policy.clone(),
            key: access.key.clone(),
            tls: tls(access)?,
            deadlines: DEADLINES,
            permit_within: Duration::from_secs(10),
        })
    }
}

fn tls(access: &HubAccess) -> Result<Arc<ClientConfig>, TlsError> {
    if access.ca.is_empty() {
        return net::tls::client_config_of_system();
    }
    let pem: String = access.ca.iter().map(model::Certificate::to_pem).collect();
    net::tls::client_config(pem.as_bytes(), None)
}

/// A hub that throttles may hold a request back for up to a minute before it answers.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(15), exchange: Duration::from_secs(60) };
