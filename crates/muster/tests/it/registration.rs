//! `muster registration` against an emulator.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::program::{Ended, World};

async fn registration(world: &World, command: &[&str]) -> Ended {
    world.muster(&[&["registration"], command].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_listed_shown_explained_and_deleted() {
    let world = World::start().await;
    let ended = registration(&world, &["list", "--status", "assigned"]).await;
    assert_eq!((ended.code, ended.stdout.trim()), (0, "no registration is assigned"), "{ended:?}");
    let registered = world.muster(&["device", "register", "--registration-id", "sample-1"], &[]).await;
    let hub = registered.json()["assignedHub"].as_str().unwrap().to_owned();

    let ended = registration(&world, &["list", "--status", "assigned"]).await;
    assert!(ended.stdout.contains("sample-1") && ended.stdout.contains(&hub), "{ended:?}");
    let ended = registration(&world, &["show", "sample-1"]).await;
    assert!(ended.stdout.contains("initialAssignment") && ended.stdout.contains(&hub), "{ended:?}");
    let ended = registration(&world, &["explain", "sample-1"]).await;
    assert!(ended.code == 0 && ended.stdout.contains(&hub), "{ended:?}");
    let decisions = registration(&world, &["explain", "sample-1", "--json"]).await.json()["decisions"].take();
    assert_eq!((&decisions[0]["outcome"], &decisions[0]["iotHub"]), (&json!("assigned"), &json!(hub)));

    let ended = registration(&world, &["cancel", "sample-1"]).await;
    assert!(ended.code == 1 && ended.stderr.contains("it is assigned"), "{ended:?}");
    let ended = registration(&world, &["delete", "sample-1"]).await;
    assert!(ended.code == 0 && ended.stdout.contains("sample-1 is deleted"), "{ended:?}");
    for command in ["show", "explain", "cancel", "delete"] {
        let ended = registration(&world, &[command, "sample-1"]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{command} {ended:?}");
        assert!(ended.stderr.contains("registration"), "{command} {ended:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_over_all_pages_and_stops_at_its_limit() {
    let world = World::start().await;
    let group = json!({"enrollmentGroupId": "keys", "attestation": {"type": "symmetricKey"}});
    let group = world.service().create_group(&group).await.unwrap();
    let key = group["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let fleet = ["--devices", "60", "--enrollment-group-key", key, "--prefix", "member-"];
    let ended = world.muster(&["fleet"], &fleet).await;
    assert_eq!(ended.code, 0, "{ended:?}");

    let list = ["list", "--status", "assigned", "--json"];
    let ended = registration(&world, &list).await;
    let mut ids: Vec<String> =
        ended.json().as_array().unwrap().iter().map(|it| it["registrationId"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), ended.stderr.as_str()), (60, ""), "{ended:?}");
    for limit in [1, 50, 55, 60] {
        let ended = registration(&world, &[&list[..], &["--limit", &limit.to_string()]].concat()).await;
        assert_eq!(ended.json().as_array().unwrap().len(), limit, "{ended:?}");
        assert_eq!(ended.stderr.contains("there are more"), limit < 60, "{limit} {ended:?}");
    }
    // Through an individual enrollment, and disabled: without a filter all are listed.
    let alone = json!({"registrationId": "alone", "provisioningStatus": "disabled", "attestation": {"type": "symmetricKey"}});
    let alone = world.service().create_enrollment(&alone).await.unwrap();
    let key = alone["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let ended = world.muster(&["device", "register", "--registration-id", "alone", "--key", key], &[]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let all = registration(&world, &["list"]).await;
    let lines = |word: &str| all.stdout.lines().filter(|line| line.contains(word)).count();
    assert_eq!((lines("member-"), lines("alone"), lines("disabled")), (60, 1, 1), "{all:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_hangs_is_seen_and_called_off_and_its_clean_up_given_up() {
    let world = World::start().await;
    let key = testkit::sample::key(5).to_base64();
    let link = format!("HostName={DOWN}:1;SharedAccessKeyName=iothubowner;SharedAccessKey={key}");
    let ended = world.muster(&["hub", "link", "--no-check", &link], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for id in ["device-1", "device-2", "device-3"] {
        hangs_and_is_called_off(&world, id).await;
    }

    let ended = registration(&world, &["list", "--status", "failed"]).await;
    assert!(ended.stdout.contains("409205"), "{ended:?}");
    until(&world, &["cleanups"], &[DOWN, "device-1", "its assignment was called off"]).await;
    let left = format!("device-1 from {DOWN}");
    until(&world, &["show", "device-1"], &["409205", "to be removed", &left]).await;
    let shown = registration(&world, &["show", "device-1", "--json"]).await.json();
    assert_eq!((&shown["cleanups"][0]["cause"], shown.get("decisions")), (&json!("cancelled"), None));
    let forget = ["cleanups", "--forget", &format!("{DOWN}/device-1")];
    let ended = registration(&world, &forget).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = registration(&world, &forget).await;
    assert!(ended.code == 3 && ended.stderr.contains("404210"), "{ended:?}");
    for (hub, count) in [("other.example", "0 devices"), (DOWN, "2 devices"), (DOWN, "0 devices")] {
        let ended = registration(&world, &["cleanups", "--forget", hub]).await;
        assert!(ended.code == 0 && ended.stdout.starts_with(count), "{ended:?}");
    }
    let ended = registration(&world, &["cleanups"]).await;
    assert_eq!(ended.last_line(), "nothing is to be removed from hubs", "{ended:?}");
    world.stop().await;
}

/// A device that is sent to the hub that is down, until an operator calls that off.
async fn hangs_and_is_called_off(world: &World, id: &str) {
    let enrollment =
        json!({"registrationId": id, "attestation": {"type": "symmetricKey"}, "iotHubs": [DOWN]});
    let enrollment = world.service().create_enrollment(&enrollment).await.unwrap();
    let key = enrollment["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let register = ["device", "register", "--registration-id", id, "--key", key];
    let operator = async {
        let row = until(world, &["list"], &[id, "assigning", DOWN, "Z"]).await;
        let ended = registration(world, &["explain", id]).await;
        assert!(ended.code == 0 && ended.stdout.contains(DOWN), "{row} {ended:?}");
        until(world, &["show", id], &["goes to", DOWN, "waits because", "next try"]).await;
        let ended = registration(world, &["cancel", id]).await;
        let told = format!("the assignment of {id} is called off; it has no hub");
        assert_eq!(ended.last_line(), told, "{ended:?}");
    };
    let (registered, ()) = tokio::join!(world.muster(&register, &[]), operator);
    assert!(registered.code == 1 && registered.stderr.contains("409205"), "{registered:?}");
}

/// Asks until all of these are shown, and returns what is.
async fn until(world: &World, command: &[&str], shown: &[&str]) -> String {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let ended = registration(world, command).await;
        if shown.iter().all(|text| ended.stdout.contains(text)) {
            return ended.stdout;
        }
        assert!(Instant::now() < patience, "not in time: {shown:?} in {ended:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A hub that nothing listens for.
const DOWN: &str = "127.0.0.2";
