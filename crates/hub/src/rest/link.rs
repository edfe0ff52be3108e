//! Where a linked hub is, and what opens it.

use std::{sync::Arc, time::Duration};

use model::{HubAccess, HubName, SymmetricKey};
use net::{client::Deadlines, tls::TlsError};
use rustls::ClientConfig;

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

impl RestLink {
    /// The link to a hub by this access.
    pub fn new(hub: HubName, access: &HubAccess) -> Result<RestLink, TlsError> {
        Ok(RestLink {
            hub,
            port: access.port,
            policy: access.policy.clone(),
            key: access.key.clone(),
            tls: tls(access)?,
            deadlines: DEADLINES,
            place_within: Duration::from_secs(10),
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

/// A hub that throttles holds requests back for up to a minute before it says so.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(15), exchange: Duration::from_secs(60) };
