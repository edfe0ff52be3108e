//! Documents of OpenID providers: the configuration that they publish (OpenID Connect Discovery §4), and the messages of logins.

mod login;
mod redirect;
mod tokens;

pub use login::{DeviceAuthorization, LoginEndpoints, form};
pub use redirect::{Pkce, RedirectRefusal, authorization_url, parse_redirect};
pub use tokens::{IdTokenRefusal, TokenRefusal, Tokens, check_id_token};

use model::{HttpUrl, Issuer};
use serde_json::Value;

/// Where a provider publishes its configuration, after its issuer.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// What a provider publishes of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfiguration {
    /// The address of its keys, a JWK set.
    pub jwks_uri: HttpUrl,
}

/// Why a document is not the configuration of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It is not JSON.
    #[error("the configuration of the provider is not JSON")]
    NotJson,
    /// It is another issuer's.
    #[error("the configuration is that of another issuer: {0:?}")]
    OtherIssuer(String),
    /// A member is missing, or is not an https URL; http is for loopback addresses only.
    #[error("{0} of the provider's configuration must be an https URL")]
    Address(&'static str),
}

/// Returns the address of the configuration of an issuer.
pub fn configuration_url(issuer: &Issuer) -> String {
    format!("{}{WELL_KNOWN}", issuer.as_str().trim_end_matches('/'))
}

impl ProviderConfiguration {
    /// Parses the document that was fetched for this issuer, which it must name to the letter.
    pub fn parse(document: &[u8], issuer: &Issuer) -> Result<Self, ProviderError> {
        let document = document_of(document, issuer)?;
        Ok(ProviderConfiguration { jwks_uri: address(&document, "jwks_uri")? })
    }
}

/// Parses the configuration that was fetched for an issuer, which it must name to the letter.
fn document_of(document: &[u8], issuer: &Issuer) -> Result<Value, ProviderError> {
    let document: Value = serde_json::from_slice(document).map_err(|_| ProviderError::NotJson)?;
    match text(&document, "issuer") {
        Some(named) if named == issuer.as_str() => Ok(document),
        named => Err(ProviderError::OtherIssuer(named.unwrap_or_default().to_owned())),
    }
}

/// Returns a member that is an https URL; http is for loopback addresses only.
fn address(document: &Value, name: &'static str) -> Result<HttpUrl, ProviderError> {
    let url = text(document, name).and_then(|text| HttpUrl::parse(text).ok());
    url.filter(HttpUrl::is_private).ok_or(ProviderError::Address(name))
}

/// Returns a member that is a text.
fn text<'a>(document: &'a Value, name: &str) -> Option<&'a str> {
    document.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_that_of_its_issuer() {
        let issuer = Issuer::parse("https://login.example/plant/").unwrap();
        let url = "https://login.example/plant/.well-known/openid-configuration";
        assert_eq!(configuration_url(&issuer), url);
        let parse = |issuer_named: &str, keys: Value| {
            let document = json!({"issuer": issuer_named, "jwks_uri": keys}).to_string();
            ProviderConfiguration::parse(document.as_bytes(), &issuer).map(|it| it.jwks_uri.to_string())
        };
        let own = issuer.as_str();
        assert_eq!(parse(own, json!("https://keys.example/a")).as_deref(), Ok("https://keys.example/a"));
        assert!(parse(own, json!("http://127.0.0.1:8080/a")).is_ok());
        let other = Err(ProviderError::OtherIssuer("https://login.example/plant".to_owned()));
        assert_eq!(parse("https://login.example/plant", json!("https://keys.example/a")), other);
        for address in [json!("http://keys.example/a"), json!("file:///etc/passwd"), json!(7), Value::Null] {
            assert_eq!(parse(own, address), Err(ProviderError::Address("jwks_uri")));
        }
        assert_eq!(ProviderConfiguration::parse(b"<html>", &issuer), Err(ProviderError::NotJson));
    }
}
