//! What an OpenID provider and a browser send to a login.

use model::Issuer;
use wire::oidc::{
    DeviceAuthorization, LoginEndpoints, ProviderConfiguration, TokenRefusal, Tokens, check_id_token,
    parse_redirect,
};

/// Tokens fit into a header, and no redirect without the state of the login brings a code.
pub fn run(input: &[u8]) {
    let issuer = Issuer::parse("https://login.example").expect("an issuer");
    let _ = (LoginEndpoints::parse(input, &issuer), ProviderConfiguration::parse(input, &issuer));
    let _ = (DeviceAuthorization::parse(input), TokenRefusal::parse(400, input));
    if let Ok(tokens) = Tokens::parse(input) {
        assert!(tokens.access_token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    let _ = check_id_token(text, &issuer, "muster", "nonce");
    if parse_redirect(text, "state-1", &issuer, false).is_ok() {
        assert!(text.contains("code=") || text.contains('%'));
    }
    assert!(parse_redirect(&text.replace("state-1", ""), "state-1", &issuer, false).is_err() || text.contains('%'));
}
