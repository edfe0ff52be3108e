//! Registrations of one device, with any reply of the server.

use codec::mqtt::{ConnectReturnCode, SubscribeReturn};
use fleet::{RegisterError, Transport, TransportError, register};
use net::client::ClientError;
use serde_json::json;

use crate::script::{ACCEPT, Answer, MqttReplies, Server, answer, assigned, device};

const ASSIGNING: &str = r#"{"operationId":"op-1","status":"assigning"}"#;
const REGISTER: &str = "PUT /0ne00000001/registrations/reg-1/register?api-version=2021-06-01 signed {\"registrationId\":\"reg-1\"}";
const POLL: &str = "GET /0ne00000001/registrations/reg-1/operations/op-1?api-version=2021-06-01 signed";
const CONNECT: &str =
    "CONNECT reg-1 0ne00000001/registrations/reg-1/api-version=2021-06-01&ClientVersion=muster-fleet signed";
const SUBSCRIBE: &str = "SUBSCRIBE $dps/registrations/res/#";

/// Registers over HTTPS and MQTT with the same script, and compares the results and the requests over HTTPS.
async fn check(answers: &[Answer], expected: Result<&str, &str>, requests: &[&str]) {
    for transport in [Transport::Https, Transport::Mqtt] {
        let server = Server::start(answers.to_vec(), ACCEPT).await;
        let outcome = register(&server.endpoint, &device("reg-1"), transport, None).await;
        let outcome = outcome.map(|registered| registered.hub.to_string()).map_err(|error| error.to_string());
        assert_eq!(outcome.as_deref().map_err(String::as_str), expected, "{transport} {answers:?}");
        let received = server.requests();
        if transport == Transport::Https {
            assert_eq!(received[1..], *requests);
        } else {
            assert_eq!(received[1..3], [CONNECT, SUBSCRIBE]);
        }
    }
}

#[tokio::test]
async fn a_device_is_assigned_by_the_first_reply() {
    check(&[assigned("hub.example")], Ok("hub.example"), &[REGISTER]).await;
}

#[tokio::test]
async fn a_device_is_assigned_after_a_poll() {
    let answers = [answer(202, Some(1), ASSIGNING), assigned("hub.example")];
    check(&answers, Ok("hub.example"), &[REGISTER, POLL]).await;
}

#[tokio::test]
async fn requests_to_a_throttled_service_are_repeated() {
    let answers = [answer(429, Some(1), ""), answer(503, Some(1), ""), assigned("hub.example")];
    check(&answers, Ok("hub.example"), &[REGISTER, REGISTER, REGISTER]).await;
}

#[tokio::test]
async fn refusals_are_final() {
    let body = r#"{"errorCode":401002,"trackingId":"t","message":"Unauthorized"}"#;
    check(&[answer(401, None, body)], Err("refused: 401002 Unauthorized"), &[REGISTER]).await;
    let state = r#"{"errorCode":400207,"errorMessage":"webhook"}"#;
    let failed = format!(r#"{{"operationId":"op-1","status":"failed","registrationState":{state}}}"#);
    check(&[answer(200, None, &failed)], Err("failed: 400207 webhook"), &[REGISTER]).await;
    let disabled = r#"{"operationId":"","status":"disabled"}"#;
    check(&[answer(202, None, disabled)], Err("the enrollment is disabled"), &[REGISTER]).await;
}

#[tokio::test]
async fn a_poll_over_mqtt_names_the_operation() {
    let answers = [answer(202, Some(1), ASSIGNING), assigned("hub.example")];
    let server = Server::start(answers, ACCEPT).await;
    let payload = json!({"model": 7});
    let registered =
        register(&server.endpoint, &device("reg-1"), Transport::Mqtt, Some(&payload)).await.unwrap();
    assert_eq!(registered.round_trips, 2);
    assert!(registered.time_to_assigned.as_secs_f64() >= 1.0, "the client waits for Retry-After");
    assert_eq!(
        server.requests()[3..5],
        [
            r#"$dps/registrations/PUT/iotdps-register/?$rid=1 {"registrationId":"reg-1","payload":{"model":7}}"#,
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=op-1",
        ]
    );
}

#[tokio::test]
async fn a_closed_connection_is_a_transport_error() {
    for transport in [Transport::Https, Transport::Mqtt] {
        let server = Server::start([], ACCEPT).await;
        let error = register(&server.endpoint, &device("reg-1"), transport, None).await.unwrap_err();
        assert!(matches!(error, RegisterError::Transport(_)), "{transport} {error:?}");
    }
}

#[tokio::test]
async fn refused_mqtt_connections_and_subscriptions_are_errors() {
    for (replies, expected) in [
        (
            MqttReplies { connect: ConnectReturnCode::NotAuthorized, ..ACCEPT },
            "MQTT: CONNACK 5 (NotAuthorized)",
        ),
        (
            MqttReplies { subscribe: SubscribeReturn::Failure, ..ACCEPT },
            "MQTT: subscription to $dps/registrations/res/# refused",
        ),
    ] {
        let server = Server::start([assigned("hub.example")], replies).await;
        let error = register(&server.endpoint, &device("reg-1"), Transport::Mqtt, None).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_trusted() {
    let (server, other) = (Server::start([], ACCEPT).await, Server::start([], ACCEPT).await);
    let mut endpoint = server.endpoint.clone();
    endpoint.trust = other.endpoint.trust.clone();
    for transport in [Transport::Https, Transport::Mqtt] {
        let error = register(&endpoint, &device("reg-1"), transport, None).await.unwrap_err();
        let is_tls =
            matches!(error, RegisterError::Transport(TransportError::Client(ClientError::Tls { .. })));
        assert!(is_tls, "{transport} {error:?}");
    }
}

#[tokio::test]
async fn an_overlong_response_is_refused() {
    let server = Server::start([answer(200, None, &"x".repeat((1 << 20) + 1))], ACCEPT).await;
    let error = register(&server.endpoint, &device("reg-1"), Transport::Https, None).await.unwrap_err();
    assert_eq!(error.to_string(), "the response is longer than 1048576 bytes");
    let server = Server::start([answer(200, None, &"x".repeat(301 * 1024))], ACCEPT).await;
    let error = register(&server.endpoint, &device("reg-1"), Transport::Mqtt, None).await.unwrap_err();
    assert!(error.to_string().contains("the limit is 307200"), "{error}");
}
