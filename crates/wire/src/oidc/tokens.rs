//! The replies of a provider's token endpoint (RFC 6749 §5, RFC 8628 §3.5).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::Issuer;
use serde_json::Value;

use super::text;

/// The maximum length of a token, in bytes, as the service takes them.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The maximum number of characters kept of a provider's description of an error.
const MAX_DESCRIPTION: usize = 200;

/// Tokens of a login. Has no `Debug`, because they are secrets.
pub struct Tokens {
    /// The token for the service.
    pub access_token: String,
    /// The token for the next access token.
    pub refresh_token: Option<String>,
    /// The token about the user.
    pub id_token: Option<String>,
    /// How long the access token is valid, if the provider says so.
    pub lifetime: Option<Duration>,
}

/// Why a provider issued no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// The user has not logged in yet.
    #[error("the login is not finished")]
    Pending,
    /// The client asks too often.
    #[error("the client asks too often")]
    SlowDown,
    /// The code of the login has expired.
    #[error("the code has expired before it was used")]
    CodeExpired,
    /// The user, or the provider for it, has declined.
    #[error("the login was denied")]
    Denied,
    /// The code or the refresh token is not valid any more.
    #[error("the provider does not accept the grant any more: {0}")]
    Grant(String),
    /// Another error, with its description.
    #[error("the provider answered {0}")]
    Other(String),
}

/// Why an ID token is not that of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenRefusal {
    /// It is no JWT.
    #[error("the ID token is malformed")]
    Malformed,
    /// A claim is missing or another one's.
    #[error("the claim {0} of the ID token is not that of this login")]
    Claim(&'static str),
}

impl Tokens {
    /// Parses a reply with status 200. The error is the member that is missing or malformed.
    pub fn parse(reply: &[u8]) -> Result<Tokens, &'static str> {
        let reply: Value = serde_json::from_slice(reply).map_err(|_| "the body")?;
        if !text(&reply, "token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
            return Err("token_type");
        }
        let token = |name: &'static str| match reply.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => {
                text(&reply, name).filter(|token| is_token(token)).map(str::to_owned).map(Some).ok_or(name)
            }
        };
        let lifetime = reply.get("expires_in");
        // A text in older versions of Entra.
        let lifetime = lifetime.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
        Ok(Tokens {
            access_token: token("access_token")?.ok_or("access_token")?,
            refresh_token: token("refresh_token")?,
            id_token: token("id_token")?,
            lifetime: lifetime.map(Duration::from_secs),
        })
    }
}

impl TokenRefusal {
    /// Parses a reply with another status.
    pub fn parse(status: u16, reply: &[u8]) -> TokenRefusal {
        let reply: Value = serde_json::from_slice(reply).unwrap_or_default();
        let code = text(&reply, "error").unwrap_or_default();
        let description = text(&reply, "error_description").unwrap_or_default();
        let code_and_description = || -> String {
            let status = if code.is_empty() { status.to_string() } else { code.to_owned() };
            [&status, description].join(" ").trim_end().chars().take(MAX_DESCRIPTION).collect()
        };
        match code {
            "authorization_pending" => TokenRefusal::Pending,
            "slow_down" => TokenRefusal::SlowDown,
            "expired_token" => TokenRefusal::CodeExpired,
            "access_denied" => TokenRefusal::Denied,
            "invalid_grant" => TokenRefusal::Grant(code_and_description()),
            _ => TokenRefusal::Other(code_and_description()),
        }
    }
}

/// Checks that an ID token is that of a login: of this issuer, for this client, and with the nonce of the request. It came from the
/// provider over TLS, so its signature need not be verified (OpenID Connect Core §3.1.3.7).
pub fn check_id_token(
    token: &str,
    issuer: &Issuer,
    client_id: &str,
    nonce: &str,
) -> Result<(), IdTokenRefusal> {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    let claims = payload.and_then(|payload| serde_json::from_slice::<Value>(&payload).ok());
    let claims = claims.ok_or(IdTokenRefusal::Malformed)?;
    let is_for_client = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|it| it.as_str() == Some(client_id)),
        one => one.and_then(Value::as_str) == Some(client_id),
    };
    for (name, holds) in [
        ("iss", text(&claims, "iss") == Some(issuer.as_str())),
        ("aud", is_for_client),
        ("nonce", text(&claims, "nonce") == Some(nonce)),
    ] {
        if !holds {
            return Err(IdTokenRefusal::Claim(name));
        }
    }
    Ok(())
}

/// Whether a text can be sent as a token: in a header without line breaks, in a form, or in JSON.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_fit_into_headers() {
        let parse = |change: &dyn Fn(&mut Value)| {
            let mut reply = json!({"access_token": "a.b.c", "token_type": "bearer", "expires_in": "3599"});
            change(&mut reply);
            Tokens::parse(reply.to_string().as_bytes())
        };
        let tokens = parse(&|_| {}).ok().unwrap();
        assert_eq!((tokens.lifetime, tokens.refresh_token), (Some(Duration::from_secs(3599)), None));
        for (member, value) in [
            ("access_token", json!("a\r\nx-header: b")),
            ("access_token", json!("")),
            ("access_token", Value::Null),
            ("access_token", json!("x".repeat(MAX_TOKEN_BYTES + 1))),
            ("refresh_token", json!(["a"])),
            ("token_type", json!("DPoP")),
        ] {
            assert_eq!(parse(&|it| it[member] = value.clone()).err(), Some(member));
        }
        assert_eq!(Tokens::parse(b"<html>").err(), Some("the body"));
    }

    #[test]
    fn refusals_differ_by_their_code() {
        for (code, expected) in [
            ("authorization_pending", TokenRefusal::Pending),
            ("slow_down", TokenRefusal::SlowDown),
            ("expired_token", TokenRefusal::CodeExpired),
            ("access_denied", TokenRefusal::Denied),
            ("invalid_grant", TokenRefusal::Grant("invalid_grant why".into())),
            ("invalid_client", TokenRefusal::Other("invalid_client why".into())),
        ] {
            let reply = json!({"error": code, "error_description": "why"}).to_string();
            assert_eq!(TokenRefusal::parse(400, reply.as_bytes()), expected);
        }
        assert_eq!(TokenRefusal::parse(502, b"<html>"), TokenRefusal::Other("502".into()));
    }

    #[test]
    fn an_id_token_is_that_of_the_login() {
        let issuer = Issuer::parse("https://login.example").unwrap();
        let check = |change: &dyn Fn(&mut Value)| {
            let mut claims = json!({"iss": "https://login.example", "aud": ["muster"], "nonce": "n"});
            change(&mut claims);
            let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
            check_id_token(&token, &issuer, "muster", "n")
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert_eq!(check(&|it| it["aud"] = json!("muster")), Ok(()));
        for (claim, value) in
            [("iss", json!("https://other.example")), ("aud", json!("other")), ("nonce", Value::Null)]
        {
            assert_eq!(check(&|it| it[claim] = value.clone()), Err(IdTokenRefusal::Claim(claim)));
        }
        assert_eq!(check_id_token("e30", &issuer, "muster", "n"), Err(IdTokenRefusal::Malformed));
    }

    proptest! {
        #[test]
        fn any_reply_is_read_within_its_bounds(reply: Vec<u8>, status: u16, text in "\\PC{0,400}") {
            let _ = Tokens::parse(&reply);
            let error = json!({"error": text, "error_description": text}).to_string();
            if let TokenRefusal::Other(shown) = TokenRefusal::parse(status, error.as_bytes()) {
                prop_assert!(shown.chars().count() <= MAX_DESCRIPTION);
            }
        }
    }
}
