//! SIGHUP: what a running service takes up of a changed configuration.

use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use ::fleet::{ServiceClient, Transport, Trust};
use net::tls::{self, Identity};
use serde_json::json;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};
use tokio_rustls::TlsAcceptor;
use wire::sas::ConnectionString;

use crate::serve::{KEY, Site, certificates, device, enrollment};

const NEW_KEY: &str = "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=";

async fn hang_up(service: &Child) {
    let pid = service.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
}

/// An operator of the first instance with this key, who trusts this CA.
fn operator(site: &Site, key: &str, ca_pem: &str) -> ServiceClient {
    let port = site.endpoint("0neAAAAAAAA").https_port;
    let text = format!("HostName=127.0.0.1:{port};SharedAccessKeyName=owner;SharedAccessKey={key}");
    let trust = Trust::from_pem(ca_pem.as_bytes()).unwrap();
    ServiceClient::new(&ConnectionString::parse(&text).unwrap(), port, trust).unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < patience, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn certificates_and_access_policies_are_taken_up_without_a_restart() {
    let site = Site::new();
    let mut service = site.start().await;
    let old_ca = site.ca_pem.clone();
    let works = async |key: &str, ca: &str| operator(&site, key, ca).usage(None, None).await.is_ok();
    until("it serves", async || works(KEY, &old_ca).await).await;

    let [new_ca, chain, key] = certificates();
    std::fs::write(site.folder().join("server.pem"), chain).unwrap();
    std::fs::write(site.folder().join("server.key"), key).unwrap();
    let keys = |key: &str, other: &str| format!("primary_key = {key:?}\nsecondary_key = {other:?}");
    site.amend(&keys(KEY, "env:SITE_KEY"), &keys(NEW_KEY, NEW_KEY));
    hang_up(&service).await;
    until("the new key and certificate count", async || works(NEW_KEY, &new_ca).await).await;
    assert!(!works(KEY, &new_ca).await, "the old key counts no more");
    assert!(!works(NEW_KEY, &old_ca).await, "the old certificate is not shown any more");

    // A mistake changes nothing, and ends nothing.
    site.amend(&keys(NEW_KEY, NEW_KEY), &keys(KEY, "no key"));
    hang_up(&service).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(works(NEW_KEY, &new_ca).await);
    service.kill().await.unwrap();
}

/// A webhook that counts who comes, and who trusts its certificate, and answers nothing.
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
async fn log_filter_webhook_and_latency_settings_are_taken_up_without_a_restart() {
    let site = Site::new();
    let webhook = Webhook::start().await;
    let file = |name: &str| site.folder().join(name).display().to_string();
    let [other_ca, ..] = certificates();
    std::fs::write(file("other-ca.pem"), other_ca).unwrap();
    std::fs::write(file("webhook-ca.pem"), &webhook.ca_pem).unwrap();
    let trusted = |name: &str| format!("[webhook]\nca = {:?}\n", file(name));
    site.append(&format!("{}[log]\nfilter = \"error\"\n", trusted("other-ca.pem")));
    let log = site.folder().join("log");
    let mut service = site.start_logging_to(&log).await;
    let mut operator = operator(&site, KEY, &site.ca_pem);
    let is_audited = |name: &str| {
        let lines = std::fs::read_to_string(&log).unwrap();
        lines.lines().any(|line| line.contains("service call done") && line.contains(name))
    };

    // Each device that registers makes the service call the webhook.
    let mut asks = async |name: &str| {
        let allocation =
            json!({"webhookUrl": format!("https://localhost:{}", webhook.port), "apiVersion": "2019-03-31"});
        let mut enrollment = enrollment(name);
        enrollment["allocationPolicy"] = "custom".into();
        enrollment["customAllocationDefinition"] = allocation;
        operator.create_enrollment(&enrollment).await.unwrap();
        let (endpoint, device) = (site.endpoint("0neAAAAAAAA"), device(name));
        tokio::spawn(async move { ::fleet::register(&endpoint, &device, Transport::Https, None).await });
        operator.latencies(None).await.unwrap()["table"].clone()
    };

    let table = asks("before").await;
    until("the webhook is called", async || webhook.tries.load(Relaxed) > 0).await;
    assert_eq!((webhook.trusting.load(Relaxed), table), (0, json!([])));
    assert!(!is_audited("before"), "the filter is `error`");

    site.amend(&trusted("other-ca.pem"), &trusted("webhook-ca.pem"));
    site.amend("filter = \"error\"", "filter = \"info\"");
    site.append("[[latency.network]]\nnetwork = \"10.20.0.0/16\"\nhubs = { \"127.0.0.1\" = 2 }\n");
    hang_up(&service).await;
    let mut number = 0;
    let is_taken_up = async || {
        number += 1;
        let name = format!("after-{number}");
        let table = asks(&name).await;
        table[0]["hubs"]["127.0.0.1"].as_f64() == Some(2.0) && is_audited(&name)
    };
    until("the log filter and the latencies count", is_taken_up).await;
    until("the webhook's certificate is trusted", async || webhook.trusting.load(Relaxed) > 0).await;
    service.kill().await.unwrap();
}
