//! Configuration of the webhooks of custom allocation.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use hub::webhook::{WEBHOOK_TIME_LIMIT, WebhookSettings};
use net::tls;
use serde::Deserialize;

use super::{Secret, listen::within};

/// The settings of webhook calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// A PEM file with the CA certificates of the webhooks; the CAs of the system when absent.
    pub ca: Option<PathBuf>,
    /// The key of the older signature, base64 of 16 to 64 bytes. With it both signatures are sent, for a transition.
    pub signing_key: Option<Secret>,
    /// The timeout of one try, in seconds: 1 to 60.
    #[serde(deserialize_with = "within::<1, 60, _>")]
    pub timeout_secs: u32,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        let timeout_secs = u32::try_from(WEBHOOK_TIME_LIMIT.as_secs()).unwrap_or(u32::MAX);
        WebhookConfig { ca: None, signing_key: None, timeout_secs }
    }
}

impl WebhookConfig {
    /// Reads the files and the key. A system without CAs is an error only if `ca` is set.
    pub fn settings(&self) -> anyhow::Result<WebhookSettings> {
        let tls = client_tls(self.ca.as_deref()).context("[webhook]")?;
        if self.signing_key.is_some() {
            tracing::warn!(
                "[webhook] signing_key: webhooks that verify the older signature also accept requests of other instances; let them verify x-muster-signature-v2, and remove this setting"
            );
        }
        let key = self.signing_key.as_ref().map(Secret::key).transpose();
        Ok(WebhookSettings {
            old_signing_key: key.context("[webhook] signing_key")?,
            time_limit: Duration::from_secs(u64::from(self.timeout_secs)),
            ..WebhookSettings::new(tls)
        })
    }
}

/// Returns the configuration of clients that trust the CA certificates in a file, or without a file those of the system; `None` if
/// the system has none.
pub(super) fn client_tls(ca: Option<&Path>) -> anyhow::Result<Option<Arc<rustls::ClientConfig>>> {
    let Some(path) = ca else { return Ok(tls::client_config_of_system().ok()) };
    let file = || format!("ca file {}", path.display());
    let pem = std::fs::read(path).with_context(file)?;
    tls::client_config(&pem, None).with_context(file).map(Some)
}

#[cfg(test)]
mod tests {
    use testkit::{ca::Authority, documents::forms};

    use super::*;

    #[test]
    fn ca_files_are_read_in_every_encoding() {
        let root = Authority::root("Root");
        let file = tempfile::NamedTempFile::new().unwrap();
        for (form, document) in forms("CERTIFICATE", root.identity().der()) {
            std::fs::write(file.path(), document).unwrap();
            client_tls(Some(file.path())).unwrap_or_else(|error| panic!("{form}: {error:#}"));
        }
    }
}
