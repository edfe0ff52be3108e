//! Fetches revocation lists over HTTP and HTTPS.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use certpath::Crl;
use model::HttpUrl;
use net::client::{Deadlines, Document, fetch};
use provisioning::ports::RevocationListSource;

/// A list has some megabytes at most, and its server may be slow.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(10), exchange: Duration::from_secs(60) };

/// The client of the servers that publish revocation lists.
pub struct RevocationListClient {
    /// `None` if the system trusts no CA.
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Default for RevocationListClient {
    /// Creates a client that trusts the servers that the system trusts.
    fn default() -> Self {
        RevocationListClient { tls: net::tls::client_config_of_system().ok() }
    }
}

#[async_trait]
impl RevocationListSource for RevocationListClient {
    async fn fetch(&self, address: &HttpUrl) -> Result<Crl, String> {
        let document = Document::at(address, self.tls.clone(), Crl::MAX_BYTES * 2);
        let document = document.ok_or("the system trusts no CA")?;
        let bytes = fetch(document, DEADLINES).await.map_err(|error| error.to_string())?;
        Crl::from_bytes(&bytes).map_err(|error| error.to_string())
    }
}
