//! SIGHUP: what a running service takes up of a changed configuration.

use std::time::{Duration, Instant};

use ::fleet::{ServiceClient, Trust};
use tokio::process::{Child, Command};
use wire::sas::ConnectionString;

use crate::serve::{KEY, Site, certificates};

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
