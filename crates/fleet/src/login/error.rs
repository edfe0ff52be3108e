//! Why there is no token.

use std::{io, path::PathBuf, time::Duration};

use net::client::ClientError;
use wire::oidc::{IdTokenRefusal, ProviderError, RedirectRefusal, TokenRefusal};

use crate::failure::TransportError;

/// The reasons why a login fails, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There is no login.
    #[error("there is no login: run muster login")]
    None,
    /// The login is over: its tokens have expired or were revoked.
    #[error("the login has expired: run muster login ({0})")]
    Expired(String),
    /// The login is for other services.
    #[error("the login is not for {0}: run muster login --service {0}")]
    OtherService(String),
    /// The provider has no endpoint for this.
    #[error("the provider has no {0}")]
    NotSupported(&'static str),
    /// The configuration of the provider is not that of the issuer.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The provider issued no tokens.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
    /// The browser brought no code.
    #[error(transparent)]
    Redirect(#[from] RedirectRefusal),
    /// The ID token is not that of the login.
    #[error(transparent)]
    IdToken(#[from] IdTokenRefusal),
    /// A reply of the provider is malformed.
    #[error("{0} in the reply of the provider is missing or malformed")]
    Malformed(&'static str),
    /// The user did not log in within this time.
    #[error("there was no login within {} minutes", .0.as_secs() / 60)]
    Timeout(Duration),
    /// The exchange with the provider failed.
    #[error("the provider {issuer}: {source}")]
    Transport {
        /// The provider.
        issuer: String,
        /// The cause.
        source: TransportError,
    },
    /// The loopback port cannot be used.
    #[error("the port for the redirect of the browser: {0}")]
    Port(io::Error),
    /// The file of the login cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another command has had the lock of the login for too long.
    #[error("another command has been renewing the login for {} s", .0.as_secs())]
    Locked(Duration),
    /// No randomness.
    #[error("the system has no randomness")]
    Randomness,
}

impl LoginError {
    /// Whether the exchange with the provider failed, so that it may be repeated.
    pub fn is_transport(&self) -> bool {
        matches!(self, LoginError::Transport { .. })
    }

    pub(super) fn transport(issuer: &str, source: ClientError) -> LoginError {
        LoginError::Transport { issuer: issuer.to_owned(), source: source.into() }
    }
}
