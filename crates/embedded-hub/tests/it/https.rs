//! Devices over HTTPS: authentication and telemetry.

use serde_json::json;
use wire::sas::sign;

use crate::world::{HOST, World, key};

/// All requests of devices.
const ROUTES: [&str; 6] = [
    "POST /devices/d/messages/events?api-version=2021-04-12",
    "GET /devices/d/messages/devicebound",
    "GET /devices/d/messages/deviceBound",
    "DELETE /devices/d/messages/devicebound/lock?api-version=2021-04-12",
    "DELETE /devices/d/messages/devicebound/lock?reject",
    "POST /devices/d/messages/devicebound/lock/abandon",
];

#[tokio::test]
async fn every_route_authenticates_the_device() {
    let world = World::new();
    world.device("d").await;
    world.device("e").await;
    world.device("off").await;
    let own = format!("{HOST}/devices/d");
    let expired = sign(&own, key(7).as_bytes(), world.now() as u64 - 301, None);
    let cases = [
        ("the primary key", world.token(&own, 7, None), true),
        ("the secondary key", world.token(&own, 8, None), true),
        ("a device policy", world.token(HOST, 5, Some("device")), true),
        ("the owner's policy", world.token(HOST, 1, Some("iothubowner")), true),
        ("a service policy", world.token(HOST, 4, Some("service")), false),
        ("another key", world.token(&own, 9, None), false),
        ("another device's token", world.token(&format!("{HOST}/devices/e"), 7, None), false),
        ("another hub's token", world.token("other.example/devices/d", 7, None), false),
        ("the whole hub by a device's key", world.token(HOST, 7, None), false),
        ("an expired token", expired, false),
        ("nonsense", "nonsense".to_owned(), false),
    ];
    let unauthorized = (401, "IotHubUnauthorizedAccess");
    for route in ROUTES {
        for (what, token, admitted) in &cases {
            let reply = world.send(route, Vec::new(), &[("authorization", token)]).await;
            assert_eq!(reply.verdict() != unauthorized, *admitted, "{route} with {what}");
        }
        assert_eq!(world.send(route, Vec::new(), &[]).await.verdict(), unauthorized, "{route}");
        let stranger = route.replace("/d/", "/nobody/");
        let token = world.token(&format!("{HOST}/devices/nobody"), 7, None);
        let reply = world.send(&stranger, Vec::new(), &[("authorization", &token)]).await;
        assert_eq!(reply.verdict(), unauthorized, "{stranger}");
    }
    let disable = r#"{"deviceId":"d","status":"disabled"}"#;
    world.ask_with("PUT /devices/d", disable, &[("if-match", "*")]).await;
    let token = world.token(HOST, 5, Some("device"));
    let reply = world.send(ROUTES[1], Vec::new(), &[("authorization", &token)]).await;
    assert_eq!(reply.verdict(), unauthorized, "a disabled device");
}

#[tokio::test]
async fn a_certificate_authenticates_unless_a_token_is_sent() {
    let world = World::new();
    let thumbprint = certpath::Sha256Thumbprint::of(b"the leaf");
    let body = format!(
        r#"{{"deviceId":"d","authentication":{{"x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}},"type":"selfSigned"}}}}"#
    );
    assert_eq!(world.ask("PUT /devices/d", &body).await.status, 200);
    let events = ROUTES[0];
    assert_eq!(world.send_with_certificate(events, b"the leaf").await.status, 204);
    assert_eq!(world.send_with_certificate(events, b"another").await.status, 401);
    assert_eq!(world.ask_as_device(events, "x").await.status, 401, "a key for a certificate device");
    world.device("e").await;
    let reply = world.send_with_certificate("POST /devices/e/messages/events", b"the leaf").await;
    assert_eq!(reply.status, 401, "a certificate for a key device");
}

#[tokio::test]
async fn telemetry_is_counted_in_single_messages_and_batches() {
    let world = World::new();
    let id = world.device("d").await;
    let token = world.token(&format!("{HOST}/devices/d"), 7, None);
    let post = async |kind: &str, body: String| {
        let headers = [("authorization", token.as_str()), ("content-type", kind), ("iothub-app-a", "b")];
        world
            .send("POST /devices/d/messages/events?api-version=2021-04-12", body.into_bytes(), &headers)
            .await
    };
    let batch = "application/vnd.microsoft.iothub.json";
    let large = "x".repeat(256 * 1024);
    let in_base64 = |length: usize| format!(r#"[{{"body":"{}"}}]"#, "AAAA".repeat(length / 3));
    let cases = [
        ("text/plain", "anything at all".to_owned(), (204, "-"), 1),
        ("text/plain", String::new(), (204, "-"), 1),
        ("text/plain", large.clone(), (204, "-"), 1),
        ("text/plain", format!("{large}x"), (413, "MessageTooLarge"), 0),
        (
            batch,
            r#"[{"body":"AAEC","properties":{"iothub-app-a":"b"}},{"body": ""}]"#.to_owned(),
            (204, "-"),
            2,
        ),
        (batch, r#"[{"body":"not base64!","base64Encoded":false}]"#.to_owned(), (204, "-"), 1),
        (
            "Application/vnd.microsoft.iothub.json; charset=utf-8",
            r#"[{"body":""}]"#.to_owned(),
            (204, "-"),
            1,
        ),
        (batch, in_base64(255 * 1024), (204, "-"), 1),
        (batch, in_base64(257 * 1024), (413, "MessageTooLarge"), 0),
        (batch, r#"[{"body":"AAEC"},{"body":"not base64!"}]"#.to_owned(), (400, "ArgumentInvalid"), 0),
        (batch, "[]".to_owned(), (400, "ArgumentInvalid"), 0),
        (batch, r#"{"body":"AAEC"}"#.to_owned(), (400, "ArgumentInvalid"), 0),
        (batch, r#"[["AAEC",true,{}]]"#.to_owned(), (400, "ArgumentInvalid"), 0),
        (batch, "nonsense".to_owned(), (400, "ArgumentInvalid"), 0),
    ];
    let mut expected = 0;
    for (kind, body, verdict, count) in cases {
        let returned: String = body.chars().take(60).collect();
        assert_eq!(post(kind, body).await.verdict(), verdict, "{kind}: {returned}");
        expected += count;
        assert_eq!(world.hub.counts().unwrap().telemetry, expected, "{kind}: {returned}");
    }
    world.hub.run_maintenance(cancelled()).await;
    assert_eq!(world.hub.telemetry_count(&id), Ok(Some(expected)));
    let returned = world.ask("GET /devices/d", "").await.body;
    let now = model::Timestamp::from_unix_seconds(world.now()).to_string();
    assert_eq!(returned["lastActivityTime"], json!(now));
    assert_eq!(returned["connectionState"], "Disconnected", "a request is no connection");
    assert_eq!(returned["connectionStateUpdatedTime"], "0001-01-01T00:00:00Z");
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let world = World::new();
    world.device("d").await;
    let reply = world.ask("GET /devices/d/messages/events", "").await;
    assert_eq!(reply.verdict(), (405, "InvalidOperation"));
    for lock in
        ["DELETE /devices/d/messages/devicebound/%FF", "POST /devices/d/messages/devicebound/%FF/abandon"]
    {
        assert_eq!(world.ask_as_device(lock, "").await.verdict(), (400, "ArgumentInvalid"));
    }
    // A caller without a right cannot find out which other routes exist.
    for nowhere in ["GET /devices/d/messages/nowhere", "GET /devices/d/messages/events", "GET /devices/d"] {
        assert_eq!(world.ask_as_device(nowhere, "").await.status, 401, "{nowhere}");
    }
}

/// Returns a canceled token.
fn cancelled() -> net::CancellationToken {
    let token = net::CancellationToken::new();
    token.cancel();
    token
}
