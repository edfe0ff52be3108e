//! The authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636), for programs with a browser on the same machine (RFC 8252).

use std::collections::BTreeMap;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::{HttpUrl, Issuer};
use percent_encoding::percent_decode_str;

use super::form;

/// The proof that the program that began a login finishes it. Has no `Debug`, because it is a secret.
pub struct Pkce {
    verifier: String,
}

/// Why a redirect brings no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefusal {
    /// A parameter is missing or there twice.
    #[error("{0} of the redirect is missing or there twice")]
    Parameter(&'static str),
    /// It answers another request than that of this login.
    #[error("the redirect is not that of this login")]
    State,
    /// It comes from another provider (RFC 9207).
    #[error("the redirect is from another issuer")]
    Issuer,
    /// The user, or the provider for it, has declined.
    #[error("the login was denied")]
    Denied,
    /// Another error of the provider.
    #[error("the provider answered {0}")]
    Other(String),
}

impl Pkce {
    /// Makes a proof of random bytes.
    pub fn new(random: [u8; 32]) -> Pkce {
        Pkce { verifier: URL_SAFE_NO_PAD.encode(random) }
    }

    /// Returns the secret that the token request has.
    pub fn verifier(&self) -> &str {
        &self.verifier
    }

    /// Returns its digest, which the authorization request has (method `S256`).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier.as_bytes()))
    }
}

/// Returns the address that a browser opens for a login.
pub fn authorization_url(endpoint: &HttpUrl, parameters: &[(&str, &str)]) -> String {
    let separator = if endpoint.as_str().contains('?') { '&' } else { '?' };
    format!("{endpoint}{separator}{}", form(parameters))
}

/// Returns the code in the query of a redirect, which must have the state of this login. The redirect may name its issuer, and
/// must if `names_issuer`.
pub fn parse_redirect(
    query: &str,
    state: &str,
    issuer: &Issuer,
    names_issuer: bool,
) -> Result<String, RedirectRefusal> {
    let parameters = Parameters::parse(query);
    let has_state = verify_slices_are_equal(parameters.one("state")?.as_bytes(), state.as_bytes());
    has_state.map_err(|_| RedirectRefusal::State)?;
    match parameters.one("iss") {
        Ok(named) if named == issuer.as_str() => {}
        Err(_) if !names_issuer && !parameters.0.contains_key("iss") => {}
        _ => return Err(RedirectRefusal::Issuer),
    }
    match parameters.one("error") {
        Ok("access_denied") => Err(RedirectRefusal::Denied),
        Ok(error) => Err(RedirectRefusal::Other(error.chars().take(64).collect())),
        Err(_) => parameters.one("code").map(str::to_owned),
    }
}

/// The parameters of a query by name.
struct Parameters(BTreeMap<String, Vec<String>>);

impl Parameters {
    fn parse(query: &str) -> Parameters {
        let decoded =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(decoded(name)).or_default().push(decoded(value));
        }
        Parameters(all)
    }

    /// Returns a parameter that must be there once (RFC 6749 §3.1) and not be empty.
    fn one(&self, name: &'static str) -> Result<&str, RedirectRefusal> {
        match self.0.get(name).map(Vec::as_slice) {
            Some([value]) if !value.is_empty() => Ok(value),
            _ => Err(RedirectRefusal::Parameter(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_the_digest_of_the_verifier() {
        let pkce = Pkce { verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into() };
        assert_eq!(pkce.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(Pkce::new([7; 32]).verifier().len(), 43);
    }

    #[test]
    fn a_redirect_is_that_of_its_login_and_issuer() {
        let issuer = Issuer::parse("https://login.example").unwrap();
        let named = "iss=https%3A%2F%2Flogin.example";
        let error = |error: RedirectRefusal| Err(error);
        for (query, names_issuer, expected) in [
            ("code=c&state=s".to_owned(), false, Ok("c".to_owned())),
            (format!("code=a+b%2Bc&state=s&{named}"), true, Ok("a b+c".to_owned())),
            ("code=c&state=s".to_owned(), true, error(RedirectRefusal::Issuer)),
            (format!("code=c&state=s&{named}%2F"), false, error(RedirectRefusal::Issuer)),
            (format!("code=c&state=s&{named}&{named}"), false, error(RedirectRefusal::Issuer)),
            ("code=c&state=t".to_owned(), false, error(RedirectRefusal::State)),
            ("error=access_denied&state=t".to_owned(), false, error(RedirectRefusal::State)),
            ("code=c".to_owned(), false, error(RedirectRefusal::Parameter("state"))),
            ("code=c&state=s&state=s".to_owned(), false, error(RedirectRefusal::Parameter("state"))),
            ("code=c&code=d&state=s".to_owned(), false, error(RedirectRefusal::Parameter("code"))),
            ("error=access_denied&state=s".to_owned(), false, error(RedirectRefusal::Denied)),
            ("error=x&code=c&state=s".to_owned(), false, error(RedirectRefusal::Other("x".into()))),
        ] {
            assert_eq!(parse_redirect(&query, "s", &issuer, names_issuer), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_without_the_state_brings_a_code(query in "[a-z=&%+0-9]{0,60}|code=[a-z]{1,5}&state=[a-z]{1,5}") {
            let issuer = Issuer::parse("https://login.example").unwrap();
            prop_assert!(parse_redirect(&query, "STATE", &issuer, false).is_err());
        }

        #[test]
        fn a_form_is_read_as_it_was_written(value in "\\PC{1,40}") {
            let parameters = Parameters::parse(&form(&[("a", "x"), ("b", &value)]));
            prop_assert_eq!(parameters.one("b"), Ok(value.as_str()));
        }
    }
}
