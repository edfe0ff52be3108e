//! The trust anchors of clients.

use std::sync::Arc;

use net::tls::{Roots, TlsError};
use rustls::ClientConfig;

use crate::device::Credentials;

/// The trusted CA certificates for servers.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Roots,
    /// The TLS configuration of clients without a certificate, created once.
    anonymous: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts one or more CA certificates in PEM.
    pub fn from_pem(ca: &[u8]) -> Result<Trust, TlsError> {
        Trust::of_roots(Roots::from_pem(ca)?)
    }

    /// Trusts the CA certificates of the system.
    pub fn of_system() -> Result<Trust, TlsError> {
        Trust::of_roots(Roots::of_system()?)
    }

    fn of_roots(roots: Roots) -> Result<Trust, TlsError> {
        Ok(Trust { anonymous: roots.client_config(None)?, roots })
    }

    /// Returns the TLS configuration without a client certificate.
    pub fn anonymous(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.anonymous)
    }

    /// Returns the TLS configuration of a device, with its certificate if it has one.
    pub fn of(&self, credentials: &Credentials) -> Result<Arc<ClientConfig>, TlsError> {
        match credentials {
            Credentials::Certificate(identity) => self.roots.client_config(Some(identity)),
            Credentials::Key(_) | Credentials::Tpm(_) => Ok(self.anonymous()),
        }
    }
}
