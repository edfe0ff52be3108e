//! Searches among registrations and enrollments.

use model::{Assignment, Failure, FailureReason, KeySlot, KeyUse, LastAttestation, Registration, Status};
use serde_json::json;
use testkit::sample;

use crate::world::{World, group, individual};

fn at_hub(id: &str, hub: &str) -> Registration {
    let at = Assignment { hub: sample::hub_name(hub), ..sample::assignment(id) };
    Registration { status: Status::Assigned(at), ..sample::registration(id) }
}

fn failed(id: &str, reason: FailureReason) -> Registration {
    let failure = Failure { reason, message: "no".to_owned() };
    Registration { status: Status::Failed { failure, current: None }, ..sample::registration(id) }
}

fn in_group(registration: Registration, group: &str) -> Registration {
    let enrollment = model::EnrollmentRef::Group(sample::group_id(group));
    let key = KeyUse::of(&sample::keys(10), KeySlot::Secondary);
    let attestation = LastAttestation::SymmetricKey(Some(key));
    Registration { enrollment, attestation, ..registration }
}

/// Reads all pages, of two records each.
async fn found(world: &World, path: &str, id: &str) -> Vec<String> {
    let (mut found, mut continuation) = (Vec::new(), String::new());
    loop {
        let request = world.get(path).header("x-ms-max-item-count", "2");
        let reply = request.header("x-ms-continuation", &continuation).send().await;
        let next = reply.header("x-ms-continuation").map(str::to_owned);
        let ids = reply.ok().as_array().unwrap().clone();
        found.extend(ids.iter().map(|one| one[id].as_str().unwrap().to_owned()));
        match next {
            Some(next) => continuation = next,
            None => return found,
        }
    }
}

/// Adds up all parts of a count.
async fn counted(world: &World, path: &str) -> usize {
    let (mut sum, mut continuation) = (0, String::new());
    loop {
        let reply = world.get(path).header("x-ms-continuation", &continuation).send().await;
        let next = reply.header("x-ms-continuation").map(str::to_owned);
        sum += usize::try_from(reply.ok()["count"].as_u64().unwrap()).unwrap();
        match next {
            Some(next) => continuation = next,
            None => return sum,
        }
    }
}

#[tokio::test]
async fn registrations_are_found_by_any_condition() {
    let world = World::new().await;
    for registration in [
        at_hub("line-1-a", "near.example"),
        in_group(at_hub("line-1-b", "far.example"), "line-1"),
        in_group(failed("line-1-c", FailureReason::HubFull), "line-1"),
        failed("line-10", FailureReason::NoHub),
        at_hub("Line-2-a", "near.example"),
        in_group(at_hub("other", "near.example"), "line-2"),
    ] {
        world.register("one", registration).await;
    }
    let searches = [
        ("", &["line-1-a", "line-1-b", "line-1-c", "line-10", "Line-2-a", "other"][..]),
        ("prefix=LINE-1", &["line-1-a", "line-1-b", "line-1-c", "line-10"]),
        ("prefix=line-1-", &["line-1-a", "line-1-b", "line-1-c"]),
        ("prefix=line-3", &[]),
        ("hub=near.example", &["line-1-a", "Line-2-a", "other"]),
        ("hub=NEAR.example&prefix=line-", &["line-1-a", "Line-2-a"]),
        ("group=LINE-1", &["line-1-b", "line-1-c"]),
        ("group=line-1&status=failed", &["line-1-c"]),
        ("status=failed", &["line-1-c", "line-10"]),
        ("errorCode=403002", &["line-1-c"]),
        ("errorCode=400208&status=failed", &["line-10"]),
        ("key=secondary", &["line-1-b", "line-1-c", "other"]),
        ("substatus=initialAssignment", &["line-1-a", "line-1-b", "Line-2-a", "other"]),
        ("substatus=deviceDataReset", &[]),
        ("mechanism=SYMMETRICKEY&devicePrefix=LINE", &["line-1-a", "line-1-b", "Line-2-a"]),
        ("mechanism=tpm", &[]),
        ("createdUntil=2000-01-01T00:00:00Z", &[]),
        ("updatedSince=2000-01-01T00:00:00Z&updatedUntil=2001-01-01T00:00:00Z", &[]),
        ("updatedSince=2000-01-01T00:00:00Z&prefix=o", &["other"]),
    ];
    // By examining records, and then by the search table.
    for by_table in [false, true] {
        if by_table {
            world.fill_search_table("one").await;
        }
        for (search, expected) in searches {
            let path = format!("/registrations?{search}");
            assert_eq!(found(&world, &path, "registrationId").await, expected, "{search} {by_table}");
            let path = format!("/registrationCount?{search}");
            assert_eq!(counted(&world, &path).await, expected.len(), "{search} {by_table}");
        }
        let method = if by_table { "table; lag=0.0" } else { "scan" };
        for (search, expected) in
            [("hub=near.example", method), ("prefix=l", "index"), ("status=failed", "index")]
        {
            let reply = world.get(&format!("/registrations?{search}")).send().await;
            assert_eq!(reply.header("x-muster-search"), Some(expected), "{search}");
        }
    }
    for search in [
        "prefix=",
        "prefix=a%20b",
        "hub=a b",
        "group=%20",
        "errorCode=x",
        "key=third",
        "updatedSince=now",
        "substatus=assigned",
        "mechanism=none",
        "devicePrefix=a/",
        "createdUntil=1",
    ] {
        let search = search.replace(' ', "%20");
        world.get(&format!("/registrations?{search}")).send().await.refused(400_002);
    }
}

#[tokio::test]
async fn enrollments_are_found_by_prefix() {
    let world = World::new().await;
    for id in ["a-1", "B-1", "b-2", "c-1"] {
        world.put(&format!("/enrollments/{id}"), &individual(id)).send().await.ok();
        world.put(&format!("/enrollmentGroups/{id}"), &group(id)).send().await.ok();
    }
    for (path, name) in [("/enrollments", "registrationId"), ("/enrollmentGroups", "enrollmentGroupId")] {
        for verb in ["query", "export"] {
            let path = format!("{path}/{verb}?prefix=B-");
            let reply = world.request(http::Method::POST, &path).send().await.ok();
            let ids: Vec<_> =
                reply.as_array().unwrap().iter().map(|one| one[name].as_str().unwrap()).collect();
            assert_eq!(ids, ["B-1", "b-2"], "{path}");
        }
    }
}

#[tokio::test]
async fn enrollments_are_found_by_any_condition() {
    let world = World::new().await;
    for hub in ["near.example", "far.example"] {
        let key = "SharedAccessKeyName=owner;SharedAccessKey=AQEBAQEBAQEBAQEBAQEBAQ==";
        let link = json!({"connectionString": format!("HostName={hub};{key}")});
        world.put(&format!("/linkedHubs/{hub}"), &link).send().await.ok();
    }
    for (id, hubs, status, site) in [
        ("a-1", json!(["near.example"]), "enabled", "north"),
        ("A-2", json!(["far.example", "near.example"]), "disabled", "south"),
        ("b-1", json!([]), "enabled", "north"),
        ("b-2", json!(["far.example"]), "disabled", "south"),
    ] {
        let twin = json!({"tags": {"site": site, "floor": {"number": 4}}, "properties": {"desired": {}}});
        let settings = json!({
            "iotHubs": hubs, "allocationPolicy": "hashed", "provisioningStatus": status, "initialTwin": twin,
        });
        for (path, mut enrollment) in [("enrollments", individual(id)), ("enrollmentGroups", group(id))] {
            for (name, value) in settings.as_object().unwrap() {
                enrollment[name] = value.clone();
            }
            world.put(&format!("/{path}/{id}"), &enrollment).send().await.ok();
        }
    }
    let mut named = individual("c-1");
    named["deviceId"] = json!("Pump-7");
    let endorsement_key = sample::tpm_identity(7, 8).endorsement_key.to_base64();
    named["attestation"] = json!({"type": "tpm", "tpm": {"endorsementKey": endorsement_key}});
    world.put("/enrollments/c-1", &named).send().await.ok();
    for (search, of_both, only_individual) in [
        ("", &["a-1", "A-2", "b-1", "b-2"][..], &["c-1"][..]),
        ("prefix=A-", &["a-1", "A-2"], &[]),
        ("hub=NEAR.example", &["a-1", "A-2"], &[]),
        ("hub=far.example&status=disabled&prefix=b", &["b-2"], &[]),
        ("status=enabled", &["a-1", "b-1"], &["c-1"]),
        ("tag=site=north", &["a-1", "b-1"], &[]),
        ("tag=site%3Dsouth&prefix=b", &["b-2"], &[]),
        ("tag=floor.number=4", &["a-1", "A-2", "b-1", "b-2"], &[]),
        ("tag=floor=4", &[], &[]),
        ("mechanism=symmetricKey", &["a-1", "A-2", "b-1", "b-2"], &[]),
        ("mechanism=tpm", &[], &["c-1"]),
        ("devicePrefix=pump", &[], &["c-1"]),
        ("createdUntil=2000-01-01T00:00:00Z", &[], &[]),
        ("updatedSince=2000-01-01T00:00:00Z&createdSince=2000-01-01T00:00:00Z&prefix=b-1", &["b-1"], &[]),
    ] {
        let groups = found(&world, &format!("/enrollmentGroups?{search}"), "enrollmentGroupId").await;
        assert_eq!(groups, of_both, "{search}");
        let individuals = found(&world, &format!("/enrollments?{search}"), "registrationId").await;
        assert_eq!(individuals, [of_both, only_individual].concat(), "{search}");
    }
    for search in ["tag=site", "tag==1", "status=assigned", "hub=a b", "prefix=", "mechanism=none"] {
        for path in ["/enrollments", "/enrollmentGroups"] {
            let path = format!("{path}?{}", search.replace(' ', "%20"));
            world.get(&path).send().await.refused(400_002);
        }
    }
}

/// A search that would return what does not meet all its conditions is refused: at every such route, an unknown or repeated one.
#[tokio::test]
async fn unknown_and_repeated_conditions_are_refused() {
    let world = World::new().await;
    let document: serde_json::Value = serde_json::from_str(include_str!("../golden/openapi.json")).unwrap();
    let mut searches = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        let conditions = parameters.filter(|it| it["in"] == "query" && it["name"] != "api-version");
        let names: Vec<_> = conditions.filter_map(|condition| condition["name"].as_str()).collect();
        let Some(name) = names.first() else { continue };
        searches += 1;
        let refused = async |query: String| {
            let call = world.get(&format!("{path}?{query}"));
            call.signed(&world.token("one", crate::world::OWNER)).send().await.refused(400_002)
        };
        assert!(refused("nope=1".to_owned()).await.contains("unknown query parameter"), "{path}");
        let upper = name.to_uppercase();
        assert!(refused(format!("{name}=a&{upper}=a")).await.contains("is repeated"), "{path}");
    }
    assert!(searches >= 6, "{searches}");
}
