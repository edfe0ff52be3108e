//! The addresses of a provider for logins, and the device authorization grant (RFC 8628).

use std::time::Duration;

use model::{HttpUrl, Issuer};
use serde_json::Value;

use super::{ProviderError, address, document_of, text};
use crate::sas::encode_component;

/// The time between two questions unless the provider says otherwise (RFC 8628 §3.5).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// A provider cannot make the client ask more often than each second, nor wait for longer than a minute.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// The lifetime of a code that is waited for.
const MAX_CODE_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The code that a user types, in characters. Those of providers have 8 to 12.
const MAX_USER_CODE: usize = 64;

/// Where a provider takes the requests of logins (OpenID Connect Discovery §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEndpoints {
    /// Where devices get codes, if the provider has this grant.
    pub device_authorization: Option<HttpUrl>,
    /// Where browsers go, if the provider has this grant.
    pub authorization: Option<HttpUrl>,
    /// Where clients get tokens.
    pub token: HttpUrl,
    /// Where clients revoke tokens, if they can.
    pub revocation: Option<HttpUrl>,
    /// Whether every redirect names the issuer (RFC 9207 §3).
    pub redirects_name_issuer: bool,
}

impl LoginEndpoints {
    /// Parses the configuration that was fetched for this issuer, which it must name to the letter.
    pub fn parse(document: &[u8], issuer: &Issuer) -> Result<Self, ProviderError> {
        let document = document_of(document, issuer)?;
        let optional = |name: &'static str| match document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => address(&document, name).map(Some),
        };
        let names_issuer = document.get("authorization_response_iss_parameter_supported");
        Ok(LoginEndpoints {
            device_authorization: optional("device_authorization_endpoint")?,
            authorization: optional("authorization_endpoint")?,
            token: address(&document, "token_endpoint")?,
            revocation: optional("revocation_endpoint")?,
            redirects_name_issuer: names_issuer.and_then(Value::as_bool) == Some(true),
        })
    }
}

/// A code with which a user logs in elsewhere (RFC 8628 §3.2). Has no `Debug`, because it contains a secret.
pub struct DeviceAuthorization {
    /// The code of the client.
    pub device_code: String,
    /// The code of the user.
    pub user_code: String,
    /// Where the user types it.
    pub verification_uri: HttpUrl,
    /// The same with the code in it.
    pub complete_uri: Option<HttpUrl>,
    /// How long the codes are valid.
    pub lifetime: Duration,
    /// The time between two questions for the tokens.
    pub interval: Duration,
}

impl DeviceAuthorization {
    /// Parses the reply of a provider. The error is the member that is missing or malformed.
    pub fn parse(reply: &[u8]) -> Result<Self, &'static str> {
        let reply: Value = serde_json::from_slice(reply).map_err(|_| "the body")?;
        let code = |name: &'static str| text(&reply, name).filter(|it| !it.is_empty()).ok_or(name);
        let seconds = |name: &str| reply.get(name).and_then(Value::as_u64).map(Duration::from_secs);
        let user_code = code("user_code")?;
        if user_code.chars().count() > MAX_USER_CODE {
            return Err("user_code");
        }
        Ok(DeviceAuthorization {
            device_code: code("device_code")?.to_owned(),
            user_code: user_code.to_owned(),
            verification_uri: address(&reply, "verification_uri").map_err(|_| "verification_uri")?,
            complete_uri: address(&reply, "verification_uri_complete").ok(),
            lifetime: seconds("expires_in").ok_or("expires_in")?.min(MAX_CODE_LIFETIME),
            interval: seconds("interval").unwrap_or(DEFAULT_INTERVAL).clamp(MIN_INTERVAL, MAX_INTERVAL),
        })
    }
}

/// Encodes parameters as a form, or as the query of a URL.
pub fn form(parameters: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", encode_component(value));
    parameters.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_those_of_the_issuer_and_private() {
        let issuer = Issuer::parse("https://login.example").unwrap();
        let parse = |change: &dyn Fn(&mut Value)| {
            let mut document = json!({
                "issuer": "https://login.example",
                "token_endpoint": "https://login.example/token",
                "device_authorization_endpoint": "https://login.example/device",
            });
            change(&mut document);
            LoginEndpoints::parse(document.to_string().as_bytes(), &issuer)
        };
        let endpoints = parse(&|_| {}).unwrap();
        assert!(endpoints.authorization.is_none() && !endpoints.redirects_name_issuer);
        assert_eq!(endpoints.device_authorization.unwrap().host(), "login.example");
        for (member, value, error) in [
            (
                "issuer",
                json!("https://login.example/"),
                ProviderError::OtherIssuer("https://login.example/".into()),
            ),
            ("issuer", Value::Null, ProviderError::OtherIssuer(String::new())),
            ("token_endpoint", Value::Null, ProviderError::Address("token_endpoint")),
            ("token_endpoint", json!("http://login.example/token"), ProviderError::Address("token_endpoint")),
            ("revocation_endpoint", json!("file:///x"), ProviderError::Address("revocation_endpoint")),
        ] {
            assert_eq!(parse(&|document| document[member] = value.clone()), Err(error), "{member}");
        }
        assert_eq!(LoginEndpoints::parse(b"<html>", &issuer), Err(ProviderError::NotJson));
    }

    #[test]
    fn a_device_code_is_bounded() {
        let parse = |change: &dyn Fn(&mut Value)| {
            let mut reply = json!({
                "device_code": "d", "user_code": "ABCD", "verification_uri": "https://login.example/device",
                "expires_in": 600,
            });
            change(&mut reply);
            DeviceAuthorization::parse(reply.to_string().as_bytes())
        };
        assert_eq!(parse(&|_| {}).ok().unwrap().interval, DEFAULT_INTERVAL);
        let hostile = parse(&|it| {
            (it["interval"], it["expires_in"]) = (json!(0), json!(u64::MAX));
            it["verification_uri_complete"] = json!("javascript:alert(1)");
        });
        let hostile = hostile.ok().unwrap();
        assert_eq!((hostile.interval, hostile.lifetime), (MIN_INTERVAL, MAX_CODE_LIFETIME));
        assert!(hostile.complete_uri.is_none());
        for (member, value) in [
            ("device_code", json!("")),
            ("user_code", json!("x".repeat(MAX_USER_CODE + 1))),
            ("user_code", json!(1234)),
            ("verification_uri", json!("http://login.example")),
            ("expires_in", json!(-1)),
        ] {
            assert_eq!(parse(&|it| it[member] = value.clone()).err(), Some(member));
        }
    }

    proptest! {
        #[test]
        fn any_reply_is_a_code_or_an_error(reply: Vec<u8>, issuer in "https://[a-z]{1,9}") {
            let _ = DeviceAuthorization::parse(&reply);
            let _ = LoginEndpoints::parse(&reply, &Issuer::parse(&issuer).unwrap());
        }
    }
}
