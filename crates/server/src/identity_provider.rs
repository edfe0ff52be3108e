//! Where the keys of bearer tokens come from: an OpenID provider, or a file for plants without a connection to one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use model::{HttpUrl, Issuer};
use net::client::{Deadlines, Document, fetch};
use rustls::ClientConfig;
use service_api::KeySource;
use wire::oidc::{ProviderConfiguration, configuration_url};

/// The callers with a token of a new key wait for both documents.
const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(5), exchange: Duration::from_secs(10) };

/// The maximum length of a configuration, and of a key set with the certificates of its keys, in bytes.
const MAX_PROVIDER_DOCUMENT_BYTES: usize = 512 * 1024;

/// A JWK set in a file, which is read again whenever keys are fetched.
pub(crate) struct KeyFile(pub(crate) PathBuf);

#[async_trait]
impl KeySource for KeyFile {
    async fn fetch(&self) -> Result<Vec<u8>, String> {
        let read = tokio::fs::read(&self.0).await;
        read.map_err(|error| format!("cannot read {}: {error}", self.0.display()))
    }
}

/// The keys that a provider publishes. Their address is asked for each time, since the provider may change it.
pub(crate) struct PublishedKeys {
    pub(crate) issuer: Issuer,
    /// The CAs that the provider's server must chain to; `None` if the system trusts none.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

#[async_trait]
impl KeySource for PublishedKeys {
    async fn fetch(&self) -> Result<Vec<u8>, String> {
        let address = HttpUrl::parse(&configuration_url(&self.issuer)).map_err(|error| error.to_string())?;
        let document = self.document(&address).await?;
        let configuration = ProviderConfiguration::parse(&document, &self.issuer);
        let configuration = configuration.map_err(|error| format!("{address}: {error}"))?;
        self.document(&configuration.jwks_uri).await
    }
}

impl PublishedKeys {
    async fn document(&self, address: &HttpUrl) -> Result<Vec<u8>, String> {
        let document = Document::at(address, self.tls.clone(), MAX_PROVIDER_DOCUMENT_BYTES);
        let document = document.ok_or("the system trusts no CA; set ca in [oidc]")?;
        let fetched = fetch(document, DEADLINES).await;
        fetched.map(|bytes| bytes.to_vec()).map_err(|error| format!("{address}: {error}"))
    }
}
