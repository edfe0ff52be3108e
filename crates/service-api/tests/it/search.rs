//! Searches among registrations and enrollments.

use model::{Assignment, Failure, FailureReason, KeySlot, KeyUse, LastAttestation, Registration, Status};
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

/// Reads all pages, which examine two registrations each.
async fn found(world: &World, search: &str) -> Vec<String> {
    let (mut found, mut continuation) = (Vec::new(), String::new());
    loop {
        let request = world.get(&format!("/registrations?{search}")).header("x-ms-max-item-count", "2");
        let reply = request.header("x-ms-continuation", &continuation).send().await;
        let next = reply.header("x-ms-continuation").map(str::to_owned);
        let ids = reply.ok().as_array().unwrap().clone();
        found.extend(ids.iter().map(|one| one["registrationId"].as_str().unwrap().to_owned()));
        match next {
            Some(next) => continuation = next,
            None => return found,
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
    for (search, expected) in [
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
        ("updatedSince=2000-01-01T00:00:00Z&updatedUntil=2001-01-01T00:00:00Z", &[]),
        ("updatedSince=2000-01-01T00:00:00Z&prefix=o", &["other"]),
    ] {
        assert_eq!(found(&world, search).await, expected, "{search}");
    }
    for search in
        ["prefix=", "prefix=a%20b", "hub=a b", "group=%20", "errorCode=x", "key=third", "updatedSince=now"]
    {
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
