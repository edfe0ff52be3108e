//! Rules of every call: versions, paths, bodies, headers, and arbitrary input.

use axum::body::Body;
use futures_util::{StreamExt, stream};
use http::Method;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;
use wire::MAX_BODY_BYTES;

use crate::world::{World, individual};

#[tokio::test]
async fn every_well_formed_version_is_accepted_and_no_other() {
    let world = World::new().await;
    for version in wire::service::ServiceApiVersion::all() {
        world.get("/enrollments/none").version(Some(version.as_str())).send().await.refused(404_201);
    }
    for version in ["2016-01-01", "2026-11-02-preview", "2031-01-01"] {
        world.get("/enrollments/none").version(Some(version)).send().await.refused(404_201);
    }
    for version in [None, Some(""), Some("2021-13-01"), Some("2021-10-01-beta"), Some("%FF")] {
        world.get("/enrollments/none").version(version).send().await.refused(400_001);
    }
    let upper = world.get("/enrollments/none?Api-Version=2021-10-01").version(None);
    upper.send().await.refused(404_201);
}

#[tokio::test]
async fn bodies_up_to_the_limit_are_accepted() {
    let world = World::new().await;
    let padded = |length: usize| {
        let mut body = individual("dev-1").to_string().into_bytes();
        body.resize(length, b' ');
        body
    };
    for length in [MAX_BODY_BYTES + 1, 500_000, 5_000_000] {
        let request = world.request(Method::PUT, "/enrollments/dev-1").raw(padded(length));
        request.send().await.refused(413_000);
    }
    world.get("/enrollments/dev-1").send().await.refused(404_201);
    world.request(Method::PUT, "/enrollments/dev-1").raw(padded(MAX_BODY_BYTES)).send().await.ok();
}

#[tokio::test(start_paused = true)]
async fn incomplete_bodies_are_refused() {
    let world = World::new().await;
    let put = |body| world.request(Method::PUT, "/enrollments/dev-1").body(body).send();
    let part = || Ok::<_, std::io::Error>(individual("dev-1").to_string());
    // The paused clock of the test runtime jumps to the deadline.
    put(Body::from_stream(stream::once(async move { part() }).chain(stream::pending())))
        .await
        .refused(408_000);
    let cut = Err(std::io::Error::other("connection reset"));
    put(Body::from_stream(stream::iter([part(), cut]))).await.refused(400_002);
    world.get("/enrollments/dev-1").send().await.refused(404_201);
}

#[tokio::test]
async fn only_json_is_accepted() {
    let world = World::new().await;
    let put = |id: &str| {
        world.request(Method::PUT, &format!("/enrollments/{id}")).raw(individual(id).to_string().into_bytes())
    };
    for (id, declared) in [
        ("a", "application/json"),
        ("b", "application/json; charset=utf-8"),
        ("c", "Application/JSON;charset=UTF-8"),
    ] {
        put(id).header("content-type", declared).send().await.ok();
    }
    put("d").send().await.ok();
    for declared in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "json"] {
        put("e").header("content-type", declared).send().await.refused(415_000);
    }
    // Without a body, the declared type does not matter.
    world.get("/enrollments/a").header("content-type", "text/plain").send().await.ok();
}

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let world = World::new().await;
    for body in ["", "{", "nonsense", "{\"registrationId\":\"dev-1\"", "\u{0}"] {
        let request = world.request(Method::PUT, "/enrollments/dev-1").raw(body.into());
        request.send().await.refused(400_003);
    }
    let deep = "[".repeat(50_000).into_bytes();
    world.request(Method::PUT, "/enrollments/dev-1").raw(deep).send().await.refused(400_003);
    world.request(Method::PUT, "/enrollments/dev-1").raw(vec![0xFF, 0xFE]).send().await.refused(400_003);
    world.put("/enrollments/dev-1", &json!({})).send().await.refused(400_002);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let world = World::new().await;
    world.get("/nothing").send().await.refused(404_000);
    world.get("/enrollments/a/b/c").send().await.refused(404_000);
    for (method, path, allowed) in [
        (Method::PUT, "/enrollments", "GET, POST"),
        (Method::PATCH, "/enrollmentGroups/g", "GET, PUT, DELETE"),
        (Method::DELETE, "/usage", "GET"),
        (Method::PUT, "/registrations", "GET"),
    ] {
        let reply = world.request(method, path).send().await;
        reply.refused(405_000);
        assert_eq!(reply.header("allow"), Some(allowed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_input_gets_a_reply_and_changes_nothing() {
    let world = World::new().await;
    let before = world.snapshot("one").await;
    let paths = prop_oneof![
        "/(enrollments|enrollmentGroups|registrations|usage)(/[a-z%0-9.~!:]{0,10}){0,3}",
        "/[a-zA-Z0-9%._~!$&'()*+,;=:@/-]{0,60}",
    ];
    let methods = prop::sample::select(vec![Method::GET, Method::PUT, Method::POST, Method::DELETE]);
    let headers = "[ -~]{0,40}";
    let bodies = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        "\\{\"(registrationId|mode|query|attestation)\":(\"[a-z]{0,5}\"|null|\\[\\]|\\{\\}|1)\\}"
            .prop_map(String::into_bytes),
    ];
    let mut runner = TestRunner::default();
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        runner.run(&(methods, paths, headers, bodies), |(method, path, header, body)| {
            let request = world.request(method, &path).raw(body);
            let request = request.header("if-match", &header).header("x-ms-continuation", &header);
            let reply = handle.block_on(request.send());
            prop_assert!(reply.status.as_u16() < 500, "{:?}", reply);
            Ok(())
        })
    })
    .unwrap();
    let usage = |snapshot: &str| snapshot.lines().take(4).collect::<Vec<_>>().join("\n");
    assert_eq!(usage(&world.snapshot("one").await), usage(&before));
}
