//! What the sink of the audit trail receives.

use std::{future::Future, pin::pin, task, time::Duration};

use http::Method;
use serde_json::json;

use crate::world::World;

/// A client that hangs up at any moment leaves no committed change without an entry.
#[tokio::test]
async fn changes_of_clients_that_hang_up_are_recorded() {
    let world = World::new().await;
    let mut context = task::Context::from_waker(task::Waker::noop());
    let ids: Vec<String> = (0..24).map(|number| format!("device-{number}")).collect();
    for (polls, id) in ids.iter().enumerate() {
        let body = json!({"registrationId": id, "attestation": {"type": "symmetricKey"}});
        let mut call = pin!(world.put(&format!("/enrollments/{id}"), &body).send());
        for _ in 0..polls {
            if call.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut stored = Vec::new();
    for id in &ids {
        let path = format!("/enrollments/{id}");
        if world.get(&path).send().await.status == 200 {
            stored.push(format!("done provisioningserviceowner PUT {path}"));
        }
    }
    assert_eq!(stored.len(), ids.len() - 1, "all calls but the one that was never begun are finished");
    assert_eq!(world.calls.sorted(), sorted(stored));
}

/// Every outcome of a call that the caller had the right to make is recorded, and a refusal names the operator that was proven.
#[tokio::test]
async fn outcomes_have_the_operator_once_it_is_proven() {
    let world = World::new().await;
    let path = "/enrollments/device-1";
    let body = json!({"registrationId": "device-1", "attestation": {"type": "symmetricKey"}});
    world.put(path, &json!({"registrationId": "other"})).send().await;
    world.put(path, &body).send().await;
    world.put(path, &body).if_match("\"stale\"").send().await;
    world.put(path, &body).signed(&world.token("one", "EnrollmentRead")).send().await;
    world.put(path, &body).signed("nonsense").send().await;
    world.get(path).signed(&world.token("one", "DeviceConnect")).send().await;
    world.request(Method::PUT, "/nothing").send().await;
    world.delete("/enrollments/absent").send().await;
    let expected = [
        "done provisioningserviceowner PUT /enrollments/device-1",
        "400002 provisioningserviceowner PUT /enrollments/device-1",
        "404201 provisioningserviceowner DELETE /enrollments/absent",
        "412000 provisioningserviceowner PUT /enrollments/device-1",
        "403000 EnrollmentRead PUT /enrollments/device-1",
        "401002 - PUT /enrollments/device-1",
        "403000 DeviceConnect GET /enrollments/device-1",
    ];
    assert_eq!(world.calls.sorted(), sorted(expected.map(str::to_owned).into()));
}

fn sorted(mut calls: Vec<String>) -> Vec<String> {
    calls.sort();
    calls
}
