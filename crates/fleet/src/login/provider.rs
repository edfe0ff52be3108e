//! An OpenID provider, as a program with a user sees it.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use model::{HttpUrl, Issuer};
use net::client::{Deadlines, Document, fetch, post_form};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use wire::oidc::{DeviceAuthorization, LoginEndpoints, TokenRefusal, Tokens, configuration_url, form};

use super::LoginError;
use crate::trust::Trust;

/// A user waits for each exchange.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(10), exchange: Duration::from_secs(20) };

/// The maximum length of a provider's reply, in bytes.
const MAX_PROVIDER_REPLY_BYTES: usize = 256 * 1024;

/// What is added to the interval of questions when the provider asks for it (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The grant of a code that a user types elsewhere (RFC 8628 §3.4).
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Where an operator logs in, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginSettings {
    /// The provider.
    pub issuer: Issuer,
    /// The ID of this program at the provider: a public client, without a secret.
    pub client_id: String,
    /// The audience of the access tokens, for providers that take it as a resource (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The scopes, separated by spaces.
    pub scope: String,
}

/// A provider, whose configuration was read.
#[derive(Clone)]
pub struct Provider {
    pub(super) settings: LoginSettings,
    pub(super) endpoints: LoginEndpoints,
    trust: Trust,
}

impl LoginSettings {
    /// Returns the scopes unless others are given: those for a refresh token (OpenID Connect Core §11).
    pub const DEFAULT_SCOPE: &str = "openid offline_access";

    /// Whether the provider must issue an ID token (OpenID Connect Core §3.1.2.1).
    pub(super) fn asks_for_id_token(&self) -> bool {
        self.scope.split(' ').any(|scope| scope == "openid")
    }

    /// Returns the parameters of every request, with the audience if there is one.
    pub(super) fn parameters<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![("client_id", self.client_id.as_str())];
        all.extend(self.audience.as_deref().map(|audience| ("resource", audience)));
        all.extend_from_slice(more);
        all
    }
}

impl Provider {
    /// Reads the configuration that the issuer publishes.
    pub async fn discover(settings: LoginSettings, trust: Trust) -> Result<Provider, LoginError> {
        let url = configuration_url(&settings.issuer);
        let address = HttpUrl::parse(&url).map_err(|_| LoginError::Malformed("the issuer"))?;
        let fetched = fetch(document(&address, &trust)?, DEADLINES).await;
        let fetched = fetched.map_err(|error| LoginError::transport(settings.issuer.as_str(), error))?;
        let endpoints = LoginEndpoints::parse(&fetched, &settings.issuer)?;
        Ok(Provider { settings, endpoints, trust })
    }

    /// Returns the settings.
    pub fn settings(&self) -> &LoginSettings {
        &self.settings
    }

    /// Begins a login by a code that the user types at another device.
    pub async fn begin_device_login(&self) -> Result<DeviceAuthorization, LoginError> {
        let endpoint = self.endpoints.device_authorization.as_ref();
        let endpoint = endpoint.ok_or(LoginError::NotSupported("login by code; use --browser"))?;
        let parameters = self.settings.parameters(&[("scope", &self.settings.scope)]);
        match self.post(endpoint, &parameters).await? {
            (StatusCode::OK, reply) => DeviceAuthorization::parse(&reply).map_err(LoginError::Malformed),
            (status, reply) => Err(TokenRefusal::parse(status.as_u16(), &reply).into()),
        }
    }

    /// Waits until the user has logged in, and returns the tokens.
    pub async fn finish_device_login(&self, code: &DeviceAuthorization) -> Result<Tokens, LoginError> {
        let deadline = Instant::now() + code.lifetime;
        let mut interval = code.interval;
        while Instant::now() + interval < deadline {
            sleep(interval).await;
            let grant = [("grant_type", DEVICE_CODE), ("device_code", code.device_code.as_str())];
            match self.tokens(&grant).await {
                Err(error) => interval = next_interval(interval, error)?,
                tokens => return tokens,
            }
        }
        Err(TokenRefusal::CodeExpired.into())
    }

    /// Exchanges a refresh token. It may be valid only once.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, LoginError> {
        self.tokens(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    /// Revokes a token (RFC 7009).
    pub async fn revoke(&self, token: &str) -> Result<(), LoginError> {
        let endpoint = self.endpoints.revocation.as_ref();
        let endpoint = endpoint.ok_or(LoginError::NotSupported("endpoint to revoke tokens"))?;
        let parameters = [("client_id", self.settings.client_id.as_str()), ("token", token)];
        match self.post(endpoint, &parameters).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, reply) => Err(TokenRefusal::parse(status.as_u16(), &reply).into()),
        }
    }

    /// Requests tokens for a grant.
    pub(super) async fn tokens(&self, grant: &[(&str, &str)]) -> Result<Tokens, LoginError> {
        match self.post(&self.endpoints.token, &self.settings.parameters(grant)).await? {
            (StatusCode::OK, reply) => Tokens::parse(&reply).map_err(LoginError::Malformed),
            (status, reply) => Err(TokenRefusal::parse(status.as_u16(), &reply).into()),
        }
    }

    async fn post(
        &self,
        address: &HttpUrl,
        parameters: &[(&str, &str)],
    ) -> Result<(StatusCode, Bytes), LoginError> {
        let document = document(address, &self.trust)?;
        let response = post_form(document, form(parameters), DEADLINES).await;
        let response =
            response.map_err(|error| LoginError::transport(self.settings.issuer.as_str(), error))?;
        Ok((response.status(), response.into_body()))
    }
}

/// Returns the interval after a question without tokens, or the error that ends the wait. Failures of the network pass.
fn next_interval(interval: Duration, error: LoginError) -> Result<Duration, LoginError> {
    match error {
        LoginError::Refused(TokenRefusal::Pending) => Ok(interval),
        LoginError::Refused(TokenRefusal::SlowDown) => Ok(interval + SLOW_DOWN),
        LoginError::Transport { .. } => Ok(interval * 2),
        error => Err(error),
    }
}

fn document<'a>(address: &'a HttpUrl, trust: &Trust) -> Result<Document<'a>, LoginError> {
    let document = Document::at(address, Some(trust.anonymous()), MAX_PROVIDER_REPLY_BYTES);
    document.ok_or(LoginError::NotSupported("address"))
}

#[cfg(test)]
mod tests {
    use net::client::ClientError;

    use super::*;

    #[test]
    fn only_an_unfinished_login_is_asked_for_again() {
        let second = Duration::from_secs(1);
        let after = |error: LoginError| next_interval(second, error).ok();
        assert_eq!(after(TokenRefusal::Pending.into()), Some(second));
        assert_eq!(after(TokenRefusal::SlowDown.into()), Some(6 * second));
        assert_eq!(after(LoginError::transport("", ClientError::Closed)), Some(2 * second));
        for error in [TokenRefusal::CodeExpired, TokenRefusal::Denied, TokenRefusal::Other(String::new())] {
            assert_eq!(after(error.into()), None);
        }
        assert_eq!(after(LoginError::Malformed("access_token")), None);
    }
}
