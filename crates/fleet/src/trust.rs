//! Which servers a device believes.

use std::sync::Arc;

use net::tls::{Roots, TlsError};
use rustls::ClientConfig;

use crate::device::Credentials;

/// The CA certificates that servers must chain to.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Roots,
    /// For everyone who shows no certificate of their own, made once.
    anonymous: Arc<ClientConfig>,
}

impl Trust {
    /// From one or more CA certificates in PEM form.
    pub fn from_pem(ca: &[u8]) -> Result<Trust, TlsError> {
        Trust::of_roots(Roots::from_pem(ca)?)
    }

    /// The CA certificates that the system trusts.
    pub fn of_system() -> Result<Trust, TlsError> {
        Trust::of_roots(Roots::of_system()?)
    }

    fn of_roots(roots: Roots) -> Result<Trust, TlsError> {
        Ok(Trust { anonymous: roots.client_config(None)?, roots })
    }

    /// The TLS configuration without a client certificate.
    pub fn anonymous(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.anonymous)
    }

    /// The TLS configuration of a device, which shows its certificate when it has one.
    pub fn of(&self, credentials: &Credentials) -> Result<Arc<ClientConfig>, TlsError> {
        match credentials {
            Credentials::Certificate(identity) => self.roots.client_config(Some(identity)),
            Credentials::Key(_) | Credentials::Tpm(_) => Ok(self.anonymous()),
        }
    }
}
