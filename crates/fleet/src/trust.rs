//! Which servers a device believes.

use std::sync::Arc;

use net::tls::{self, TlsError};
use rustls::ClientConfig;

use crate::device::Credentials;

/// The CA certificates that servers must chain to.
#[derive(Clone, Debug)]
pub struct Trust {
    /// `None` for those that the system trusts.
    ca_pem: Option<Arc<[u8]>>,
    /// For everyone who shows no certificate of their own, made once.
    anonymous: Arc<ClientConfig>,
}

impl Trust {
    /// From one or more CA certificates in PEM form.
    pub fn from_pem(ca_pem: &[u8]) -> Result<Trust, TlsError> {
        Ok(Trust { ca_pem: Some(ca_pem.into()), anonymous: tls::client_config(ca_pem, None)? })
    }

    /// The CA certificates that the system trusts.
    pub fn of_system() -> Result<Trust, TlsError> {
        Ok(Trust { ca_pem: None, anonymous: tls::client_config_of_system(None)? })
    }

    /// The TLS configuration without a client certificate.
    pub fn anonymous(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.anonymous)
    }

    /// The TLS configuration of a device, which shows its certificate when it has one.
    pub fn of(&self, credentials: &Credentials) -> Result<Arc<ClientConfig>, TlsError> {
        match credentials {
            Credentials::Certificate(identity) => match &self.ca_pem {
                Some(pem) => tls::client_config(pem, Some(identity)),
                None => tls::client_config_of_system(Some(identity)),
            },
            Credentials::Key(_) | Credentials::Tpm(_) => Ok(self.anonymous()),
        }
    }
}
