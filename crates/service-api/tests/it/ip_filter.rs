//! The IP filter of an instance, on every route: it is for the service API, and for who may not change the rules also for the
//! resource in the management API.

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

/// Calls every route with a credential, and with none that is valid. Returns which were refused because of the address.
async fn refused_routes(world: &World, credential: &str) -> Vec<String> {
    let mut refused = Vec::new();
    for (method, pattern) in service_api::routes() {
        for credential in [credential, "nonsense"] {
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
    refused
}

#[tokio::test]
async fn the_filter_is_for_every_route_but_those_that_can_undo_it() {
    let world = World::new().await;
    let sorted = |is_it: &dyn Fn(&Method, &str) -> bool| {
        let routes = service_api::routes().filter(|(method, pattern)| is_it(method, pattern));
        let mut routes: Vec<_> = routes.map(|(method, pattern)| format!("{method} {pattern}")).collect();
        routes.sort();
        routes
    };
    let is_of_service = |pattern: &str| !is_management(pattern) && !pattern.ends_with("openapi.json");
    let is_of_resource = |method: &Method, pattern: &str| {
        pattern.contains("{provisioningServiceName}") && method != Method::DELETE
    };
    let of_service = sorted(&|_, pattern| is_of_service(pattern));
    let of_instance = sorted(&|method, pattern| is_of_service(pattern) || is_of_resource(method, pattern));
    assert!(of_service.len() > 20 && of_instance.len() > of_service.len() + 10);
    let no_route = Vec::new();
    let (all, none) = ([&of_instance, &of_service], [&no_route; 2]);
    let owner = world.token("one", "provisioningserviceowner");
    let bearer = world.bearer(&world.claims("alice", &["one owner"]));
    for (properties, expected) in [
        (json!({"ipFilterRules": [rule("a", "Reject", "203.0.113.0/24", "all")]}), all),
        (json!({"ipFilterRules": [rule("a", "Reject", "203.0.113.0/24", "deviceApi")]}), none),
        (json!({"publicNetworkAccess": "Disabled"}), all),
        (
            json!({"publicNetworkAccess": "Enabled", "ipFilterRules": [rule("a", "Reject", "0.0.0.0/0", "serviceApi")]}),
            all,
        ),
        (
            json!({"ipFilterRules": [rule("b", "Accept", CLIENT, "all"), rule("a", "Reject", "0.0.0.0/0", "all")]}),
            none,
        ),
        (json!({"ipFilterRules": []}), none),
    ] {
        set(&world, properties.clone()).await;
        for (credential, expected) in [&owner, &bearer].into_iter().zip(expected) {
            assert_eq!(&refused_routes(&world, credential).await, expected, "{properties}");
        }
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
