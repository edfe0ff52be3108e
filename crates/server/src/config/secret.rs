//! Secrets in the configuration: the value itself, or a reference to it.

use anyhow::Context;
use model::SymmetricKey;
use serde::Deserialize;

/// The mark that editors on Windows put before a text.
const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// A secret: `env:NAME` (an environment variable), `file:PATH`, or the value itself.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Reads the secret as a base64 key. Fails if the source is missing or not a key.
    pub fn key(&self) -> anyhow::Result<SymmetricKey> {
        let (text, source) = self.text("key")?;
        SymmetricKey::parse(text.trim()).context(source)
    }

    /// Returns the text, and a description of its source that does not contain it.
    pub(super) fn text(&self, what: &str) -> anyhow::Result<(String, String)> {
        Ok(match self.0.split_once(':') {
            Some(("env", name)) => {
                #[expect(clippy::disallowed_methods, reason = "this is configuration")]
                let value = std::env::var(name).with_context(|| format!("environment variable {name}"))?;
                (value, format!("environment variable {name}"))
            }
            Some(("file", path)) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("{what} file {path}"))?;
                (text.trim_start_matches(BYTE_ORDER_MARK).to_owned(), format!("{what} file {path}"))
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
    fn a_secret_is_read_from_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "\u{FEFF}YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n").unwrap();
        assert_eq!(Secret(format!("file:{}", path.display())).key().unwrap().as_bytes(), [b'a'; 32]);
        assert!(Secret("env:MUSTER_NO_SUCH_VARIABLE".into()).key().is_err());
        assert!(Secret("c2hvcnQ=".into()).key().is_err());
        let (text, source) = Secret("HostName=h:1;SharedAccessKey=secret".into()).text("string").unwrap();
        assert_eq!(text, "HostName=h:1;SharedAccessKey=secret");
        assert_eq!(source, "string in the configuration");
        assert_eq!(format!("{:?}", Secret("c2hvcnQ=".into())), "Secret");
    }
}
