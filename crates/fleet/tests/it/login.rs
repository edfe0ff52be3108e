//! Logins at a provider that follows a script, and the file with their tokens.

use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fleet::{BrowserLogin, Login, LoginError, LoginFile, LoginSettings, Provider};
use model::{HostPort, Issuer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wire::oidc::{DeviceAuthorization, RedirectRefusal, TokenRefusal};

/// A provider that publishes its configuration, and answers other requests by a script.
#[derive(Clone)]
struct ScriptedProvider {
    issuer: String,
    configuration: Arc<Mutex<Value>>,
    replies: Arc<Mutex<VecDeque<(u16, String)>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedProvider {
    async fn start() -> ScriptedProvider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let configuration = json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "device_authorization_endpoint": format!("{issuer}/device"),
            "authorization_endpoint": format!("{issuer}/auth"),
            "revocation_endpoint": format!("{issuer}/revoke"),
        });
        let (configuration, replies, requests) =
            (Arc::new(Mutex::new(configuration)), Arc::default(), Arc::default());
        let provider = ScriptedProvider { issuer, configuration, replies, requests };
        let server = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.answer(stream).await;
            }
        });
        provider
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut request = String::new();
        let mut buffer = [0; 4096];
        let is_whole = |request: &str| {
            let (head, body) = request.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            (body.len() >= length.map_or(0, |length| length.parse().unwrap())).then_some(())
        };
        while is_whole(&request).is_none() {
            let read = stream.read(&mut buffer).await.unwrap();
            request += str::from_utf8(&buffer[..read]).unwrap();
        }
        let (status, body) = match request.starts_with("GET /.well-known") {
            true => (200, self.configuration.lock().unwrap().to_string()),
            false => self.replies.lock().unwrap().pop_front().unwrap_or((500, "no reply left".into())),
        };
        self.requests.lock().unwrap().push(request);
        let head =
            format!("HTTP/1.1 {status} x\r\nlocation: /other\r\ncontent-length: {}\r\n\r\n", body.len());
        // The client may have closed the connection.
        let _ = stream.write_all([head, body].concat().as_bytes()).await;
    }

    fn reply(&self, status: u16, body: &Value) {
        self.replies.lock().unwrap().push_back((status, body.to_string()));
    }

    fn settings(&self) -> LoginSettings {
        LoginSettings {
            issuer: Issuer::parse(&self.issuer).unwrap(),
            client_id: "muster".into(),
            audience: Some("https://service.example".into()),
            scope: LoginSettings::DEFAULT_SCOPE.into(),
        }
    }

    async fn discover(&self) -> Result<Provider, LoginError> {
        Provider::discover(self.settings(), Login::trust(None).unwrap()).await
    }

    /// Returns the requests but those for the configuration.
    fn posts(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| request.starts_with("POST")).cloned().collect()
    }
}

fn tokens(number: u32, lifetime: u64) -> Value {
    json!({
        "access_token": format!("access-{number}"), "refresh_token": format!("refresh-{number}"),
        "token_type": "Bearer", "expires_in": lifetime,
    })
}

fn code() -> Value {
    json!({
        "device_code": "d", "user_code": "ABCD", "verification_uri": "https://login.example/device",
        "expires_in": 600, "interval": 1,
    })
}

/// Stores a login whose access token has this lifetime.
async fn stored(provider: &ScriptedProvider, lifetime: u64) -> (TempDir, LoginFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = LoginFile::new(folder.path().join("config/muster"));
    let tokens = wire::oidc::Tokens::parse(tokens(1, lifetime).to_string().as_bytes()).ok().unwrap();
    let services = vec!["one.example".parse().unwrap(), "two.example:8443".parse().unwrap()];
    file.write(&Login::new(provider.settings(), services, (None, None), tokens)).await.unwrap();
    (folder, file)
}

/// Begins a login by code that asks without delay.
async fn begin(client: &Provider) -> DeviceAuthorization {
    let begun = client.begin_device_login().await.ok().unwrap();
    assert_eq!(begun.interval, Duration::from_secs(1));
    DeviceAuthorization { interval: Duration::from_millis(1), ..begun }
}

#[tokio::test]
async fn a_device_login_asks_until_the_user_is_done() {
    let provider = ScriptedProvider::start().await;
    provider.reply(200, &code());
    (0..3).for_each(|_| provider.reply(400, &json!({"error": "authorization_pending"})));
    provider.reply(200, &tokens(1, 600));
    let client = provider.discover().await.unwrap();
    let code = begin(&client).await;
    let tokens = client.finish_device_login(&code).await.ok().unwrap();
    assert_eq!(tokens.access_token, "access-1");
    let posts = provider.posts();
    assert!(
        posts[0].contains("client_id=muster&resource=https%3A%2F%2Fservice.example&scope=openid"),
        "{posts:?}"
    );
    assert!(posts[4].contains("device_code=d"), "{posts:?}");
}

#[tokio::test]
async fn a_device_login_ends_when_it_is_denied_or_expires() {
    let provider = ScriptedProvider::start().await;
    let client = provider.discover().await.unwrap();
    for (error, refusal) in
        [("access_denied", TokenRefusal::Denied), ("expired_token", TokenRefusal::CodeExpired)]
    {
        provider.reply(200, &code());
        provider.reply(400, &json!({"error": error}));
        let code = begin(&client).await;
        let ended = client.finish_device_login(&code).await.err().unwrap();
        assert!(matches!(&ended, LoginError::Refused(it) if *it == refusal), "{ended}");
    }
    // The provider never says that the code has expired.
    provider.reply(200, &code());
    (0..1000).for_each(|_| provider.reply(400, &json!({"error": "authorization_pending"})));
    let code = DeviceAuthorization { lifetime: Duration::from_millis(50), ..begin(&client).await };
    let ended = client.finish_device_login(&code).await.err().unwrap();
    assert!(matches!(ended, LoginError::Refused(TokenRefusal::CodeExpired)), "{ended}");
}

#[tokio::test]
async fn a_hostile_provider_is_bounded_and_gets_nothing() {
    let provider = ScriptedProvider::start().await;
    let client = provider.discover().await.unwrap();
    // Redirects are not followed.
    provider.reply(307, &json!({}));
    assert!(matches!(client.refresh("r").await, Err(LoginError::Refused(TokenRefusal::Other(_)))));
    provider.reply(200, &json!({"access_token": "x".repeat(300 * 1024), "token_type": "Bearer"}));
    let ended = client.refresh("r").await.err().unwrap();
    assert!(ended.is_transport() && ended.to_string().contains("longer than"), "{ended}");
    provider.reply(200, &json!({"access_token": "a\r\nb", "token_type": "Bearer"}));
    assert!(matches!(client.refresh("r").await, Err(LoginError::Malformed("access_token"))));
    assert_eq!(provider.posts().len(), 3);

    provider.configuration.lock().unwrap()["token_endpoint"] = json!("http://login.example/token");
    assert!(matches!(provider.discover().await, Err(LoginError::Provider(_))));
    provider.configuration.lock().unwrap()["issuer"] = json!("https://login.example");
    let ended = provider.discover().await.err().unwrap();
    assert!(ended.to_string().contains("another issuer"), "{ended}");
}

/// Sends a redirect to the port of a login, as a browser does, and returns the status.
async fn redirect(login: &str, query: &str) -> u16 {
    let uri = login.split("redirect_uri=").nth(1).unwrap().split('&').next().unwrap();
    let address = uri.strip_prefix("http%3A%2F%2F").unwrap().strip_suffix("%2Fcallback").unwrap();
    let mut stream = TcpStream::connect(address.replace("%3A", ":")).await.unwrap();
    let request = format!("GET /callback?{query} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Returns the first service of the stored logins.
fn one() -> HostPort {
    "one.example".parse().unwrap()
}

fn parameter<'a>(url: &'a str, name: &str) -> &'a str {
    url.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

#[tokio::test]
async fn a_browser_login_takes_the_redirect_with_its_state_alone() {
    let provider = ScriptedProvider::start().await;
    let client = provider.discover().await.unwrap();
    let begun = BrowserLogin::begin(client.clone(), 0).await.unwrap();
    let url = begun.url().to_owned();
    assert_eq!(parameter(&url, "code_challenge_method"), "S256");
    let waiting = tokio::spawn(begun.finish());
    assert_eq!(redirect(&url, "code=stolen&state=other").await, 404);
    assert_eq!(redirect(&url, "code=stolen").await, 404);
    let mut with_id_token = tokens(7, 600);
    let claims =
        json!({"iss": provider.issuer, "aud": "muster", "nonce": parameter(&url, "nonce")}).to_string();
    with_id_token["id_token"] = json!(format!("e30.{}.e30", BASE64_URL_SAFE_NO_PAD.encode(claims)));
    provider.reply(200, &with_id_token);
    assert_eq!(redirect(&url, &format!("code=c-1&state={}", parameter(&url, "state"))).await, 200);
    assert_eq!(waiting.await.unwrap().ok().unwrap().access_token, "access-7");
    let posts = provider.posts();
    assert!(
        posts[0].contains("code=c-1") && posts[0].contains("code_verifier=") && posts.len() == 1,
        "{posts:?}"
    );

    let begun = BrowserLogin::begin(client.clone(), 0).await.unwrap();
    let url = begun.url().to_owned();
    let waiting = tokio::spawn(begun.finish());
    let foreign = format!("code=c&state={}&iss=https%3A%2F%2Fother.example", parameter(&url, "state"));
    assert_eq!(redirect(&url, &foreign).await, 400);
    let ended = waiting.await.unwrap().err().unwrap();
    assert!(matches!(ended, LoginError::Redirect(RedirectRefusal::Issuer)), "{ended}");

    // No ID token, and one without the nonce of the request.
    let mut with_another_nonce = tokens(8, 600);
    with_another_nonce["id_token"] = json!("e30.e30.e30");
    for reply in [tokens(8, 600), with_another_nonce] {
        let begun = BrowserLogin::begin(client.clone(), 0).await.unwrap();
        let url = begun.url().to_owned();
        let waiting = tokio::spawn(begun.finish());
        provider.reply(200, &reply);
        redirect(&url, &format!("code=c&state={}", parameter(&url, "state"))).await;
        let ended = waiting.await.unwrap().err().unwrap();
        assert!(matches!(ended, LoginError::IdToken(_) | LoginError::Malformed("the ID token")), "{ended}");
    }
}

#[tokio::test]
async fn commands_at_once_renew_a_login_once() {
    let provider = ScriptedProvider::start().await;
    let (_folder, file) = stored(&provider, 1).await;
    // The refresh token is valid once: a second exchange of it would find no reply.
    provider.reply(200, &tokens(2, 600));
    let command = |_| {
        let file = LoginFile::new(file.path().parent().unwrap().to_owned());
        tokio::spawn(async move { file.access_token(&one()).await })
    };
    let commands: Vec<_> = (0..8).map(command).collect();
    for command in commands {
        assert_eq!(command.await.unwrap().unwrap(), "access-2");
    }
    assert_eq!(provider.posts().len(), 1);
    // A refresh token that is not replaced stays.
    let mut same = tokens(3, 1);
    same.as_object_mut().unwrap().remove("refresh_token");
    let (_folder, file) = stored(&provider, 1).await;
    provider.reply(200, &same);
    provider.reply(200, &tokens(4, 600));
    assert_eq!(file.access_token(&one()).await.unwrap(), "access-3");
    assert_eq!(file.access_token(&one()).await.unwrap(), "access-4");
    assert!(provider.posts()[2].contains("refresh_token=refresh-1"));
}

#[tokio::test]
async fn a_login_that_is_over_says_what_to_do() {
    let provider = ScriptedProvider::start().await;
    let (_folder, file) = stored(&provider, 1).await;
    provider.reply(400, &json!({"error": "invalid_grant"}));
    let ended = file.access_token(&one()).await.unwrap_err();
    assert!(
        matches!(&ended, LoginError::Expired(_)) && ended.to_string().contains("run muster login"),
        "{ended}"
    );
    // A failure that passes is not the end: the file stays as it is.
    provider.reply(503, &json!({}));
    assert!(matches!(file.access_token(&one()).await, Err(LoginError::Refused(_))));
    provider.reply(200, &tokens(2, 600));
    assert_eq!(file.access_token(&one()).await.unwrap(), "access-2");
}

#[tokio::test]
async fn the_file_is_private_and_the_token_goes_to_its_services_only() {
    let provider = ScriptedProvider::start().await;
    let (folder, file) = stored(&provider, 600).await;
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file.path()), mode(folder.path().join("config/muster"))), (0o600, 0o700));
    let login = file.read().unwrap().unwrap();
    assert_eq!(login.service(None).unwrap().to_string(), "one.example");
    assert_eq!(login.service(Some(&"two.example:8443".parse().unwrap())).unwrap().port, Some(8443));
    for other in ["two.example", "three.example", "one.example:8443"] {
        assert!(matches!(login.service(Some(&other.parse().unwrap())), Err(LoginError::OtherService(_))));
    }
    // A command that began with another login does not send the token of this one.
    let old = file.access_token(&"three.example".parse().unwrap()).await;
    assert!(matches!(old, Err(LoginError::OtherService(_))));
    // Without the provider the token that is valid stays in use.
    assert_eq!(file.access_token(&one()).await.unwrap(), "access-1");
    assert!(provider.posts().is_empty());
    provider.reply(200, &json!({}));
    file.remove().await.unwrap().unwrap().revoke().await.unwrap();
    assert!(provider.posts()[0].contains("token=refresh-1"));
    assert!(
        matches!(file.access_token(&one()).await, Err(LoginError::None))
            && file.remove().await.unwrap().is_none()
    );

    fs::write(file.path(), r#"{"accessToken": "secret-token"#).unwrap();
    let ended = file.access_token(&one()).await.unwrap_err().to_string();
    assert!(ended.contains("is not the file of a login") && !ended.contains("secret"), "{ended}");
    tokio::time::timeout(Duration::from_secs(5), file.remove()).await.unwrap().err().unwrap();
    assert!(!file.path().exists());
}
