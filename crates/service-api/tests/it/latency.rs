//! `GET /latency`, where no latency is known.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn latencies_include_those_of_an_address() {
    let world = World::new().await;
    assert_eq!(world.get("/latency").send().await.ok(), json!({"probes": [], "table": []}));
    let seen = world.get("/LATENCY/?address=10.20.3.4").send().await.ok();
    let open = "hub-1.example";
    let expected = json!({"address": "10.20.3.4", "hubs": {open: null}, "nearest": [open]});
    assert_eq!(seen["seenFrom"], expected, "the other hub takes no new devices");
    world.get("/latency?address=fd00::1").send().await.ok();
    for text in ["here", "10.0.0.0/8", ""] {
        world.get(&format!("/latency?address={text}")).send().await.refused(400_002);
    }
}
