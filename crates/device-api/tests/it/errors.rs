//! What is wrong with a request, and what a device is told about it. Nothing of it changes anything.

use testkit::sample;

use crate::{
    http::{VERSION, poll_path, register_path},
    world::{Device, IN_TIME, OTHER_SCOPE, SCOPE, World, now},
};

/// The longest body that is taken.
const LONGEST: usize = 96 * 1024;

#[tokio::test]
async fn unauthorized_in_every_form() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let good = device.token();
    let other_device = Device::new(SCOPE, "reg-2", sample::key(10));
    let other_scope = Device::new(OTHER_SCOPE, "reg-1", sample::key(10));
    let tokens = [
        ("none", None),
        ("empty", Some(String::new())),
        ("rubbish", Some("rubbish".into())),
        ("another scheme", Some(good.replace("SharedAccessSignature", "Bearer"))),
        ("no scheme", Some(good.replace("SharedAccessSignature ", ""))),
        ("no signature", Some(format!("SharedAccessSignature sr={}&se={}", device.resource(), now() + 9))),
        ("a signature that is no base64", Some(format!("{good}&sig=%%"))),
        ("two expiries", Some(format!("{good}&se=4102444800"))),
        ("cut off", Some(good[..good.len() - 30].into())),
        ("another key", Some(device.with_key(sample::key(12)).token())),
        ("expired past the skew", Some(device.token_until(now() - 301))),
        ("another registration", Some(other_device.token())),
        ("another scope", Some(other_scope.token())),
        ("too long", Some(format!("{good}&x={}", "x".repeat(5000)))),
    ];
    let mut http = world.http(None).await;
    for (case, token) in &tokens {
        for (method, path) in [
            ("PUT", register_path(&device, VERSION)),
            ("GET", poll_path(&device, "5.0.0")),
            ("POST", format!("{}?api-version={VERSION}", device.path())),
        ] {
            let mut call = http.call(method, path);
            if let Some(token) = token {
                call = call.token(token.clone());
            }
            let reply = call.send().await;
            reply.check_error(case, 401_002);
            assert_eq!(reply.json()["message"], "Unauthorized", "{case}");
        }
    }
    let reply =
        http.call("PUT", register_path(&device, VERSION)).token(device.token_until(now() - 300)).send().await;
    assert_eq!(reply.status, 202, "expired within the skew");
}

/// A device cannot tell an instance that does not exist from one that does not know it.
#[tokio::test]
async fn unknown_scopes_and_devices_look_alike() {
    let world = World::new(IN_TIME).await;
    let mut http = world.http(None).await;
    let mut bodies = Vec::new();
    for device in [
        Device::new("0ne0000FFFF", "reg-1", sample::key(10)),
        Device::new(SCOPE, "nobody", sample::key(10)),
        Device::new("not_a_scope", "reg-1", sample::key(10)),
    ] {
        let reply = http.register(&device).await;
        reply.check_error(&device.scope, 401_002);
        let mut json = reply.json();
        json["trackingId"].take();
        bodies.push(json);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!((world.record("nobody").await, world.counted().await), (None, 0));
}

#[tokio::test]
async fn addresses_that_lead_nowhere() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let at = |rest: &str| format!("{}{rest}?api-version={VERSION}", device.path());
    let path = |path: &str| format!("{path}?api-version={VERSION}");
    let cases = [
        ("PUT", at("/unregister"), 404_000),
        ("GET", at("/operations"), 404_000),
        ("PUT", at("/register/now"), 404_000),
        ("GET", path("/"), 404_000),
        ("GET", path("/favicon.ico"), 404_000),
        ("PUT", path(&format!("/{SCOPE}/registrations")), 404_000),
        ("PUT", path(&format!("/{SCOPE}/devices/reg-1/register")), 404_000),
        ("PUT", path(&format!("/{SCOPE}/registrations//register")), 400_002),
        ("PUT", path(&format!("/{SCOPE}/registrations/a%20b/register")), 400_002),
        ("PUT", path(&format!("/{SCOPE}/registrations/a%2Fb/register")), 400_002),
        ("PUT", path(&format!("/{SCOPE}/registrations/%FF%FE/register")), 400_002),
        ("PUT", path(&format!("/{SCOPE}/registrations/{}/register", "a".repeat(129))), 400_002),
        ("GET", at("/operations/a%20b"), 404_203),
        ("GET", at("/operations/5.0.0"), 404_203),
    ];
    let mut http = world.http(None).await;
    for (method, target, code) in cases {
        let reply = http.call(method, target.clone()).token(device.token()).send().await;
        reply.check_error(&format!("{method} {target}"), code);
    }
    assert_eq!(
        http.call("GET", at("/operations/5.0.0")).token(device.token()).send().await.json()["message"],
        "Operation not found."
    );
}

#[tokio::test]
async fn methods_that_are_not_allowed_come_with_those_that_are() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    for (path, allowed) in [("", "POST"), ("/register", "PUT"), ("/operations/5.0.0", "GET")] {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]
            .into_iter()
            .filter(|method| *method != allowed)
        {
            let target = format!("{}{path}?api-version={VERSION}", device.path());
            let reply = http.call(method, target).token(device.token()).send().await;
            reply.check_error(&format!("{method} {path}"), 405_000);
            assert_eq!(reply.header("allow"), Some(allowed));
        }
    }
}

#[tokio::test]
async fn versions_are_dates() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    for query in [
        "",
        "?",
        "?api-version",
        "?api-version=",
        "?api-version=latest",
        "?api-version=2021-13-01",
        "?version=2021-06-01",
    ] {
        let target = format!("{}/register{query}", device.path());
        http.call("PUT", target).token(device.token()).send().await.check_error(query, 400_001);
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let deep = "[".repeat(10_000);
    let mut http = world.http(None).await;
    for body in [
        "{",
        "[]",
        "1",
        "null",
        "\"text\"",
        "{}{}",
        "{\"payload\":}",
        "\u{0}",
        r#"{"tpm":1}"#,
        r#"{"csr":{}}"#,
        &*deep,
    ] {
        let call = http.call("PUT", register_path(&device, VERSION)).token(device.token());
        call.body(body.to_owned()).send().await.check_error(body, 400_003);
    }
    let call = http.call("PUT", register_path(&device, VERSION)).token(device.token());
    call.body(&b"{\"payload\":\"\xFF\"}"[..]).send().await.check_error("no UTF-8", 400_003);
    assert_eq!((world.record("reg-1").await, world.hub().calls().len()), (None, 0));
}

#[tokio::test]
async fn a_certificate_request_is_refused_and_changes_nothing() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    let call = http.call("PUT", register_path(&device, "2026-11-01")).token(device.token());
    let reply = call.body(r#"{"registrationId":"reg-1","csr":"MIIB"}"#).send().await;
    reply.check_error("no certificates are issued", 400_002);
    assert_eq!((world.record("reg-1").await, world.hub().calls().len()), (None, 0));
}

#[tokio::test]
async fn bodies_at_and_past_the_limit() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let body =
        |length: usize| format!(r#"{{"payload":"{}"}}"#, "x".repeat(length - r#"{"payload":""}"#.len()));
    for (length, expected) in [(LONGEST, 202), (LONGEST + 1, 413), (10 * LONGEST, 413)] {
        let mut http = world.http(None).await;
        let call = http.call("PUT", register_path(&device, VERSION)).token(device.token());
        let reply = call.body(body(length)).send().await;
        assert_eq!(reply.status, expected, "{length} bytes: {}", reply.text);
        if expected == 413 {
            reply.check_error("too long", 413_000);
        }
    }
}
