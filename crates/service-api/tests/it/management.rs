//! The management API: instances as resources.

use std::sync::Arc;

use http::{Method, StatusCode};
use model::{Job, LeaseToken};
use provisioning::{
    ports::{LeaseName, RunnerId, SearchState},
    resource::Portion,
};
use serde_json::{Value, json};
use service_api::OperatorAccess;
use testkit::sample;
use wire::sas::encode_component;

use crate::{
    isolation::{certificate, fill, filled},
    world::{MANAGEMENT, OWNER, TestReply, World, id_scope, management_routes, resource},
};

/// Returns the path and the body of a call of a route of the management API; one that names a resource names this one.
pub fn call(pattern: &str, name: &str) -> (String, Value) {
    let rest = pattern.split("{provisioningServiceName}").nth(1);
    let Some(rest) = rest else {
        let path = pattern.replace("{subscriptionId}", "s").replace("{resourceGroupName}", "g");
        return (path, json!({"name": "new-name"}));
    };
    let body = match rest {
        "" => body(),
        "/keys/{keyName}" => json!({"rights": "EnrollmentRead"}),
        "/keys/{keyName}/regenerate" => json!({"keys": "both"}),
        "/certificates/{certificateName}" | "/certificates/{certificateName}/verify" => certificate(),
        _ => json!({}),
    };
    let rest = rest
        .replace("{keyName}", "ServiceConfig")
        .replace("{certificateName}", "ca-1")
        .replace("{operationId}", &format!("create-{name}"))
        .replace("{groupId}", "g")
        .replace("{privateEndpointConnectionName}", "c");
    (resource(name, &rest), body)
}

/// Returns a body that creates an instance, or changes one.
pub fn body() -> Value {
    json!({
        "location": "north",
        "sku": {"name": "S1", "capacity": 2},
        "tags": {"team": "line"},
        "properties": {"allocationPolicy": "static", "muster": {"failover": true}},
    })
}

fn scope_of(instance: &Value) -> String {
    instance["properties"]["idScope"].as_str().unwrap().to_owned()
}

async fn create(world: &World, name: &str) -> TestReply {
    world.manage(Method::PUT, &resource(name, ""), &body()).send().await
}

/// Executes the job until nothing is left.
async fn delete_records(world: &World, scope: &str) {
    let fence = lease(world).await;
    while world.provisioning.delete_portion(&id_scope(scope), fence).await.unwrap() == Portion::More {}
}

async fn lease(world: &World) -> LeaseToken {
    let (name, holder) = (LeaseName::Job(Job::Deletions), RunnerId::parse(&"a".repeat(32)).unwrap());
    world.store.claim(&name, &holder, std::time::Duration::from_secs(60)).await.unwrap().unwrap().token
}

#[tokio::test]
async fn an_instance_is_created_served_changed_and_deleted() {
    let world = World::new().await;
    let created = create(&world, "Plant-1").await;
    assert_eq!(created.status, 201, "{created:?}");
    let operation = created.header("azure-asyncoperation").unwrap().to_owned();
    assert!(operation.starts_with("https://management.example/subscriptions/s/"), "{operation}");
    let instance: Value = serde_json::from_str(&created.text).unwrap();
    let scope = scope_of(&instance);
    assert!(scope.len() == 11 && scope.starts_with("0ne"), "{scope}");
    assert_eq!(instance["properties"]["serviceOperationsHostName"], "plant-1.example");
    assert_eq!(instance["id"], resource("Plant-1", ""));
    let path = operation.strip_prefix("https://management.example").unwrap();
    let path = path.split("&api-version").next().unwrap();
    let state = world.manage(Method::GET, path, &json!({})).send().await.ok();
    assert_eq!(state, json!({"status": "Succeeded"}));

    // It is served at once, with the keys that it was given.
    let keys = world.manage(Method::POST, &resource("PLANT-1", "/listkeys"), &json!({})).send().await.ok();
    let owner = &keys["value"][0];
    assert_eq!(owner["keyName"], OWNER);
    let key = model::SymmetricKey::parse(owner["primaryKey"].as_str().unwrap()).unwrap();
    let token = wire::sas::sign("plant-1.example", key.as_bytes(), 4_000_000_000, Some(OWNER));
    let served = || world.get("/linkedHubs").header("host", "plant-1.example").signed(&token);
    assert_eq!(served().send().await.ok(), json!([]));

    // What a change leaves out stays.
    let mut change = body();
    change["properties"] = json!({"muster": {"requireVerifiedCa": false}});
    let changed = world.manage(Method::PUT, &resource("plant-1", ""), &change).send().await.ok();
    assert_eq!(
        (scope_of(&changed), &changed["properties"]["allocationPolicy"]),
        (scope.clone(), &json!("Static"))
    );
    assert_eq!(changed["properties"]["muster"]["requireVerifiedCa"], false);
    let tags = json!({"tags": {"a": "b"}});
    let tagged = world.manage(Method::PATCH, &resource("plant-1", ""), &tags).send().await.ok();
    assert_eq!(tagged["tags"], tags["tags"]);
    let stale = world.manage(Method::PUT, &resource("plant-1", ""), &change).if_match("\"0\"").send().await;
    stale.refused(412_000);

    let deleted = world.manage(Method::DELETE, &resource("plant-1", ""), &json!({})).send().await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (202, ""), "{deleted:?}");
    served().send().await.refused(404_000);
    world.manage(Method::GET, &resource("plant-1", ""), &json!({})).send().await.refused(404_211);
    let path = resource("plant-1", &format!("/operationresults/delete-{scope}"));
    let state = || world.manage(Method::GET, &path, &json!({}));
    assert_eq!(state().send().await.ok()["status"], "InProgress");
    delete_records(&world, &scope).await;
    assert_eq!(state().send().await.ok()["status"], "Succeeded");
    let again = world.manage(Method::DELETE, &resource("plant-1", ""), &json!({})).send().await;
    again.deleted();

    // Another instance may have the name, but not the ID scope.
    let created = create(&world, "plant-1").await;
    assert_ne!(scope_of(&serde_json::from_str(&created.text).unwrap()), scope);
}

#[tokio::test]
async fn a_deletion_goes_on_where_a_crash_ended_it_and_leaves_nothing() {
    let world = filled().await;
    world.fill_search_table("one").await;
    world.fill_search_table("two").await;
    let before = world.snapshot("two").await;
    let preview = world.manage(Method::GET, &resource("one", "/deletion"), &json!({})).send().await.ok();
    let expected = json!({
        "enrollments": 1, "enrollmentGroups": 1, "registrations": 2, "cleanups": 1, "certificates": 1,
        "revocationLists": 0, "blockedCertificates": 1, "idScope": "one", "status": "NotStarted",
    });
    assert_eq!(preview, expected);
    let deleted = world.manage(Method::DELETE, &resource("one", ""), &json!({})).send().await;
    assert_eq!(deleted.status, 202, "{deleted:?}");

    // Called again, it is the same deletion, and what is left of it is seen.
    let again = world.manage(Method::DELETE, &resource("ONE", ""), &json!({})).send().await;
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.header("azure-asyncoperation"), deleted.header("azure-asyncoperation"));
    let left = || world.manage(Method::GET, &resource("one", "/deletion"), &json!({})).send();
    assert_eq!(
        (&left().await.ok()["status"], &left().await.ok()["registrations"]),
        (&json!("InProgress"), &json!(2))
    );
    let stranger =
        world.manage(Method::GET, &resource("one", "/deletion"), &json!({})).of("two").send().await;
    stranger.refused(404_211);

    // A portion, and then the job of another process.
    world.provisioning.delete_portion(&id_scope("one"), lease(&world).await).await.unwrap();
    world.get("/enrollments/dev-1").send().await.refused(404_000);
    let write = world.store.commit(&id_scope("one"), provisioning::ports::Commit::by(sample::by())).await;
    assert!(write.is_err(), "a request that began before writes nothing any more");
    delete_records(&world, "one").await;
    left().await.refused(404_211);
    let counts = world.store.counts(&id_scope("one"), 9).await.unwrap();
    assert_eq!(counts, provisioning::ports::RecordCounts::default());
    let progress = world.provisioning.deletion_progress(&id_scope("one")).await.unwrap();
    assert_eq!(progress, provisioning::resource::DeletionProgress::default());
    assert_eq!(world.store.search_state(&id_scope("one")).await.unwrap(), SearchState::Absent);
    assert!(world.store.search_state(&id_scope("two")).await.unwrap().progress().is_some());
    assert_eq!(world.snapshot("two").await, before);

    // Once more later, for what was under way.
    world.clock.advance(std::time::Duration::from_secs(121));
    delete_records(&world, "one").await;
    let tombstone = world.store.snapshot().await.unwrap().deleted()[0].clone();
    assert!(tombstone.deletion.as_ref().unwrap().is_verified);
    assert!(tombstone.access_policies.is_empty() && tombstone.linked_hubs.is_empty());
    let revived = world.store.create_instance(crate::world::instance("one"), sample::by()).await;
    assert!(revived.is_err(), "ID scopes are not used again");
}

#[tokio::test]
async fn every_management_route_demands_its_right() {
    let world = World::new().await;
    for (method, pattern) in management_routes() {
        let (path, body) = call(&pattern, "one");
        let request = || world.request(method.clone(), &path).json(&body);
        request().without("authorization").send().await.refused(401_002);
        request().signed(&world.token("two", OWNER)).send().await.refused(401_002);
        for policy in crate::world::instance("one").access_policies {
            let name = policy.name.as_str();
            let reply = request().signed(&world.token("one", name)).send().await;
            let is_of_service = reply.status == 403;
            let needs_more = method != Method::GET && !pattern.contains("ertificates");
            let configures = [OWNER, "ServiceConfig"].contains(&name);
            let reads_cas =
                pattern.contains("ertificates") && method == Method::GET && name.starts_with("Enrollment");
            assert_eq!(is_of_service, needs_more || !(configures || reads_cas), "{name}: {reply:?}");
        }
    }
}

/// Both ways, at every host, with every kind of key.
#[tokio::test]
async fn no_key_of_an_instance_reaches_another_resource() {
    let world = filled().await;
    let before = world.snapshots().await;
    for (method, pattern) in management_routes().filter(|(_, it)| it.contains("{provisioningServiceName}")) {
        for (own, other) in [("one", "two"), ("two", "one")] {
            let (path, body) = call(&pattern, other);
            let request = || world.request(method.clone(), &path).json(&body);
            let reply = request().of(own).if_match("*").send().await;
            let is_refused = [403, 404].contains(&reply.status.as_u16());
            assert!(is_refused, "{reply:?}");
            assert!(!reply.text.contains("0ne") && !reply.text.contains("Key\""), "{reply:?}");
            for host in [MANAGEMENT, "two.example", "one.example"] {
                if host != format!("{own}.example") {
                    let token = world.token(own, OWNER);
                    request().header("host", host).signed(&token).send().await.refused(401_002);
                }
            }
        }
    }
    assert_eq!(world.snapshots().await, before);
}

#[tokio::test]
async fn every_management_route_of_one_resource_leaves_the_other_alone() {
    let world = World::new().await;
    fill(&world, "one").await;
    let before = world.snapshot("one").await;
    for (method, pattern) in management_routes() {
        let (path, body) = call(&pattern, "two");
        let reply = world.manage(method.clone(), &path, &body).if_match("*").send().await;
        let is_refused =
            pattern.contains("private") && !pattern.ends_with("s") || pattern.contains("{certificateName}");
        let expected: &[u16] = if is_refused { &[200, 204, 400, 404] } else { &[200, 202, 204] };
        assert!(expected.contains(&reply.status.as_u16()), "{reply:?}");
    }
    assert_eq!(world.snapshot("one").await, before);
}

#[tokio::test]
async fn a_path_decides_which_instance_is_changed() {
    let world = World::new().await;
    let path = resource("two", "/certificates/ca-9");
    let token = world.management_token("one.example");
    let request = world.put(&path, &certificate()).header("host", "one.example").signed(&token);
    let put = request.send().await.ok();
    assert_eq!(put["id"], path);
    world.get("/certificates/ca-9").send().await.refused(404_205);
    assert_eq!(world.get("/certificates/ca-9").of("two").send().await.status, 200);
    for other in [path.replace("/s/", "/other/"), path.replace("/g/", "/other/"), resource("three", "/skus")]
    {
        world.manage(Method::GET, &other, &json!({})).send().await.refused(404_211);
    }
}

#[tokio::test]
async fn keys_are_rotated_one_at_a_time_and_one_policy_stays() {
    let world = World::new().await;
    let keys = |rest: &str| resource("one", &format!("/keys{rest}"));
    let made =
        world.manage(Method::PUT, &keys("/line"), &json!({"rights": "EnrollmentRead"})).send().await.ok();
    let body = json!({"keys": "secondary"});
    let rotated = world.manage(Method::POST, &keys("/line/regenerate"), &body).send().await.ok();
    assert_eq!(rotated["primaryKey"], made["primaryKey"]);
    assert_ne!(rotated["secondaryKey"], made["secondaryKey"]);
    let read = world.manage(Method::POST, &keys("/LINE/listkeys"), &json!({})).send().await.ok();
    assert_eq!(read, rotated);
    let listed = world.manage(Method::POST, &resource("one", "/listkeys"), &json!({})).send().await.ok();
    for policy in listed["value"].as_array().unwrap() {
        let path = keys(&format!("/{}", policy["keyName"].as_str().unwrap()));
        let reply = world.manage(Method::DELETE, &path, &json!({})).send().await;
        assert!([204, 409].contains(&reply.status.as_u16()), "{reply:?}");
    }
    let left = world.manage(Method::POST, &resource("one", "/listkeys"), &json!({})).send().await.ok();
    assert_eq!(left["value"].as_array().unwrap().len(), 1);
    let log =
        world.get("/log?kind=instance").signed(&world.management_token("one.example")).send().await.ok();
    let operations: Vec<_> =
        log["entries"].as_array().unwrap().iter().map(|entry| entry["operation"].as_str().unwrap()).collect();
    for operation in ["accessPolicy.put", "accessPolicy.keys", "accessPolicy.delete"] {
        assert!(operations.contains(&operation), "{operations:?}");
    }
    let actor = &log["entries"][1]["actor"];
    assert_eq!((&actor["name"], &actor["plane"]), (&json!("root"), &json!("management")));
}

#[tokio::test]
async fn names_are_checked_and_taken_once() {
    let world = World::new().await;
    let check = "/subscriptions/s/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability";
    for (name, expected) in [("fresh", None), ("ONE", Some("AlreadyExists")), ("1", Some("Invalid"))] {
        let reply = world.manage(Method::POST, check, &json!({"name": name})).send().await.ok();
        assert_eq!(
            (&reply["nameAvailable"], reply["reason"].as_str()),
            (&json!(expected.is_none()), expected)
        );
    }
    let elsewhere = resource("one", "").replace("/g/", "/other/");
    let reply = world.manage(Method::PUT, &elsewhere, &body()).send().await;
    assert!(reply.refused(409_000).contains("has the name one"));
    let bad = world.manage(Method::PUT, &resource("new", ""), &json!({"properties": {}})).send().await;
    assert!(bad.refused(400_002).contains("sku: is missing"));
    let newer =
        world.manage(Method::GET, &resource("none", ""), &json!({})).version(Some("2025-02-01-preview"));
    let newer: Value = serde_json::from_str(&newer.send().await.text).unwrap();
    assert_eq!(newer["code"], 404_211);
}

/// No instance may have the host name of the management API, which would hide it.
#[tokio::test]
async fn the_host_name_of_the_management_api_is_reserved() {
    let world = World::new().await;
    let check = "/subscriptions/s/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability";
    let reply = world.manage(Method::POST, check, &json!({"name": "Management"})).send().await.ok();
    assert_eq!(reply["reason"], "AlreadyExists");
    create(&world, "management").await.refused(409_000);
    for name in ["one", "new"] {
        let mut with_host = body();
        with_host["properties"]["muster"] = json!({"serviceHosts": ["x.example", MANAGEMENT]});
        let put = world.manage(Method::PUT, &resource(name, ""), &with_host).send().await;
        assert!(put.refused(409_000).contains("host name of the management API"), "{put:?}");
    }
}

#[tokio::test]
async fn of_concurrent_creations_one_wins_and_none_fails_internally() {
    let world = World::new().await;
    let hosts = |host: &str| {
        let mut body = body();
        body["properties"]["muster"] = json!({"serviceHosts": [host]});
        body
    };
    let put = |name: &str, body: Value| {
        let path = resource(name, "");
        let world = &world;
        async move { world.manage(Method::PUT, &path, &body).send().await.status.as_u16() }
    };
    let (first, second) = tokio::join!(put("plant", body()), put("plant", body()));
    let mut outcomes = [first, second];
    outcomes.sort_unstable();
    assert!(
        [[200, 201], [201, 409]].contains(&outcomes),
        "the other one is a change or a conflict: {outcomes:?}"
    );
    let (first, second) = tokio::join!(put("a-1", hosts("h.example")), put("a-2", hosts("h.example")));
    let mut outcomes = [first, second];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [201, 409]);
}

#[tokio::test]
async fn a_creation_does_not_change_an_instance_that_is_there() {
    let world = World::new().await;
    let put = |name: &str, headers: &[(&'static str, &str)]| {
        let request = world.manage(Method::PUT, &resource(name, ""), &body());
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    let is_new = ("if-none-match", "*");
    let (first, second) = tokio::join!(put("plant", &[is_new]), put("plant", &[is_new]));
    let mut outcomes = [first.status.as_u16(), second.status.as_u16()];
    outcomes.sort_unstable();
    assert!([[201, 409], [201, 412]].contains(&outcomes), "{outcomes:?}");
    let before = world.snapshots().await;
    put("one", &[is_new]).await.refused(412_000);
    put("one", &[("if-none-match", "\"1\"")]).await.refused(400_002);
    put("one", &[is_new, ("if-match", "*")]).await.refused(400_002);
    assert_eq!(world.snapshots().await, before);
}

/// `(subscription, resource group, status)`.
#[tokio::test]
async fn addresses_of_operations_are_encoded_and_labels_are_checked() {
    let world = World::new().await;
    let long = "x".repeat(91);
    for (number, (subscription, group, status)) in [
        ("s", "Werk-S\u{fc}d_(1).a", 201),
        ("sub.1", "g", 201),
        ("s", "Werk S\u{fc}d", 400),
        ("s", "g.", 400),
        ("s", "a%b", 400),
        ("s", long.as_str(), 400),
        (long.as_str(), "g", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let [subscription, group] = [subscription, group].map(encode_component);
        let path = resource(&format!("plant-{number}"), "").replace("/s/", &format!("/{subscription}/"));
        let path = path.replace("/g/", &format!("/{group}/"));
        let put = world.manage(Method::PUT, &path, &body()).send().await;
        assert_eq!(put.status, status, "{put:?}");
        if status == 201 {
            let operation =
                put.header("location").unwrap().strip_prefix("https://management.example").unwrap();
            assert_eq!(put.header("azure-asyncoperation"), put.header("location"));
            let operation = operation.split("&api-version").next().unwrap();
            assert_eq!(
                world.manage(Method::GET, operation, &json!({})).send().await.ok()["status"],
                "Succeeded"
            );
        } else {
            assert!(put.refused(400_002).contains("1 to 90 letters"), "{put:?}");
        }
    }
}

/// The first commit of a deletion leaves nothing that a release without deletions could serve or change it by.
#[tokio::test]
async fn a_deletion_takes_hosts_keys_and_hubs_at_once() {
    let world = World::new().await;
    world.manage(Method::DELETE, &resource("one", ""), &json!({})).send().await;
    let deleted = world.store.snapshot().await.unwrap().deleted()[0].clone();
    assert!(deleted.service_hosts.is_empty() && deleted.access_policies.is_empty());
    assert!(deleted.linked_hubs.is_empty() && deleted.deletion.as_ref().unwrap().finished.is_none());
    assert_ne!(deleted.operation_key, crate::world::instance("one").operation_key);
    // Another instance may have its host name now.
    let mut heir = body();
    heir["properties"]["muster"] = json!({"serviceHosts": ["one.example"]});
    assert_eq!(world.manage(Method::PUT, &resource("heir", ""), &heir).send().await.status, 201);
}

/// Without a host name of its own, the management API is where no instance is: before the first one, and after the last.
#[tokio::test]
async fn the_management_api_without_a_host_name_cannot_lock_itself_out() {
    let world = World::managed_by(|management| management.host = None).await;
    let at = |method: Method, path: &str, host: &str| {
        let token = world.management_token(host);
        world.request(method, path).json(&body()).header("host", host).signed(&token)
    };
    for name in ["one", "two"] {
        let deleted = at(Method::DELETE, &resource(name, ""), "one.example").send().await;
        assert_eq!(deleted.status, 202, "{deleted:?}");
        let operation = deleted.header("azure-asyncoperation").unwrap();
        let path = operation.strip_prefix("https://one.example").unwrap().split('?').next().unwrap();
        assert_eq!(at(Method::GET, path, "one.example").send().await.ok()["status"], "InProgress");
    }
    assert_eq!(at(Method::PUT, &resource("new", ""), "any.example").send().await.status, 201);
    at(Method::GET, "/enrollments/dev-1", "any.example").send().await.refused(404_000);
    let elsewhere = at(Method::GET, &resource("new", ""), "any.example");
    elsewhere.signed(&world.management_token("other.example")).send().await.refused(401_002);
    let tenant = at(Method::GET, &resource("new", ""), "any.example");
    tenant.signed(&world.token("one", OWNER)).send().await.refused(401_002);
}

/// A reload replaces the management API and the provider of bearer tokens for the next request.
#[tokio::test]
async fn who_may_call_is_replaced_while_the_service_runs() {
    let world = World::new().await;
    let list = "/subscriptions/s/providers/Microsoft.Devices/provisioningServices";
    let by_key = || world.manage(Method::GET, list, &json!({})).send();
    let token = world.bearer(&world.claims("anna", &["all owner"]));
    let by_token = || world.manage(Method::GET, list, &json!({})).signed(&token).send();
    assert_eq!((by_key().await.status, by_token().await.status), (StatusCode::OK, StatusCode::OK));
    let before = world.access.load_full();
    let mut management = before.management.clone();
    management.policies[0].primary_key = sample::key(1);
    world.access.store(Arc::new(OperatorAccess { management, bearer: before.bearer.clone() }));
    by_key().await.refused(401_002);
    assert_eq!(by_token().await.status, StatusCode::OK);
    world.access.store(Arc::new(OperatorAccess { management: before.management.clone(), bearer: None }));
    assert_eq!(by_key().await.status, StatusCode::OK);
    by_token().await.refused(401_002);
}

#[tokio::test]
async fn what_the_file_manages_is_read_only() {
    let world = World::new().await;
    let managed = model::Instance { managed: model::ManagedBy::File, ..crate::world::instance("one") };
    world.store.put_instance(managed, sample::by()).await.unwrap();
    for (method, pattern) in management_routes().filter(|(method, _)| method != Method::GET) {
        let (path, body) = call(&pattern, "one");
        let reply = world.manage(method.clone(), &path, &body).send().await;
        let changes = ["{provisioningServiceName}", "/keys/{keyName}", "/regenerate"];
        if changes.iter().any(|end| pattern.ends_with(end)) {
            assert!(reply.refused(409_000).contains("managed by the configuration file"), "{reply:?}");
        }
    }
    let link = json!({"allocationPolicy": "static"});
    world.put("/allocationPolicy", &link).send().await.refused(409_000);
}
