//! SIGHUP: the settings that a running service reloads.

use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use ::fleet::{ServiceClient, Transport, Trust};
use model::ResourceFacts;
use net::tls::{self, Identity};
use serde_json::json;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};
use tokio_rustls::TlsAcceptor;
use wire::sas::ConnectionString;

use crate::serve::{KEY, ServeFixture, certificates, device, enrollment};

const NEW_KEY: &str = "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=";

const MANAGEMENT_KEY: &str = "Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M=";

const OTHER_MANAGEMENT_KEY: &str = "ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGQ=";

async fn hang_up(service: &Child) {
    let pid = service.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
}

/// Makes a client of the first instance with this key and this trusted CA.
fn operator(fixture: &ServeFixture, key: &str, ca_pem: &str) -> ServiceClient {
    let port = fixture.endpoint("0neAAAAAAAA").https_port;
    let text = format!("HostName=127.0.0.1:{port};SharedAccessKeyName=owner;SharedAccessKey={key}");
    let trust = Trust::from_pem(ca_pem.as_bytes()).unwrap();
    ServiceClient::new(&ConnectionString::parse(&text).unwrap(), port, trust).unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sighup_reloads_certificates_and_access_policies() {
    let fixture = ServeFixture::new();
    let mut service = fixture.start().await;
    let old_ca = fixture.ca_pem.clone();
    let works = async |key: &str, ca: &str| operator(&fixture, key, ca).usage(None, None).await.is_ok();
    until("it serves", async || works(KEY, &old_ca).await).await;

    let [new_ca, chain, key] = certificates();
    std::fs::write(fixture.folder().join("server.pem"), chain).unwrap();
    std::fs::write(fixture.folder().join("server.key"), key).unwrap();
    let keys = |key: &str, other: &str| format!("primary_key = {key:?}\nsecondary_key = {other:?}");
    fixture.amend(&keys(KEY, "env:SITE_KEY"), &keys(NEW_KEY, NEW_KEY));
    hang_up(&service).await;
    until("the new key and certificate apply", async || works(NEW_KEY, &new_ca).await).await;
    assert!(!works(KEY, &new_ca).await, "the old key is rejected");
    assert!(!works(NEW_KEY, &old_ca).await, "the old certificate is no longer sent");

    // The management API gets a policy, and later another key. One of the same name in an instance is another one.
    let manages = async |key: &str| {
        let listed = operator(&fixture, key, &new_ca).instances(&ResourceFacts::default().subscription).await;
        listed.is_ok_and(|listed| listed["value"].as_array().unwrap().len() == 2)
    };
    let policy = |key: &str| {
        format!(
            "[[management.access_policy]]\nname = \"owner\"\nprimary_key = {key:?}\nsecondary_key = {key:?}\n"
        )
    };
    fixture.append(&policy(MANAGEMENT_KEY));
    hang_up(&service).await;
    until("the management API has a key", async || manages(MANAGEMENT_KEY).await).await;
    fixture.amend(&policy(MANAGEMENT_KEY), &policy(OTHER_MANAGEMENT_KEY));
    hang_up(&service).await;
    until("the key is replaced", async || manages(OTHER_MANAGEMENT_KEY).await).await;
    assert!(!manages(MANAGEMENT_KEY).await);

    // An invalid configuration changes nothing and does not stop the service.
    fixture.amend(&keys(NEW_KEY, NEW_KEY), &keys(KEY, "no key"));
    hang_up(&service).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(works(NEW_KEY, &new_ca).await);
    service.kill().await.unwrap();
}

/// A webhook that counts connections and completed handshakes, and never responds.
struct Webhook {
    port: u16,
    ca_pem: String,
    tries: Arc<AtomicUsize>,
    trusting: Arc<AtomicUsize>,
}

impl Webhook {
    async fn start() -> Webhook {
        let [ca_pem, chain, key] = certificates();
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let acceptor = TlsAcceptor::from(tls::server_config(vec![identity]).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let webhook = Webhook { port, ca_pem, tries: Arc::default(), trusting: Arc::default() };
        let (tries, trusting) = (Arc::clone(&webhook.tries), Arc::clone(&webhook.trusting));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tries.fetch_add(1, Relaxed);
                if acceptor.accept(stream).await.is_ok() {
                    trusting.fetch_add(1, Relaxed);
                }
            }
        });
        webhook
    }
}

#[tokio::test]
async fn sighup_reloads_log_filter_webhook_and_latency_settings() {
    let fixture = ServeFixture::new();
    let webhook = Webhook::start().await;
    let file = |name: &str| fixture.folder().join(name).display().to_string();
    let [other_ca, ..] = certificates();
    std::fs::write(file("other-ca.pem"), other_ca).unwrap();
    std::fs::write(file("webhook-ca.pem"), &webhook.ca_pem).unwrap();
    let trusted = |name: &str| format!("[webhook]\nca = {:?}\n", file(name));
    fixture.append(&format!("{}[log]\nfilter = \"error\"\n", trusted("other-ca.pem")));
    let log = fixture.folder().join("log");
    let mut service = fixture.start_logging_to(&log).await;
    let mut operator = operator(&fixture, KEY, &fixture.ca_pem);
    let is_audited = |name: &str| {
        let lines = std::fs::read_to_string(&log).unwrap();
        lines.lines().any(|line| line.contains("service call done") && line.contains(name))
    };

    // Each device that registers makes the service call the webhook.
    let mut register = async |name: &str| {
        let allocation =
            json!({"webhookUrl": format!("https://localhost:{}", webhook.port), "apiVersion": "2019-03-31"});
        let mut enrollment = enrollment(name);
        enrollment["allocationPolicy"] = "custom".into();
        enrollment["customAllocationDefinition"] = allocation;
        operator.create_enrollment(&enrollment).await.unwrap();
        let (endpoint, device) = (fixture.endpoint("0neAAAAAAAA"), device(name));
        tokio::spawn(async move { ::fleet::register(&endpoint, &device, Transport::Https, None).await });
        operator.latencies(None).await.unwrap()["table"].clone()
    };

    let table = register("before").await;
    until("the webhook is called", async || webhook.tries.load(Relaxed) > 0).await;
    assert_eq!((webhook.trusting.load(Relaxed), table), (0, json!([])));
    assert!(!is_audited("before"), "the filter is `error`");

    fixture.amend(&trusted("other-ca.pem"), &trusted("webhook-ca.pem"));
    fixture.amend("filter = \"error\"", "filter = \"info\"");
    fixture.append("[[latency.network]]\nnetwork = \"10.20.0.0/16\"\nhubs = { \"127.0.0.1\" = 2 }\n");
    hang_up(&service).await;
    let mut number = 0;
    let is_reloaded = async || {
        number += 1;
        let name = format!("after-{number}");
        let table = register(&name).await;
        table[0]["hubs"]["127.0.0.1"].as_f64() == Some(2.0) && is_audited(&name)
    };
    until("the log filter and the latencies apply", is_reloaded).await;
    until("the webhook's certificate is trusted", async || webhook.trusting.load(Relaxed) > 0).await;
    service.kill().await.unwrap();
}
