//! Requests to webhooks, the interpretation of their answers, and the cost of webhooks that misbehave.

use std::time::{Duration, Instant};

use hub::webhook::{
    OLD_SIGNATURE_HEADER, SIGNATURE_HEADER, WebhookLimits, WebhookSettings, old_signature, signature,
};
use model::{InitialTwin, Instance, WebhookAnswer};
use provisioning::{
    allocate::webhook_key,
    ports::{AllocationWebhook, WebhookOutcome},
};
use serde_json::{Value, json};
use testkit::{clock::SteppedClock, sample};

use super::server::{Heard, Script, Server, client, instance, request};

#[tokio::test]
async fn the_request_has_the_form_of_azure_and_the_answer_is_parsed() {
    let server = Server::answering(
        200,
        r#"{"IotHubHostName":"hub-1.example","initialTwin":{"tags":{"a":1}},"payload":{"b":2}}"#,
    );
    let answer = WebhookAnswer {
        hub: Some(sample::hub_name("hub-1.example")),
        initial_twin: Some(InitialTwin {
            tags: Some(json!({"a": 1}).as_object().unwrap().clone().into()),
            desired: None,
        }),
        payload: Some(model::RawJson::from(&json!({"b": 2}))),
    };
    assert_eq!(server.ask(server.settings()).await, WebhookOutcome::Answer(answer));
    let heard = server.heard();
    assert_eq!(heard.uri, "/api/choose?code=a%2Fb", "exactly as it was stored");
    assert!(heard.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    assert_eq!(heard.headers["host"], format!("127.0.0.1:{}", server.port));
    let body: Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(body["individualEnrollment"]["registrationId"], "Dev-1");
    assert_eq!(body["deviceRuntimeContext"]["payload"], "from the device");
    assert_eq!(body["linkedHubs"], json!(["hub-1.example"]));
    assert!(!String::from_utf8_lossy(&heard.body).contains("code=a"), "the key is for the webhook's host");
}

#[tokio::test]
async fn requests_are_signed_and_in_the_old_form_only_if_configured() {
    let server = Server::answering(200, "{}");
    let now = provisioning::ports::Clock::now(&SteppedClock::default());
    let instance = instance("0neA");
    let (key, url) = (webhook_key(&instance).unwrap(), server.request().webhook.webhook_url);
    let old_key = sample::key(5);
    for old_signing_key in [None, Some(old_key.clone())] {
        let settings = WebhookSettings { old_signing_key: old_signing_key.clone(), ..server.settings() };
        assert_eq!(server.ask(settings).await, WebhookOutcome::Answer(WebhookAnswer::default()));
        let heard = server.heard();
        let expected = signature(&key, now, (&instance.id_scope, &url), &heard.body);
        assert_eq!(heard.headers[SIGNATURE_HEADER], expected);
        let old = heard.headers.get(OLD_SIGNATURE_HEADER).map(|header| header.to_str().unwrap().to_owned());
        assert_eq!(old, old_signing_key.map(|key| old_signature(&key, now, &heard.body)));
    }
}

/// Verifies a request as the webhook of one instance does, which knows its key, ID scope and URL.
fn passes(heard: &Heard, instance: &Instance, url: &str) -> bool {
    let now = provisioning::ports::Clock::now(&SteppedClock::default());
    let key = webhook_key(instance).unwrap();
    heard.headers[SIGNATURE_HEADER] == signature(&key, now, (&instance.id_scope, url), &heard.body)
}

#[tokio::test]
async fn a_request_of_another_instance_or_for_another_url_does_not_pass() {
    let server = Server::answering(200, "{}");
    let (a, b) = (instance("0neA"), instance("0neB"));
    let url = server.request().webhook.webhook_url;
    let client = client(server.settings());
    // Tenant B's own webhook is called, or it enrolls a device for A's.
    for (asking, expected) in [(&a, true), (&b, false)] {
        client.ask(asking, &server.request()).await;
        let heard = server.heard();
        assert_eq!(passes(&heard, &a, &url), expected, "{}", asking.id_scope);
        assert!(passes(&heard, asking, &url));
        assert!(!passes(&heard, asking, &url.replace("choose", "elsewhere")));
        let other_body = Heard { body: "{}".into(), ..heard };
        assert!(!passes(&other_body, asking, &url));
    }
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let cases = [
        (401, "{}", WebhookOutcome::Unauthorized),
        (400, "{}", WebhookOutcome::Failed("status code: 400".into())),
        (403, "{}", WebhookOutcome::Failed("status code: 403".into())),
        (302, "{}", WebhookOutcome::Failed("status code: 302".into())),
        (202, r#"{"iotHubHostName":"hub-1.example"}"#, WebhookOutcome::Failed("status code: 202".into())),
        (429, "{}", WebhookOutcome::Retry("status code: 429".into())),
        (503, "{}", WebhookOutcome::Retry("status code: 503".into())),
        (
            200,
            "<html>",
            WebhookOutcome::Failed(
                "an answer that cannot be read: request body is not valid JSON: expected value at line 1 column 1".into(),
            ),
        ),
    ];
    for (status, body, expected) in cases {
        let server = Server::answering(status, body);
        let call = client(server.settings()).ask(&instance("0neA"), &server.request()).await;
        assert_eq!(call.outcome, expected, "{status} {body}");
        let reply = call.reply.map(|reply| (reply.status, reply.body));
        assert_eq!(reply, Some((status, body.to_owned())), "operators see what it replied");
    }
}

#[tokio::test]
async fn a_webhook_that_cannot_be_reached_is_asked_again() {
    let server = Server::answering(200, "{}");
    let other = Server::answering(200, "{}");
    let outcome = client(other.settings()).ask(&instance("0neA"), &server.request()).await.outcome;
    assert!(matches!(&outcome, WebhookOutcome::Retry(reason) if reason.contains("TLS")), "{outcome:?}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let outcome = {
        let request = request(&format!("https://127.0.0.1:{closed}/"));
        client(server.settings()).ask(&instance("0neA"), &request).await.outcome
    };
    assert!(matches!(&outcome, WebhookOutcome::Retry(reason) if reason.contains("connect")), "{outcome:?}");

    let outcome = client(WebhookSettings::new(None)).ask(&instance("0neA"), &server.request()).await.outcome;
    assert!(matches!(outcome, WebhookOutcome::Failed(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let server = Server::answering(200, &format!("\"{}\"", "x".repeat(1 << 20)));
    let outcome = server.ask(server.settings()).await;
    assert!(
        matches!(&outcome, WebhookOutcome::Failed(reason) if reason.contains("longer than")),
        "{outcome:?}"
    );
}

fn slow(delay: Duration) -> Server {
    Server::start(Script { status: 200, body: "{}".into(), delay })
}

#[tokio::test]
async fn a_request_ends_at_its_time_limit() {
    let server = slow(Duration::from_secs(60));
    let settings = WebhookSettings { time_limit: Duration::from_millis(300), ..server.settings() };
    let began = Instant::now();
    let outcome = server.ask(settings).await;
    assert!(
        matches!(&outcome, WebhookOutcome::Retry(reason) if reason.contains("within 0.3 s")),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// The slow webhook has more requests than permits; the other one is called all the same.
#[tokio::test]
async fn a_slow_webhook_delays_no_other() {
    let (slow, quick) = (slow(Duration::from_secs(60)), Server::answering(200, "{}"));
    let cas = format!("{}{}", slow.ca_pem, quick.ca_pem);
    let limits = WebhookLimits { per_host: 2, total: 4, wait: Duration::from_millis(400) };
    let tls = net::tls::client_config(cas.as_bytes(), None).unwrap();
    let client = std::sync::Arc::new(client(WebhookSettings { limits, ..WebhookSettings::new(Some(tls)) }));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, request) = (client.clone(), slow.request());
        waiting.spawn(async move { client.ask(&instance("0neA"), &request).await.outcome });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    for _ in 0..5 {
        let outcome = client.ask(&instance("0neA"), &quick.request()).await.outcome;
        assert_eq!(outcome, WebhookOutcome::Answer(WebhookAnswer::default()));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let put_off = waiting.join_next().await.unwrap().unwrap();
    assert!(matches!(&put_off, WebhookOutcome::Retry(reason) if reason.contains("at once")), "{put_off:?}");
}

#[tokio::test]
async fn connections_are_kept_and_a_closed_one_is_replaced() {
    let server = Server::answering(200, "{}");
    let client = client(server.settings());
    for _ in 0..3 {
        let outcome = client.ask(&instance("0neA"), &server.request()).await.outcome;
        assert_eq!(outcome, WebhookOutcome::Answer(WebhookAnswer::default()));
    }
    let peers = server.peers();
    assert!(peers.len() == 3 && peers.iter().all(|peer| *peer == peers[0]), "{peers:?}");

    let again = server.restarted().await;
    let outcome = client.ask(&instance("0neA"), &again.request()).await.outcome;
    assert_eq!(outcome, WebhookOutcome::Answer(WebhookAnswer::default()));
}
