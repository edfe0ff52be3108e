//! The status look-up, which no SDK uses and tools do.

use testkit::sample;

use crate::{
    http::{Http, Reply, VERSION},
    world::{Device, IN_TIME, World},
};

async fn look_up(http: &mut Http, device: &Device, body: &str) -> Reply {
    let target = format!("{}?api-version={VERSION}", device.path());
    http.call("POST", target).token(device.token()).body(body.to_owned()).send().await
}

#[tokio::test]
async fn the_registration_is_told_without_the_operation() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    look_up(&mut http, &device, "{}").await.check_error("not registered yet", 404_201);
    let registered = http.register(&device).await.assigned();
    for body in ["", "{}", r#"{"registrationId":"reg-1"}"#] {
        let reply = look_up(&mut http, &device, body).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, registered.clone()), "{body}");
    }
    assert_eq!(world.counted().await, 1, "looking up is free");
}

#[tokio::test]
async fn what_it_does_not_take() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut http = world.http(None).await;
    http.register(&device).await;
    look_up(&mut http, &device, r#"{"csr":"AAAA"}"#).await.check_error("csr", 400_002);
    look_up(&mut http, &device, "{").await.check_error("no JSON", 400_003);
    look_up(&mut http, &device.with_key(sample::key(99)), "{}").await.check_error("another key", 401_002);
}
