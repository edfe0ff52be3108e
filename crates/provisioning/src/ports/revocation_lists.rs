//! Revocation lists where CAs publish them.

use async_trait::async_trait;
use certpath::Crl;
use model::HttpUrl;

/// Fetches revocation lists.
#[async_trait]
pub trait RevocationListSource: Send + Sync {
    /// Fetches the list at an address, within a deadline of the source. The error says to operators why there is none.
    async fn fetch(&self, address: &HttpUrl) -> Result<Crl, String>;
}
