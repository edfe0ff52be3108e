//! A login by a browser on the same machine: the authorization code grant with PKCE.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use net::{Page, RedirectListener};
use tokio::time::timeout;
use wire::oidc::{Pkce, RedirectRefusal, Tokens, authorization_url, check_id_token, parse_redirect};

use super::{LoginError, Provider};

/// How long a user may take.
const MAX_LOGIN_TIME: Duration = Duration::from_secs(10 * 60);

/// The path of the redirect.
const CALLBACK: &str = "/callback";

const DONE: Page = Page {
    status: StatusCode::OK,
    html: "<!doctype html><title>Muster</title><p>Logged in. You may close this page.",
};
const FAILED: Page = Page {
    status: StatusCode::BAD_REQUEST,
    html: "<!doctype html><title>Muster</title><p>The login failed. The command says why.",
};
const OTHER: Page = Page {
    status: StatusCode::NOT_FOUND,
    html: "<!doctype html><title>Muster</title><p>This is not the login that the command waits for.",
};

/// A login that waits for the redirect of a browser.
pub struct BrowserLogin {
    provider: Provider,
    listener: RedirectListener,
    pkce: Pkce,
    state: String,
    nonce: String,
    redirect_uri: String,
    url: String,
}

impl BrowserLogin {
    /// Listens on a loopback port, or on a free one if it is 0.
    pub async fn begin(provider: Provider, port: u16) -> Result<BrowserLogin, LoginError> {
        let endpoint = provider.endpoints.authorization.as_ref();
        let endpoint = endpoint.ok_or(LoginError::NotSupported("login by browser"))?;
        let listener = RedirectListener::bind(port).await.map_err(LoginError::Port)?;
        let redirect_uri = format!("http://{}{CALLBACK}", listener.address().map_err(LoginError::Port)?);
        let pkce = Pkce::new(random()?);
        let (state, nonce) = (URL_SAFE_NO_PAD.encode(random()?), URL_SAFE_NO_PAD.encode(random()?));
        let challenge = pkce.challenge();
        let parameters = provider.settings.parameters(&[
            ("response_type", "code"),
            ("scope", &provider.settings.scope),
            ("redirect_uri", &redirect_uri),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            // Providers issue a refresh token only after the user has consented (OpenID Connect Core §11).
            ("prompt", "consent"),
        ]);
        let url = authorization_url(endpoint, &parameters);
        Ok(BrowserLogin { listener, pkce, state, nonce, redirect_uri, url, provider })
    }

    /// Returns the address that the user opens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the redirect, and returns the tokens. Redirects of other logins are answered, and change nothing.
    pub async fn finish(self) -> Result<Tokens, LoginError> {
        let BrowserLogin { provider, listener, pkce, state, nonce, redirect_uri, .. } = self;
        let (issuer, names_issuer) =
            (provider.settings.issuer.clone(), provider.endpoints.redirects_name_issuer);
        let answer = move |target: &str| match target.split_once('?') {
            Some((CALLBACK, query)) => match parse_redirect(query, &state, &issuer, names_issuer) {
                Ok(code) => (DONE, Some(Ok(code))),
                Err(RedirectRefusal::State | RedirectRefusal::Parameter("state")) => (OTHER, None),
                Err(refusal) => (FAILED, Some(Err(refusal))),
            },
            _ => (OTHER, None),
        };
        let received = timeout(MAX_LOGIN_TIME, listener.receive(answer)).await;
        let received = received.map_err(|_| LoginError::Timeout(MAX_LOGIN_TIME))?;
        let code = received.map_err(LoginError::Port)??;
        let tokens = provider
            .tokens(&[
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", &redirect_uri),
                ("code_verifier", pkce.verifier()),
            ])
            .await?;
        let settings = provider.settings();
        match &tokens.id_token {
            Some(id_token) => check_id_token(id_token, &settings.issuer, &settings.client_id, &nonce)?,
            // Only an ID token has the nonce (OpenID Connect Core §3.1.3.7).
            None if settings.asks_for_id_token() => return Err(LoginError::Malformed("the ID token")),
            None => {}
        }
        Ok(tokens)
    }
}

fn random() -> Result<[u8; 32], LoginError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| LoginError::Randomness)?;
    Ok(bytes)
}
