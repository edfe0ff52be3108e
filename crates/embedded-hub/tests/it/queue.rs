//! One queue of messages per device, over all transports: locks, settlement, redelivery.

use codec::mqtt::Packet;
use wire::topics::DeviceFilter;

use crate::{
    device::Device,
    world::{HOST, Reply, World},
};

const QUEUE: &str = "/devices/d/messages/devicebound";

/// Receives the next message over HTTPS.
async fn ask(world: &World) -> Reply {
    world.ask_as_device(&format!("GET {QUEUE}?api-version=2021-04-12"), "").await
}

/// Checks the message of a reply, and returns its lock.
#[track_caller]
fn lock_of(reply: &Reply, body: &str) -> String {
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (200, Some(body)));
    reply.header("etag").unwrap().trim_matches('"').to_owned()
}

async fn settle(world: &World, request: &str) -> (u16, String) {
    let reply = world.ask_as_device(request, "").await;
    let (status, name) = reply.verdict();
    (status, name.to_owned())
}

async fn waiting(world: &World) -> u64 {
    world.ask("GET /devices/d", "").await.body["cloudToDeviceMessageCount"].as_u64().unwrap()
}

fn done() -> (u16, String) {
    (204, "-".to_owned())
}

fn lost() -> (u16, String) {
    (412, "DeviceMessageLockLost".to_owned())
}

#[tokio::test]
async fn a_message_is_received_and_settled() {
    let world = World::new();
    world.device("d").await;
    assert_eq!(ask(&world).await.status, 204, "nothing waits");
    let headers = [
        ("iothub-to", QUEUE),
        ("iothub-messageid", "m-1"),
        ("iothub-correlationid", "c-1"),
        ("iothub-contenttype", "text/plain"),
        ("iothub-contentencoding", "utf-8"),
        ("iothub-userid", "u"),
        ("iothub-app-colour", "light blue"),
        ("iothub-app-$.mid", "not the ID"),
    ];
    assert_eq!(world.ask_with("POST /messages/devicebound", "one", &headers).await.status, 201);
    world.send_to_device("two").await;
    world.send_to_device("three").await;
    let one = ask(&world).await;
    for (name, value) in &headers[1..] {
        assert_eq!(one.header(name), Some(*value), "{name}");
    }
    assert_eq!(one.header("iothub-to"), Some("/devices/d/messages/deviceBound"));
    assert_eq!(one.header("iothub-deliverycount"), Some("0"));
    let at = |seconds| model::Timestamp::from_unix_seconds(world.now() + seconds).to_string();
    assert_eq!(one.header("iothub-enqueuedtime"), Some(at(0).as_str()));
    assert_eq!(one.header("iothub-expiry"), Some(at(3600).as_str()));
    let (one, two) = (lock_of(&one, "one"), lock_of(&ask(&world).await, "two"));
    let three = lock_of(&ask(&world).await, "three");
    assert_eq!(ask(&world).await.status, 204, "what is out is not given out again");
    assert_eq!(waiting(&world).await, 3, "nothing is gone before it is settled");
    assert_eq!(settle(&world, &format!("DELETE {QUEUE}/{one}?api-version=2021-04-12")).await, done());
    assert_eq!(settle(&world, &format!("DELETE {QUEUE}/{two}?api-version=2021-04-12&reject")).await, done());
    assert_eq!(settle(&world, &format!("POST {QUEUE}/{three}/abandon")).await, done());
    let again = ask(&world).await;
    assert_eq!(again.header("iothub-deliverycount"), Some("1"));
    let lock = lock_of(&again, "three");
    assert_ne!(lock, three, "a lock is of one delivery");
    for stale in [&one, &two, &three, "nonsense"] {
        assert_eq!(settle(&world, &format!("DELETE {QUEUE}/{stale}")).await, lost());
        assert_eq!(settle(&world, &format!("POST {QUEUE}/{stale}/abandon")).await, lost());
    }
    assert_eq!(settle(&world, &format!("DELETE {QUEUE}/{lock}")).await, done());
    assert_eq!((waiting(&world).await, ask(&world).await.status.as_u16()), (0, 204));
}

#[tokio::test]
async fn a_lock_belongs_to_one_device() {
    let world = World::new();
    world.device("d").await;
    world.device("e").await;
    world.send_to_device("one").await;
    let lock = lock_of(&ask(&world).await, "one");
    let token = world.token(&format!("{HOST}/devices/e"), 7, None);
    let stolen = format!("DELETE /devices/e/messages/devicebound/{lock}");
    let reply = world.send(&stolen, Vec::new(), &[("authorization", &token)]).await;
    assert_eq!(reply.verdict(), (412, "DeviceMessageLockLost"));
    assert_eq!(waiting(&world).await, 1);
}

#[tokio::test]
async fn a_lock_expires_and_a_message_is_dropped_after_ten_returns() {
    let world = World::new();
    world.device("d").await;
    world.send_to_device("one").await;
    let shutdown = net::CancellationToken::new();
    let (hub, token) = (world.hub.clone(), shutdown.clone());
    let maintenance = tokio::spawn(async move { hub.run_maintenance(token).await });
    let lock = lock_of(&ask(&world).await, "one");
    world.pass(59);
    assert_eq!(ask(&world).await.status, 204, "its lock still holds");
    world.pass(1);
    assert_eq!(settle(&world, &format!("DELETE {QUEUE}/{lock}")).await, lost());
    let again = ask_until_given(&world).await;
    assert_eq!(again.header("iothub-deliverycount"), Some("1"));
    let mut lock = lock_of(&again, "one");
    for count in 2..10 {
        assert_eq!(settle(&world, &format!("POST {QUEUE}/{lock}/abandon")).await, done());
        let again = ask(&world).await;
        assert_eq!(again.header("iothub-deliverycount"), Some(count.to_string().as_str()));
        lock = lock_of(&again, "one");
    }
    assert_eq!(settle(&world, &format!("POST {QUEUE}/{lock}/abandon")).await, done());
    assert_eq!((waiting(&world).await, ask(&world).await.status.as_u16()), (0, 204));
    shutdown.cancel();
    maintenance.await.unwrap();
}

#[tokio::test]
async fn unsettled_messages_are_queued_again_after_a_restart() {
    let world = World::new();
    world.device("d").await;
    world.send_to_device("one").await;
    let lock = lock_of(&ask(&world).await, "one");
    assert_eq!(settle(&world, &format!("POST {QUEUE}/{lock}/abandon")).await, done());
    let lock = lock_of(&ask(&world).await, "one");
    let world = world.reopened().await;
    assert_eq!(settle(&world, &format!("DELETE {QUEUE}/{lock}")).await, lost());
    let again = ask(&world).await;
    assert_eq!(again.header("iothub-deliverycount"), Some("1"), "returns are counted on disk");
    lock_of(&again, "one");
}

#[tokio::test]
async fn a_message_is_delivered_over_one_transport_at_a_time() {
    let world = World::new();
    world.device("d").await;
    world.send_to_device("one").await;
    let lock = lock_of(&ask(&world).await, "one");
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    assert!(device.is_silent().await, "it is out over HTTPS");
    assert_eq!(settle(&world, &format!("POST {QUEUE}/{lock}/abandon")).await, done());
    let Some(Packet::Publish(publish)) = device.next().await else { panic!("no message") };
    assert_eq!(publish.payload, "one", "an abandoned message is delivered again");
    assert_eq!(ask(&world).await.status, 204, "it is out over MQTT");
    device.send(Packet::Disconnect).await;
    assert!(device.is_closed().await);
    let again = ask_until_given(&world).await;
    assert_eq!(again.header("iothub-deliverycount"), Some("2"));
    lock_of(&again, "one");
}

#[tokio::test]
async fn a_new_connection_receives_what_the_older_one_did_not_acknowledge() {
    let world = World::new();
    world.device("d").await;
    world.send_to_device("one").await;
    world.send_to_device("two").await;
    let mut first = Device::connect(&world, "d").await;
    first.subscribe(&[DeviceFilter::Devicebound]).await;
    let Some(Packet::Publish(unacknowledged)) = first.next().await else { panic!("no message") };
    let mut second = Device::connect(&world, "d").await;
    // Too late: the new connection holds the message.
    first.send(Packet::PubAck(unacknowledged.packet_id.unwrap())).await;
    second.subscribe(&[DeviceFilter::Devicebound]).await;
    assert_eq!(second.next_publish().await.payload, "one");
    assert_eq!(second.next_publish().await.payload, "two");
    assert!(second.is_silent().await);
    assert_eq!(waiting(&world).await, 0);
}

/// Retries until the hub has noticed that a connection has ended.
async fn ask_until_given(world: &World) -> Reply {
    for _ in 0..200 {
        let reply = ask(world).await;
        if reply.status == 200 {
            return reply;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the message does not come back")
}
