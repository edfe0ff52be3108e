//! Linked hubs, and the defaults of allocation.

use http::Method;
use model::HubEndpoint;
use serde_json::{Value, json};
use testkit::sample;

use crate::world::{World, id_scope};

const FAR: &str = "/linkedHubs/far.example";

fn connection(key: &str) -> String {
    format!("HostName=far.example;SharedAccessKeyName=owner;SharedAccessKey={key}")
}

fn far(key: u8) -> Value {
    json!({
        "connectionString": connection(&sample::key(key).to_base64()),
        "location": "far away", "allocationWeight": 5, "applyAllocationPolicy": false,
    })
}

async fn key_of_far(world: &World) -> u8 {
    let instance = world.store.instance(&id_scope("one")).await.unwrap().unwrap();
    let HubEndpoint::Access(access) =
        instance.linked_hub(&sample::hub_name("far.example")).unwrap().endpoint.clone()
    else {
        panic!("it is embedded");
    };
    access.key.as_bytes()[0]
}

#[tokio::test]
async fn each_instance_has_a_webhook_key_of_its_own() {
    let world = World::new().await;
    let key = async |scope: &str| {
        let shown = world.request(Method::POST, "/webhookKey").of(scope).send().await.ok();
        assert_eq!(shown["idScope"], scope);
        shown["key"].as_str().unwrap().to_owned()
    };
    let (one, two) = (key("one").await, key("two").await);
    assert_ne!(one, two);
    assert_eq!((one.len(), key("one").await), (44, one), "32 bytes, the same each time");
    world.request(Method::GET, "/webhookKey").send().await.refused(405_000);
}

#[tokio::test]
async fn a_hub_is_linked_read_changed_and_unlinked() {
    let world = World::new().await;
    world.get(FAR).send().await.refused(404_208);
    let linked = world.put(FAR, &far(1)).send().await.ok();
    assert_eq!(linked["name"], "far.example");
    assert_eq!(linked["connectionString"], connection("****"));
    assert_eq!((&linked["location"], &linked["allocationWeight"]), (&json!("far away"), &json!(5)));
    assert_eq!((&linked["applyAllocationPolicy"], &linked["origin"]), (&json!(false), &json!("operator")));
    assert_eq!(linked["health"], json!({"circuit": "closed"}));
    assert_eq!(world.get("/LINKEDHUBS/FAR.example/").send().await.ok(), linked);
    let all = world.get("/linkedHubs").send().await.ok();
    let names: Vec<_> = all.as_array().unwrap().iter().map(|hub| hub["name"].clone()).collect();
    assert_eq!(names, ["hub-1.example", "hub-2.example", "far.example"]);
    assert_eq!((&all[0]["origin"], &all[0]["embedded"]), (&json!("configuration"), &json!(true)));

    // A reply that is sent back with another weight keeps the key.
    let mut changed = linked.clone();
    changed["allocationWeight"] = json!(6);
    let etag = linked["etag"].as_str().unwrap();
    let changed = world.put(FAR, &changed).if_match(etag).send().await.ok();
    assert_eq!((&changed["allocationWeight"], key_of_far(&world).await), (&json!(6), 1));
    world.put(FAR, &far(2)).if_match(etag).send().await.refused(412_000);
    world.put(FAR, &far(2)).send().await.refused(409_201);
    world.put(FAR, &far(2)).if_match("*").send().await.ok();
    assert_eq!(key_of_far(&world).await, 2, "rotated");

    world.delete(FAR).if_match(etag).send().await.refused(412_000);
    world.delete(FAR).send().await.deleted();
    world.delete(FAR).send().await.refused(404_208);
    world.put(FAR, &far(1)).if_match("*").send().await.refused(412_000);
}

#[tokio::test]
async fn refused_links_change_nothing_and_hide_the_key() {
    let world = World::new().await;
    let before = world.snapshot("one").await;
    let key = sample::key(1).to_base64();
    for (path, body, part) in [
        (FAR, json!({}), "connectionString is missing"),
        (FAR, json!({"connectionString": connection("****")}), "none is stored"),
        (FAR, json!({"connectionString": "HostName=far.example"}), "SharedAccessKeyName"),
        ("/linkedHubs/near.example", far(1), "the path says near.example"),
        ("/linkedHubs/far.example?check=maybe", far(1), "true or false"),
        ("/linkedHubs/a%20b", far(1), "the path"),
        (FAR, json!({"connectionString": connection(&key), "allocationWeight": 0}), "allocationWeight"),
    ] {
        let message = world.put(path, &body).send().await.refused(400_002);
        assert!(message.contains(part), "{message}");
        assert!(!message.contains(&key), "{message}");
    }
    assert_eq!(world.snapshot("one").await, before);
}

#[tokio::test]
async fn the_service_checks_a_hub_before_it_links_it() {
    let world = World::new().await;
    let hub = world.hubs.hub(&sample::hub_name("far.example")).unwrap();
    let down = || provisioning::ports::HubError::Unavailable("far.example: no reply".into());
    hub.lack(Err(down()));
    let message = world.put(FAR, &far(1)).send().await.refused(400_002);
    assert_eq!(message, "the hub cannot be asked: far.example: no reply");
    world.get(FAR).send().await.refused(404_208);
    hub.lack(Ok(vec![provisioning::ports::HubRight::RegistryWrite]));
    let message = world.put(FAR, &far(1)).send().await.refused(400_002);
    assert_eq!(message, "far.example: the key is not accepted for RegistryWrite");
    world.put("/linkedHubs/far.example?check=false", &far(1)).send().await.ok();

    let check = world.request(Method::POST, "/linkedHubs/far.example/check").send().await.ok();
    assert_eq!(check, json!({"name": "far.example", "lacking": ["RegistryWrite"]}));
    hub.lack(Ok(vec![]));
    let check = world.request(Method::POST, "/linkedHubs/far.example/check").send().await.ok();
    assert_eq!(check["lacking"], json!([]));
    world.request(Method::POST, "/linkedHubs/near.example/check").send().await.refused(404_208);
}

#[tokio::test]
async fn allocation_defaults_are_read_and_changed() {
    let world = World::new().await;
    let path = "/allocationPolicy";
    let before = world.get(path).send().await.ok();
    assert_eq!(before["allocationPolicy"], "hashed");
    let changed = world.put(path, &json!({"allocationPolicy": "GeoLatency"})).send().await.ok();
    assert_eq!(changed, json!({"allocationPolicy": "geoLatency", "failover": before["failover"]}));
    for failover in [false, true] {
        let changed = world.put(path, &json!({ "failover": failover })).send().await.ok();
        assert_eq!(changed, json!({"allocationPolicy": "geoLatency", "failover": failover}));
    }
    let changed = world.get(path).send().await.ok();
    for body in [json!({}), json!({"allocationPolicy": "custom"}), json!({"failover": "yes"})] {
        world.put(path, &body).send().await.refused(400_002);
    }
    assert_eq!(world.get(path).send().await.ok(), changed);
}

#[tokio::test]
async fn concurrent_links_of_different_hubs_are_all_kept() {
    let world = World::new().await;
    let names = ["far.example", "near.example", "new.example"];
    let links = names.map(|name| {
        let mut body = far(1);
        body["connectionString"] =
            json!(connection(&sample::key(1).to_base64()).replace("far.example", name));
        world.put(&format!("/linkedHubs/{name}"), &body).send()
    });
    for reply in futures_util::future::join_all(links).await {
        reply.ok();
    }
    assert_eq!(world.get("/linkedHubs").send().await.ok().as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn changes_of_links_are_counted_and_reads_are_not() {
    let world = World::new().await;
    world.put(FAR, &far(1)).send().await.ok();
    world.get(FAR).send().await.ok();
    world.get("/linkedHubs").send().await.ok();
    world.request(Method::POST, "/linkedHubs/far.example/check").send().await.ok();
    world.put("/allocationPolicy", &json!({"allocationPolicy": "static"})).send().await.ok();
    world.delete(FAR).send().await.deleted();
    let usage = world.get("/usage").send().await.ok();
    assert_eq!((&usage["total"], &usage["usage"][0]["kind"]), (&json!(3), &json!("linkedHubChange")));
}
