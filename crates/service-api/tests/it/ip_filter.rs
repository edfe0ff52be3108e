//! The IP filter of an instance, on every route: it is for the service API, and not for the management API.

use http::Method;
use serde_json::{Value, json};

use crate::{
    management::{body, call},
    world::{World, id_scope, is_management, resource, with_id},
};

const CLIENT: &str = "203.0.113.7";

/// Sets the rules, from an address that they may reject.
async fn set(world: &World, properties: Value) -> Value {
    let mut changed = body();
    changed["properties"] = properties;
    world.manage(Method::PUT, &resource("one", ""), &changed).from(CLIENT).send().await.ok()
}

fn rule(name: &str, action: &str, mask: &str, target: &str) -> Value {
    json!({"filterName": name, "action": action, "ipMask": mask, "target": target})
}

/// Calls every route with every kind of credential, and returns which were refused because of the address.
async fn refused_routes(world: &World) -> Vec<String> {
    let owner = world.token("one", "provisioningserviceowner");
    let bearer = world.bearer(&world.claims("alice", &["one owner"]));
    let mut refused = Vec::new();
    for (method, pattern) in service_api::routes() {
        for credential in [&owner, &bearer, "nonsense"] {
            let (path, json) = match is_management(&pattern) {
                true if method == Method::DELETE => continue,
                true => call(&pattern, "one"),
                false => (with_id(&with_id(&pattern, "a"), "b"), json!({})),
            };
            let request = world.request(method.clone(), &path).version(Some("2022-02-05")).json(&json);
            let reply = request.signed(credential).from(CLIENT).send().await;
            if reply.status == 401 && credential != "nonsense" {
                assert_eq!(reply.refused(401_002), "Unauthorized", "without a hint");
                refused.push(format!("{method} {pattern}"));
            }
            assert!(credential != "nonsense" || reply.status == 401 || pattern.ends_with("openapi.json"));
        }
    }
    refused.sort();
    refused.dedup();
    refused
}

#[tokio::test]
async fn the_filter_is_for_every_route_but_those_of_the_management_api() {
    let world = World::new().await;
    let mut of_service: Vec<String> = service_api::routes()
        .filter(|(_, pattern)| !is_management(pattern) && !pattern.ends_with("openapi.json"))
        .map(|(method, pattern)| format!("{method} {pattern}"))
        .collect();
    of_service.sort();
    assert!(of_service.len() > 20);
    let none: Vec<String> = Vec::new();
    for (properties, expected) in [
        (json!({"ipFilterRules": [rule("a", "Reject", "203.0.113.0/24", "all")]}), &of_service),
        (json!({"ipFilterRules": [rule("a", "Reject", "203.0.113.0/24", "deviceApi")]}), &none),
        (json!({"publicNetworkAccess": "Disabled"}), &of_service),
        (
            json!({"publicNetworkAccess": "Enabled", "ipFilterRules": [rule("a", "Reject", "0.0.0.0/0", "serviceApi")]}),
            &of_service,
        ),
        (
            json!({"ipFilterRules": [rule("b", "Accept", CLIENT, "all"), rule("a", "Reject", "0.0.0.0/0", "all")]}),
            &none,
        ),
        (json!({"ipFilterRules": []}), &none),
    ] {
        set(&world, properties.clone()).await;
        assert_eq!(&refused_routes(&world).await, expected, "{properties}");
    }
}

/// An operator that shut out everyone undoes it; the other instance is not affected, and the audit trail has each refusal.
#[tokio::test]
async fn rules_are_shown_and_a_refusal_is_recorded() {
    let world = World::new().await;
    let rules =
        json!([rule("plant", "Accept", "10.0.0.0/8", "deviceApi"), rule("all", "Reject", "::/0", "all")]);
    let shown = set(&world, json!({"ipFilterRules": rules, "publicNetworkAccess": "Disabled"})).await;
    assert_eq!(shown["properties"]["ipFilterRules"], rules);
    assert_eq!(shown["properties"]["publicNetworkAccess"], "Disabled");
    let again = set(&world, shown["properties"].clone()).await;
    assert_eq!(again["etag"], shown["etag"], "a reply is accepted as a request");

    let get = |scope: &str, from: &str| world.get("/enrollments/dev-1").of(scope).from(from);
    get("one", CLIENT).send().await.refused(401_002);
    get("one", "fd00::7").send().await.refused(401_002);
    world.get("/enrollments/dev-1").send().await.refused(401_002);
    get("one", "10.1.2.3").send().await.refused(404_201);
    get("two", CLIENT).send().await.refused(404_201);
    let recorded = world.calls.sorted();
    let refused = recorded.iter().filter(|call| *call == "401002 - GET /enrollments/dev-1");
    assert_eq!(refused.count(), 3, "{recorded:?}");
    assert_eq!(["one", "two"].map(|scope| world.api.refused_addresses(&id_scope(scope))), [3, 0]);

    set(&world, json!({"ipFilterRules": [], "publicNetworkAccess": "Enabled"})).await;
    get("one", CLIENT).send().await.refused(404_201);
}
