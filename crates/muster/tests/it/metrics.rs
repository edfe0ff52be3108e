//! The metrics of `muster serve`.

use std::collections::HashSet;

use ::fleet::{Carrier, MqttSession, Transport};
use http::{Method, StatusCode};
use net::client::{Call, Deadlines, HttpsConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::serve::{ServeFixture, device, enrollment, free_ports};

/// Requests a path over plain HTTP, and returns the head and the body of the response.
async fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: monitor\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Reads the samples, and checks that the rest is valid Prometheus text.
async fn scrape(port: u16) -> HashSet<String> {
    let (head, body) = get(port, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let (mut families, mut samples, mut labels) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut family = "";
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').unwrap().0;
            assert!(families.insert(family), "{family} is repeated");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let counter = family.ends_with("_total");
            let expected = if counter { "counter" } else { "gauge" };
            assert_eq!(kind, format!("{family} {expected}"));
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(sample.split('{').next(), Some(family), "{line}");
            assert!(value.parse::<f64>().is_ok() && labels.insert(sample), "{line}");
            samples.insert(line.to_owned());
        }
    }
    samples
}

#[track_caller]
fn check(samples: &HashSet<String>, expected: &[String]) {
    for line in expected {
        assert!(samples.contains(line), "no {line} in {samples:#?}");
    }
}

fn answered(transport: &str, outcome: &str, count: u32) -> String {
    let labels = format!(",transport=\"{transport}\",outcome=\"{outcome}\"");
    of_one("device_answers_total", &labels, count)
}

/// Returns the sample for devices without an existing instance.
fn answered_strangers(transport: &str, outcome: &str, count: u32) -> String {
    let labels = format!("transport=\"{transport}\",outcome=\"{outcome}\"");
    format!("muster_device_answers_total{{id_scope=\"\",instance=\"\",{labels}}} {count}")
}

fn of_one(name: &str, more: &str, value: u32) -> String {
    format!("muster_{name}{{id_scope=\"0neAAAAAAAA\",instance=\"one\"{more}}} {value}")
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let (fixture, [port, ..]) = (ServeFixture::new(), free_ports());
    fixture.amend("[[tls]]", &format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[tls]]"));
    let mut service = fixture.start().await;
    check(&scrape(port).await, &[answered_strangers("https", "assigned", 0), of_one("cleanups_owed", "", 0)]);

    let endpoint = fixture.endpoint("0neAAAAAAAA");
    fixture.service("127.0.0.1").create_enrollment(&enrollment("dev-1")).await.unwrap();
    for transport in Transport::ALL {
        ::fleet::register(&endpoint, &device("dev-1"), transport, None).await.unwrap();
    }
    assert!(::fleet::register(&endpoint, &device("unknown"), Transport::Mqtt, None).await.is_err());
    assert!(::fleet::register(&endpoint, &device("unknown"), Transport::AmqpWs, None).await.is_err());
    let elsewhere = fixture.endpoint("0neMadeUpByIt");
    assert!(::fleet::register(&elsewhere, &device("dev-1"), Transport::Https, None).await.is_err());
    let open = MqttSession::open(&endpoint, &device("dev-1"), Carrier::WebSocket).await.unwrap();
    let samples = scrape(port).await;
    let operations = [
        of_one("operations_total", ",kind=\"registration\"", 1),
        of_one("operations_total", ",kind=\"reregistration\"", 4),
        of_one("operations_total", ",kind=\"enrollmentChange\"", 1),
    ];
    check(&samples, &Transport::ALL.map(|transport| answered(transport.name(), "assigned", 1)));
    check(&samples, &[answered("mqtt", "unauthorized", 1), answered("amqp-ws", "unauthorized", 1)]);
    check(
        &samples,
        &[answered_strangers("https", "unauthorized", 1), answered_strangers("mqtt", "unauthorized", 0)],
    );
    assert!(samples.iter().all(|line| !line.contains("MadeUp")), "an unknown ID scope creates no series");
    check(&samples, &operations);
    check(
        &samples,
        &[
            "muster_connections_open{transport=\"mqtt-ws\"} 1".to_owned(),
            "muster_registrations_waiting 0".to_owned(),
            of_one("hub_circuit", ",hub=\"127.0.0.1\",circuit=\"closed\"", 1),
            of_one("hub_circuit", ",hub=\"127.0.0.1\",circuit=\"open\"", 0),
            of_one("hub_calls", ",hub=\"127.0.0.1\"", 0),
        ],
    );
    assert!(samples.iter().all(|line| !line.contains("dev-1") && !line.contains("unknown")), "{samples:#?}");
    open.close().await;

    service.kill().await.unwrap();
    let mut service = fixture.start().await;
    let samples = scrape(port).await;
    check(&samples, &operations);
    check(&samples, &[answered_strangers("https", "assigned", 0)]);
    service.kill().await.unwrap();
}

#[tokio::test]
async fn metrics_are_served_on_their_listener_alone() {
    let (fixture, [port, ..]) = (ServeFixture::new(), free_ports());
    fixture.amend("[[tls]]", &format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n[[tls]]"));
    let mut service = fixture.start().await;
    for path in ["/", "/health", "/enrollments/dev-1", "/0neAAAAAAAA/registrations/dev-1/register"] {
        let (head, _) = get(port, path).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
    let endpoint = fixture.endpoint("0neAAAAAAAA");
    let deadline = std::time::Duration::from_secs(30);
    let deadlines = Deadlines { connect: deadline, exchange: deadline };
    let config = endpoint.trust.anonymous();
    let mut connection =
        HttpsConnection::open("127.0.0.1", endpoint.https_port, config, deadlines).await.unwrap();
    let call = Call { method: Method::GET, path_and_query: "/metrics".to_owned(), ..Call::default() };
    assert_eq!(connection.call(call).await.unwrap().status(), StatusCode::NOT_FOUND);
    service.kill().await.unwrap();
}
