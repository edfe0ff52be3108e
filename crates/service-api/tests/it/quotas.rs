//! Quotas of records, and the throttle of operations.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::ca::Authority;

use crate::{
    management::{body, call},
    world::{
        TestRequest, World, id_scope, individual, is_management, management_routes, resource, service_routes,
        with_id,
    },
};

/// Sets the quotas of the instance `one`.
async fn set(world: &World, quotas: Value) {
    let mut changed = body();
    changed["properties"] = json!({"muster": {"quotas": quotas}});
    let shown = world.manage(Method::PUT, &resource("one", ""), &changed).send().await.ok();
    assert_eq!(shown["properties"]["muster"]["quotas"], quotas);
}

/// Returns a request that creates a record for a quota.
fn creation<'a>(world: &'a World, quota: &str, number: usize) -> TestRequest<'a> {
    let id = format!("{quota}-{number}").to_lowercase();
    let authority = || Authority::root(&id).certificate().to_pem();
    let group = |attestation: Value| {
        let json = json!({"enrollmentGroupId": id, "attestation": attestation});
        world.put(&format!("/enrollmentGroups/{id}"), &json)
    };
    match quota {
        "enrollments" => world.put(&format!("/enrollments/{id}"), &individual(&id)),
        "symmetricKeyGroups" => group(json!({"type": "symmetricKey"})),
        "x509Groups" => {
            let certificates = json!({"signingCertificates": {"primary": {"certificate": authority()}}});
            group(json!({"type": "x509", "x509": certificates}))
        }
        "caCertificates" => {
            let json = json!({"properties": {"certificate": authority()}});
            world.manage(Method::PUT, &resource("one", &format!("/certificates/{id}")), &json)
        }
        _ => {
            let hub = ["far.example", "near.example", "new.example"][number - 1];
            let key = "AQEBAQEBAQEBAQEBAQEBAQ==";
            let connection = format!("HostName={hub};SharedAccessKeyName=o;SharedAccessKey={key}");
            world
                .put(&format!("/linkedHubs/{hub}"), &json!({"connectionString": connection, "location": "x"}))
        }
    }
}

async fn used(world: &World, quota: &str) -> (Value, Value) {
    let report = world.get("/quotas").send().await.ok();
    let rows = report["quotas"].as_array().unwrap().clone();
    let row = rows.into_iter().find(|row| row["name"] == quota).unwrap();
    (row["used"].clone(), row["limit"].clone())
}

/// Up to each quota records are created; beyond it they are refused, and the others stay usable.
#[tokio::test]
async fn records_beyond_a_quota_are_refused() {
    let world = World::new().await;
    for quota in ["enrollments", "symmetricKeyGroups", "x509Groups", "caCertificates", "linkedHubs"] {
        let before = used(&world, quota).await.0.as_u64().unwrap();
        let limit = before + 2;
        set(&world, json!({"preset": "off", quota: limit})).await;
        for number in 1..=2 {
            creation(&world, quota, number).send().await.ok();
        }
        let message = creation(&world, quota, 3).send().await.refused(429_001);
        assert_eq!(message, format!("the quota of the instance is used up: at most {limit} {quota}"));
        creation(&world, quota, 1).if_match("*").send().await.ok();
        assert_eq!(used(&world, quota).await, (json!(limit), json!(limit)), "{quota}");
        set(&world, json!({"preset": "off", quota: 1})).await;
        creation(&world, quota, 2).if_match("*").send().await.ok();
        creation(&world, quota, 3).send().await.refused(429_001);
        set(&world, json!({"preset": "off"})).await;
        creation(&world, quota, 3).send().await.ok();
        assert_eq!(used(&world, quota).await, (json!(limit + 1), Value::Null), "{quota}: without a limit");
    }
}

/// Several in one call count one by one; a deletion makes room once the records are counted again.
#[tokio::test]
async fn bulk_calls_and_imports_end_at_the_quota() {
    let world = World::new().await;
    set(&world, json!({"preset": "off", "enrollments": 3})).await;
    let items: Vec<Value> = (0..5).map(|number| individual(&format!("dev-{number}"))).collect();
    let bulk = json!({"mode": "create", "enrollments": items[..2]});
    assert_eq!(world.post("/enrollments", &bulk).send().await.ok()["isSuccessful"], true);
    let import = json!({"enrollments": items, "generateKeys": true});
    let imported = world.post("/enrollments/import", &import).send().await.ok();
    let codes: Vec<&Value> =
        imported["errors"].as_array().unwrap().iter().map(|error| &error["errorCode"]).collect();
    assert_eq!(codes.iter().filter(|code| ***code == json!(429_001)).count(), 2, "{imported}");
    assert_eq!(imported["created"], 1, "{imported}");
    world.delete("/enrollments/dev-0").send().await.deleted();
    world.clock.advance(Duration::from_secs(6));
    world.put("/enrollments/new", &individual("new")).send().await.ok();
    world.put("/enrollments/more", &individual("more")).send().await.refused(429_001);
    let elsewhere = world.put("/enrollments/more", &individual("more")).of("two");
    elsewhere.send().await.ok();
}

/// Calls everything once the only operation of a minute is used up, and returns the routes that are throttled.
async fn throttled(world: &World, routes: impl Iterator<Item = (Method, String)>) -> Vec<String> {
    let mut throttled = Vec::new();
    for (method, pattern) in routes {
        let request = match is_management(&pattern) {
            true => {
                let (path, json) = call(&pattern, "one");
                world.manage(method.clone(), &path, &json)
            }
            false => world.request(method.clone(), &with_id(&with_id(&pattern, "a"), "b")).json(&json!({})),
        };
        let reply = request.version(Some("2022-02-05")).send().await;
        if reply.status == 429 {
            let message = reply.refused(429_000);
            assert!(message.starts_with("the instance is limited to 1 operations a minute"), "{message}");
            let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            throttled.push(format!("{method} {pattern}"));
        }
    }
    throttled
}

#[tokio::test]
async fn every_route_of_the_service_api_counts_as_an_operation_but_the_reports_of_limits() {
    let world = World::new().await;
    set(&world, json!({"preset": "off", "operationsPerMinute": 1})).await;
    // What is refused before the right is proven does not count.
    world.get("/enrollments/none").signed("nonsense").send().await.refused(401_002);
    world.get("/enrollments/none").signed(&world.token("one", "DeviceConnect")).send().await.refused(403_000);
    world.get("/enrollments/none").send().await.refused(404_201);
    let free = |pattern: &str| ["/usage", "/quotas", "/openapi.json"].contains(&pattern);
    let expected: Vec<String> = service_routes()
        .filter(|(_, pattern)| !free(pattern))
        .map(|(method, pattern)| format!("{method} {pattern}"))
        .collect();
    assert!(expected.len() > 20);
    assert_eq!(throttled(&world, service_routes()).await, expected);
    assert_eq!(throttled(&world, management_routes()).await, Vec::<String>::new());
    world.get("/enrollments/none").of("two").send().await.refused(404_201);
    assert_eq!(world.api.throttled_operations(&id_scope("one")), expected.len() as u64);
}

#[tokio::test]
async fn operations_are_admitted_again_at_the_rate() {
    let world = World::new().await;
    set(&world, json!({"preset": "azure", "operationsPerMinute": 3})).await;
    let call = || world.get("/enrollments/none").send();
    for _ in 0..3 {
        call().await.refused(404_201);
    }
    let reply = call().await;
    reply.refused(429_000);
    assert_eq!(reply.header("retry-after"), Some("20"));
    assert_eq!(used(&world, "operationsPerMinute").await, (json!(3), json!(3)));
    assert_eq!(used(&world, "registrationsPerMinute").await, (json!(0), json!(1000)));
    assert_eq!(used(&world, "pollsPer10Seconds").await, (Value::Null, json!(5)));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    tokio::time::resume();
    call().await.refused(404_201);
    call().await.refused(429_000);
}
