//! Secrets in the configuration: written there, or named there and kept elsewhere.

use anyhow::Context;
use model::SymmetricKey;
use serde::Deserialize;
use wire::sas::ConnectionString;

/// Where a secret is: `env:NAME` (an environment variable), `file:PATH`, or the text itself.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The key, which is base64.
    pub fn key(&self) -> anyhow::Result<SymmetricKey> {
        let (text, place) = self.text("key")?;
        SymmetricKey::parse(text.trim()).context(place)
    }

    /// The connection string.
    pub fn connection_string(&self) -> anyhow::Result<ConnectionString> {
        let (text, place) = self.text("connection string")?;
        ConnectionString::parse(text.trim()).context(place)
    }

    /// The text, and where it was, in words that do not tell it.
    fn text(&self, what: &str) -> anyhow::Result<(String, String)> {
        Ok(match self.0.split_once(':') {
            Some(("env", name)) => {
                #[expect(clippy::disallowed_methods, reason = "this is configuration")]
                let value = std::env::var(name).with_context(|| format!("environment variable {name}"))?;
                (value, format!("environment variable {name}"))
            }
            Some(("file", path)) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("{what} file {path}"))?;
                (text, format!("{what} file {path}"))
            }
            _ => (self.0.clone(), format!("{what} in the configuration")),
        })
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_where_it_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n").unwrap();
        assert_eq!(Secret(format!("file:{}", path.display())).key().unwrap().as_bytes(), [b'a'; 32]);
        assert!(Secret("env:MUSTER_NO_SUCH_VARIABLE".into()).key().is_err());
        assert!(Secret("c2hvcnQ=".into()).key().is_err());
        std::fs::write(&path, "HostName=h;SharedAccessKeyName=n;SharedAccessKey=k\n").unwrap();
        let connection = Secret(format!("file:{}", path.display())).connection_string().unwrap();
        assert_eq!((connection.host.as_str(), connection.key.as_str()), ("h", "k"));
        let written = Secret("HostName=h:1;SharedAccessKeyName=n;SharedAccessKey=k".into());
        assert_eq!(written.connection_string().unwrap().host, "h:1");
        let lacking = Secret("HostName=h;SharedAccessKey=secret".into()).connection_string().unwrap_err();
        assert!(!format!("{lacking:#}").contains("secret"), "{lacking:#}");
        assert_eq!(format!("{:?}", Secret("c2hvcnQ=".into())), "Secret");
    }
}
