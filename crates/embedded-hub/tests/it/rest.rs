//! The REST API route by route: statuses, error names, headers and bodies.

use http::Method;
use serde_json::{Value, json};

use crate::world::{HOST, World, key};

/// Returns which of registryRead, registryReadWrite, service and device may use a route.
fn allowed(method: &Method, path: &str) -> [bool; 4] {
    let registry = [true, true, false, false];
    let service = [false, false, true, false];
    let either = [true, true, true, false];
    match (method.as_str(), path) {
        ("GET", "/devices" | "/devices/" | "/devices/{id}") => registry,
        ("POST", "/devices" | "/devices/") | ("PUT" | "DELETE", "/devices/{id}") => {
            [false, true, false, false]
        }
        ("POST", "/devices/{id}") => either,
        ("POST", "/devices/keys/regenerate") => [false, true, false, false],
        ("DELETE", "/devices/{id}/commands") | ("POST", "/messages/devicebound") => service,
        ("GET" | "PATCH" | "PUT", "/twins/{id}") | ("POST", "/twins/{id}/methods") => service,
        ("GET", "/statistics/devices" | "/statistics/service") => either,
        (_, path) if path.starts_with("/devices/{id}/messages/") => [false, false, false, true],
        ("POST", "/devices/{id}/files" | "/devices/{id}/files/notifications") => [false, false, false, true],
        _ => either,
    }
}

#[tokio::test]
async fn every_route_requires_a_token_with_its_right() {
    let world = World::new();
    let unauthorized = (401, "IotHubUnauthorizedAccess");
    let unknown = [(Method::GET, "/nowhere"), (Method::PATCH, "/devices/{id}"), (Method::POST, "/twins")];
    let listed = embedded_hub::routes().into_iter().map(|(method, path, _)| (method, path));
    for (method, pattern) in listed.chain(unknown) {
        // The only POST to this path is a query.
        let id = if (method.as_str(), pattern) == ("POST", "/devices/{id}") { "query" } else { "d" };
        let request = format!("{method} {}", pattern.replace("{id}", id).replace("{*rest}", "x"));
        let names = ["registryRead", "registryReadWrite", "service", "device"];
        for ((name, key_byte), allowed) in names.into_iter().zip(2..).zip(allowed(&method, pattern)) {
            world.ask_with("DELETE /devices/d", "", &[("if-match", "*")]).await;
            world.device("d").await;
            let token = world.token(HOST, key_byte, Some(name));
            let reply = world.send(&request, Vec::new(), &[("authorization", &token)]).await;
            assert_eq!(reply.verdict() != unauthorized, allowed, "{request} as {name}");
        }
        let forged = world.token(HOST, 9, Some("iothubowner"));
        let reply = world.send(&request, Vec::new(), &[("authorization", &forged)]).await;
        assert_eq!(reply.verdict(), unauthorized, "{request}");
        assert_eq!(world.send(&request, Vec::new(), &[]).await.verdict(), unauthorized, "{request}");
        // The owner has all rights of services: each route is found.
        let reply = world.ask(&request, "").await;
        let exists = ![404, 405].contains(&reply.status.as_u16()) || reply.verdict().1 != "InvalidOperation";
        assert_eq!(
            exists,
            embedded_hub::routes().iter().any(|row| (&row.0, row.1) == (&method, pattern)),
            "{request}"
        );
    }
}

#[tokio::test]
async fn unsupported_routes_return_501() {
    let world = World::new();
    world.device("d").await;
    for request in [
        "GET /jobs/v2/query",
        "PUT /jobs/v2/j",
        "POST /configurations/testQueries",
        "GET /devices/d/modules",
        "PUT /devices/d/modules/m",
        "POST /twins/d/modules/m/methods",
        "GET /digitaltwins/d",
        "GET /messages/serviceBound/feedback",
    ] {
        assert_eq!(world.ask(request, "{}").await.verdict(), (501, "InvalidOperation"), "{request}");
    }
    assert_eq!(world.ask_as_device("POST /devices/d/files", "{}").await.verdict(), (501, "InvalidOperation"));
}

#[tokio::test]
async fn devices_are_put_and_deleted_by_etag() {
    let world = World::new();
    let body = r#"{"deviceId":"d"}"#;
    let check = async |request: &str, body: &str, if_match: Option<&str>, expected: (u16, &str)| {
        let headers: Vec<_> = if_match.iter().map(|value| ("if-match", *value)).collect();
        let reply = world.ask_with(request, body, &headers).await;
        assert_eq!(reply.verdict(), expected, "{request} {if_match:?}: {}", reply.body);
        reply
    };
    check("PUT /devices/d", body, Some("*"), (404, "DeviceNotFound")).await;
    check("DELETE /devices/d", "", Some("*"), (404, "DeviceNotFound")).await;
    let created = check("PUT /devices/d?api-version=2021-04-12", body, None, (200, "-")).await;
    let etag = created.body["etag"].as_str().unwrap().to_owned();
    assert_eq!(created.header("etag"), Some(format!("\"{etag}\"").as_str()));
    assert_eq!(created.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(created.header("x-ms-request-id").is_some());
    check("PUT /devices/d", body, None, (409, "DeviceAlreadyExists")).await;
    let replaced = check("PUT /devices/d", body, Some(&format!("\"{etag}\"")), (200, "-")).await;
    assert_ne!(replaced.body["etag"], created.body["etag"]);
    assert_ne!(replaced.body["authentication"], created.body["authentication"], "absent keys are made anew");
    check("PUT /devices/d", body, Some(&etag), (412, "PreconditionFailed")).await;
    check("PUT /devices/d", body, Some("\"*\""), (200, "-")).await;
    check("DELETE /devices/d", "", None, (412, "PreconditionFailed")).await;
    check("DELETE /devices/d", "", Some(&etag), (412, "PreconditionFailed")).await;
    check("DELETE /devices/d", "", Some("*"), (204, "-")).await;
    check("GET /devices/d", "", None, (404, "DeviceNotFound")).await;
    check("GET /twins/d", "", None, (404, "DeviceNotFound")).await;
    world.pass(1);
    let again = check("PUT /devices/d", body, None, (200, "-")).await;
    assert_ne!(again.body["generationId"], created.body["generationId"]);
    check("DELETE /devices/d", "", Some(&etag), (412, "PreconditionFailed")).await;
}

#[tokio::test]
async fn a_device_is_represented_as_sdks_read_it() {
    let world = World::new();
    world.device("d1").await;
    let device = world.ask("GET /devices/d1", "").await.body;
    let fields: Vec<&String> = device.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "deviceId",
            "generationId",
            "etag",
            "connectionState",
            "status",
            "statusReason",
            "connectionStateUpdatedTime",
            "statusUpdatedTime",
            "lastActivityTime",
            "cloudToDeviceMessageCount",
            "authentication",
            "capabilities",
        ]
    );
    assert_eq!(device["lastActivityTime"], "0001-01-01T00:00:00Z");
    assert_eq!(
        device["authentication"].to_string(),
        json!({
            "symmetricKey": {"primaryKey": key(7).to_base64(), "secondaryKey": key(8).to_base64()},
            "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            "type": "sas",
        })
        .to_string()
    );
    let twin = world.ask("GET /twins/d1", "").await;
    assert_eq!(twin.header("etag"), Some("\"AAAAAAAAAAE=\""));
    assert_eq!(twin.body["deviceEtag"], device["etag"]);
    assert_eq!(twin.body["version"], 2);
    assert_eq!(twin.body["properties"]["desired"]["$version"], 1);
    assert_eq!(twin.body["properties"]["reported"]["$version"], 1);
}

#[tokio::test]
async fn ids_are_decoded_once_and_must_agree() {
    let world = World::new();
    let reply = world.ask("PUT /devices/dev%231%3Fx%25y", r#"{"deviceId":"dev#1?x%y"}"#).await;
    assert_eq!(reply.verdict(), (200, "-"), "{}", reply.body);
    assert_eq!(world.ask("GET /twins/dev%231%3Fx%25y", "").await.body["deviceId"], "dev#1?x%y");
    for (request, body) in [
        ("PUT /devices/a", r#"{"deviceId":"b"}"#),
        ("PUT /devices/a", "{}"),
        ("PUT /devices/a", "not json"),
        ("PUT /devices/a%20b", r#"{"deviceId":"a b"}"#),
        ("PUT /devices/a", r#"{"deviceId":"a","status":"asleep"}"#),
        ("PUT /devices/a", r#"{"deviceId":"a","authentication":{"type":"none"}}"#),
        ("PUT /devices/a", r#"{"deviceId":"a","authentication":{"symmetricKey":{"primaryKey":"x"}}}"#),
    ] {
        assert_eq!(world.ask(request, body).await.verdict(), (400, "ArgumentInvalid"), "{request} {body}");
    }
    let long = "x".repeat(129);
    let reply = world.ask(&format!("PUT /devices/{long}"), &json!({ "deviceId": long }).to_string()).await;
    assert_eq!(reply.verdict(), (400, "ArgumentInvalid"));
    assert_eq!(world.hub.counts().unwrap().devices, 1);
}

#[tokio::test]
async fn wrong_paths_methods_and_bodies_are_refused() {
    let world = World::new();
    world.device("d").await;
    for (request, body, expected) in [
        ("GET /nowhere", "", (404, "InvalidOperation")),
        ("GET /devices/%FF", "", (400, "ArgumentInvalid")),
        ("GET /twins/a%20b", "", (400, "ArgumentInvalid")),
        ("PATCH /devices/d", "", (405, "InvalidOperation")),
        ("POST /devices/d", "", (405, "InvalidOperation")),
        ("POST /devices/%FF", "", (400, "ArgumentInvalid")),
        ("DELETE /twins/d", "", (405, "InvalidOperation")),
        ("PATCH /twins/d", "[]", (400, "ArgumentInvalid")),
        ("PATCH /twins/d", r#"{"tags":7}"#, (400, "ArgumentInvalid")),
        ("PATCH /twins/d", r#"{"tags":{"a.b":1}}"#, (400, "ArgumentInvalid")),
        ("PATCH /twins/d", r#"{"tags":{"a":99999999999999999999}}"#, (400, "ArgumentInvalid")),
        ("POST /devices", r#"[{"id":"d","tags":{"a":99999999999999999999}}]"#, (400, "ArgumentInvalid")),
        ("PATCH /twins/x", "{}", (404, "DeviceNotFound")),
        (
            "POST /twins/d/methods",
            r#"{"methodName":"m","responseTimeoutInSeconds":4}"#,
            (400, "ArgumentInvalid"),
        ),
        ("POST /twins/d/methods", r#"{"methodName":""}"#, (400, "ArgumentInvalid")),
        ("POST /twins/d/methods", r#"{"methodName":"m"}"#, (404, "DeviceNotOnline")),
        ("POST /twins/x/methods", r#"{"methodName":"m"}"#, (404, "DeviceNotFound")),
        ("POST /messages/devicebound", "x", (400, "ArgumentInvalid")),
        ("DELETE /devices/x/commands", "", (404, "DeviceNotFound")),
    ] {
        assert_eq!(world.ask(request, body).await.verdict(), expected, "{request} {body}");
    }
    for (bytes, expected) in
        [(1024 * 1024, (400, "ArgumentInvalid")), (1024 * 1024 + 1, (413, "MessageTooLarge"))]
    {
        assert_eq!(world.ask("PATCH /twins/d", &" ".repeat(bytes)).await.verdict(), expected, "{bytes}");
    }
}

#[tokio::test]
async fn devices_are_listed_and_counted() {
    let world = World::new();
    for id in ["a", "b", "c"] {
        world.device(id).await;
    }
    let disabled = r#"{"deviceId":"b","status":"disabled"}"#;
    world.ask_with("PUT /devices/b", disabled, &[("if-match", "*")]).await;
    for (path, expected) in [
        ("/devices", 3),
        ("/devices/?top=2", 2),
        ("/devices?top=0", 3),
        ("/devices?top=1001", 3),
        ("/devices?top=x", 3),
    ] {
        let listed = world.ask(&format!("GET {path}"), "").await.body;
        assert_eq!(listed.as_array().unwrap().len(), expected, "{path}");
    }
    assert_eq!(
        world.ask("GET /statistics/devices", "").await.body,
        json!({"totalDeviceCount": 3, "enabledDeviceCount": 2, "disabledDeviceCount": 1})
    );
    assert_eq!(world.ask("GET /statistics/service", "").await.body["connectedDeviceCount"], 0);
}

#[tokio::test]
async fn the_entries_of_a_bulk_request_are_applied_separately() {
    let world = World::new();
    let bulk = async |body: Value| world.ask("POST /devices/", &body.to_string()).await;
    let reply = bulk(json!([
        {"id": "a", "importMode": "create", "tags": {"site": 1}, "properties": {"desired": {"rate": 5}}},
        {"id": "b", "importMode": "Create", "status": "disabled"},
    ]))
    .await;
    assert_eq!((reply.verdict(), &reply.body["isSuccessful"]), ((200, "-"), &json!(true)), "{}", reply.body);
    let twin = world.ask("GET /twins/a", "").await.body;
    assert_eq!((&twin["tags"]["site"], &twin["properties"]["desired"]["rate"]), (&json!(1), &json!(5)));
    let twin_etag = twin["etag"].clone();
    let reply = bulk(json!([
        {"id": "a", "importMode": "create"},
        {"id": "b", "importMode": "UpdateIfMatchETag", "eTag": "c3RhbGU="},
        {"id": "x", "importMode": "update"},
        {"id": "a", "importMode": "updateTwinIfMatchETag", "twinETag": twin_etag, "tags": {"site": 2}},
        {"id": "a", "importMode": "updateTwinIfMatchETag", "twinETag": twin_etag, "tags": {"site": 3}},
        {"id": "no id", "importMode": "create"},
        {"id": "c", "importMode": "createOrUpdate"},
        {"id": "b", "importMode": "delete"},
    ]))
    .await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("iothuberrorcode")),
        (400, Some("BulkRegistryOperationFailure"))
    );
    let errors: Vec<_> =
        reply.body["errors"].as_array().unwrap().iter().map(|e| (&e["deviceId"], &e["errorCode"])).collect();
    assert_eq!(
        json!(errors),
        json!([
            ["a", "DeviceAlreadyExists"],
            ["b", "PreconditionFailed"],
            ["x", "DeviceNotFound"],
            ["a", "PreconditionFailed"],
            ["no id", "ArgumentInvalid"],
        ])
    );
    assert_eq!(world.ask("GET /twins/a", "").await.body["tags"]["site"], 2);
    let counts = world.hub.counts().unwrap();
    assert_eq!((counts.devices, counts.disabled), (2, 0));
    let many = json!(vec![json!({"id": "z"}); 101]);
    assert_eq!(bulk(many).await.verdict(), (400, "ArgumentInvalid"));
    // An entry that cannot be decoded fails alone.
    let reply = bulk(
        json!([{"id": "z", "importMode": "destroy"}, 5, {"id": "y", "importMode": "create"}, {"id": 1}]),
    )
    .await;
    assert_eq!(reply.status, 400);
    let errors: Vec<_> = reply.body["errors"].as_array().unwrap().iter().map(|e| &e["deviceId"]).collect();
    assert_eq!(json!(errors), json!(["z", "", ""]));
    assert_eq!(world.ask("GET /devices/y", "").await.status, 200);
}

#[tokio::test]
async fn the_keys_of_many_devices_are_regenerated() {
    let world = World::new();
    for id in ["a", "b"] {
        world.device(id).await;
    }
    let thumbprint = "0".repeat(64);
    let certificate = json!({"deviceId": "c", "authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": thumbprint}}});
    world.ask("PUT /devices/c", &certificate.to_string()).await;
    let mut connected = crate::device::Device::connect(&world, "a").await;
    let keys = async |id: &str| {
        world.ask(&format!("GET /devices/{id}"), "").await.body["authentication"]["symmetricKey"].clone()
    };
    let ask = async |body: Value| world.ask("POST /devices/keys/regenerate", &body.to_string()).await;
    let old = keys("a").await;
    let devices = json!([{"id": "a"}, {"id": "c"}, {"id": "nobody"}, {"id": "b"}]);
    let reply = ask(json!({"policyKey": "primaryKey", "devices": devices})).await;
    assert_eq!((reply.status.as_u16(), &reply.body["policyKey"]), (200, &json!("primaryKey")));
    let rotated = reply.body["rotatedKeys"].as_array().unwrap();
    assert_eq!((&rotated[0]["id"], &rotated[1]["id"], rotated.len()), (&json!("a"), &json!("b"), 2));
    let new = keys("a").await;
    assert_eq!(
        (&rotated[0]["primaryKey"], &rotated[0]["secondaryKey"]),
        (&new["primaryKey"], &old["secondaryKey"])
    );
    assert_ne!(new["primaryKey"], old["primaryKey"]);
    let errors: Vec<_> =
        reply.body["errors"].as_array().unwrap().iter().map(|e| (&e["id"], &e["errorCode"])).collect();
    assert_eq!(json!(errors), json!([["c", "ArgumentInvalid"], ["nobody", "DeviceNotFound"]]));
    assert!(connected.is_closed().await, "it came in by the old key");
    ask(json!({"policyKey": "both", "devices": [{"id": "a"}]})).await;
    let newest = keys("a").await;
    assert!(newest["primaryKey"] != new["primaryKey"] && newest["secondaryKey"] != old["secondaryKey"]);
    let module = json!({"policyKey": "secondaryKey", "devices": [{"id": "a", "moduleId": "m"}]});
    assert_eq!(ask(module).await.verdict(), (400, "ArgumentInvalid"));
    // A device may have the ID `keys`.
    world.device("keys").await;
    assert_eq!(world.ask("GET /devices/keys", "").await.status, 200);
}

#[tokio::test]
async fn projections_return_the_selected_members() {
    let world = World::new();
    world.device("a").await;
    world.ask("PATCH /twins/a", r#"{"tags":{"site":{"hall":1}}}"#).await;
    let query =
        json!({"query": "SELECT deviceId, tags.site.hall AS hall, properties.desired.none FROM devices"});
    let reply = world.ask("POST /devices/query", &query.to_string()).await;
    assert_eq!(reply.body, json!([{"deviceId": "a", "hall": 1}]));
    assert_eq!(reply.header("x-ms-item-type"), Some("Raw"));
}

#[tokio::test]
async fn devices_that_could_not_connect_are_refused() {
    let world = World::new();
    let put = async |body: Value| {
        let path = format!("PUT /devices/{}", body["deviceId"].as_str().unwrap());
        world.ask(&path, &body.to_string()).await
    };
    let edge = put(json!({"deviceId": "edge", "capabilities": {"iotEdge": true}})).await;
    let scope = edge.body["deviceScope"].clone();
    let plain = put(json!({"deviceId": "plain"})).await;
    assert_eq!((edge.status, plain.status), (200.try_into().unwrap(), 200.try_into().unwrap()));
    assert_eq!(put(json!({"deviceId": "child", "deviceScope": scope})).await.status, 200);
    let below = json!({"deviceId": "edge-2", "capabilities": {"iotEdge": true}, "parentScopes": [scope]});
    assert_eq!(put(below).await.status, 200);
    let generation = plain.body["generationId"].as_str().unwrap();
    for none in [
        "parent",
        "ms-azure-iot-edge://nobody-1",
        &format!("ms-azure-iot-edge://plain-{generation}"),
        "ms-azure-iot-edge://edge-1",
    ] {
        let child = put(json!({"deviceId": "x", "deviceScope": none})).await;
        assert_eq!(child.verdict(), (400, "ArgumentInvalid"), "{none}");
        let edge =
            put(json!({"deviceId": "x", "capabilities": {"iotEdge": true}, "parentScopes": [none]})).await;
        assert_eq!(edge.verdict(), (400, "ArgumentInvalid"), "{none}");
    }
    let by_authority =
        put(json!({"deviceId": "x", "authentication": {"type": "certificateAuthority"}})).await;
    assert_eq!(by_authority.verdict(), (400, "ArgumentInvalid"));
    // A child whose parent was deleted can still be changed.
    world.ask_with("DELETE /devices/edge", "", &[("if-match", "*")]).await;
    let disabled = json!({"deviceId": "child", "deviceScope": scope, "status": "disabled"}).to_string();
    assert_eq!(world.ask_with("PUT /devices/child", &disabled, &[("if-match", "*")]).await.status, 200);
}

#[tokio::test]
async fn queries_page_through_twins() {
    let world = World::new();
    let devices: Vec<_> =
        (0..7).map(|n| json!({"id": format!("d{n}"), "tags": {"odd": n % 2 == 1}})).collect();
    world.ask("POST /devices", &json!(devices).to_string()).await;
    let mut found = Vec::new();
    let mut continuation = String::new();
    for page in 0.. {
        let headers = [("x-ms-max-item-count", "3"), ("x-ms-continuation", continuation.as_str())];
        let reply =
            world.ask_with("POST /devices/query", r#"{"query":"SELECT * FROM devices"}"#, &headers).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-ms-item-type")), (200, Some("Twin")));
        found.extend(reply.body.as_array().unwrap().iter().map(|twin| twin["deviceId"].clone()));
        match reply.header("x-ms-continuation") {
            Some(next) => continuation = next.to_owned(),
            None => {
                assert_eq!(page, 2);
                break;
            }
        }
    }
    assert_eq!(json!(found), json!(["d0", "d1", "d2", "d3", "d4", "d5", "d6"]));
    for (query, expected) in [
        ("SELECT COUNT() AS n FROM devices", json!([{"n": 7}])),
        ("SELECT COUNT() AS n FROM devices WHERE tags.odd = true", json!([{"n": 3}])),
    ] {
        let reply = world.ask("POST /devices/query", &json!({"query": query}).to_string()).await;
        assert_eq!((reply.header("x-ms-item-type"), &reply.body), (Some("Raw"), &expected), "{query}");
    }
    let by_id =
        world.ask("POST /devices/query", r#"{"query":"SELECT * FROM devices WHERE deviceId = 'd3'"}"#).await;
    assert_eq!(by_id.body.as_array().unwrap().len(), 1);
    for (condition, expected) in [
        ("deviceId = 'd3' AND tags.odd = false", 0),
        ("deviceId = 'd3' AND deviceId = 'd4'", 0),
        ("deviceId = 'no id'", 0),
        ("deviceId = 'd9'", 0),
        ("deviceId IN ['d3', 'd4']", 2),
    ] {
        let query = json!({"query": format!("SELECT * FROM devices WHERE {condition}")}).to_string();
        let reply = world.ask_with("POST /devices/query", &query, &[("x-ms-max-item-count", "5")]).await;
        assert_eq!(reply.body.as_array().map(Vec::len), Some(expected), "{condition}");
        assert_eq!(reply.header("x-ms-continuation"), None, "{condition}");
    }
    for (body, headers) in [
        (r#"{"query":"DROP TABLE devices"}"#, vec![]),
        (r#"{"question":1}"#, vec![]),
        (r#"{"query":"SELECT * FROM devices"}"#, vec![("x-ms-continuation", "%%%")]),
    ] {
        let reply = world.ask_with("POST /devices/query", body, &headers).await;
        assert_eq!(reply.verdict(), (400, "ArgumentInvalid"), "{body}");
    }
}

#[tokio::test]
async fn twins_change_by_etag() {
    let world = World::new();
    world.device("d").await;
    let patch =
        r#"{"tags":{"a":1},"properties":{"desired":{"x":{"y":1}},"reported":{"z":1}},"deviceId":"other"}"#;
    let patched = world.ask_with("PATCH /twins/d", patch, &[("if-match", "\"AAAAAAAAAAE=\"")]).await;
    assert_eq!(patched.verdict(), (200, "-"), "{}", patched.body);
    assert_eq!(patched.body["etag"], "AAAAAAAAAAI=");
    assert_eq!(patched.body["properties"]["desired"]["$version"], 2);
    assert_eq!(patched.body["properties"]["desired"]["$metadata"]["x"]["y"]["$lastUpdatedVersion"], 2);
    assert_eq!(patched.body["properties"]["reported"].get("z"), None);
    let stale = world.ask_with("PATCH /twins/d", patch, &[("if-match", "AAAAAAAAAAE=")]).await;
    assert_eq!(stale.verdict(), (412, "PreconditionFailed"));
    let no_text = world.ask_with("PATCH /twins/d", patch, &[("if-match", "\"é\"")]).await;
    assert_eq!(no_text.verdict(), (412, "PreconditionFailed"), "an etag of nothing is not an absent one");
    let whole = patched.body.to_string();
    let replaced = world.ask_with("PUT /twins/d", &whole, &[("if-match", "*")]).await;
    assert_eq!(replaced.body["properties"]["desired"]["x"], json!({"y": 1}));
    assert_eq!(replaced.body["properties"]["desired"]["$version"], 3);
    // Editors on Windows write a byte order mark.
    let emptied = world.ask("PUT /twins/d", "\u{FEFF}{}").await.body;
    assert_eq!((emptied.get("tags"), emptied["properties"]["desired"].get("x")), (None, None));
    world.ask("PATCH /twins/d", r#"{"tags":{"a":1}}"#).await;
    let last_removed = world.ask("PATCH /twins/d", r#"{"tags":{"a":null}}"#).await.body;
    assert_eq!(last_removed.get("tags"), None, "as the hosted hub leaves them out");
}

#[tokio::test]
async fn everything_is_kept_over_a_restart() {
    let world = World::new();
    world.device("d").await;
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"x":1}}}"#).await;
    let (device, twin) =
        (world.ask("GET /devices/d", "").await.body, world.ask("GET /twins/d", "").await.body);
    let world = world.reopened().await;
    assert_eq!(world.ask("GET /devices/d", "").await.body, device);
    assert_eq!(world.ask("GET /twins/d", "").await.body, twin);
}
