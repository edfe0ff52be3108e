//! Nothing of one instance shows through another: every call, over both transports, from both sides.

use provisioning::ports::Change;
use testkit::sample;

use crate::{
    http::{VERSION, poll_path, register_path},
    mqtt_client::{POLL, REGISTER, connect},
    world::{Device, IN_TIME, OTHER_SCOPE, SCOPE, World, with_keys},
};

/// A device of the same name in each instance, with its own keys.
async fn twins(world: &World) -> [Device; 2] {
    world.enroll(with_keys("reg-1", 10)).await;
    world.write(OTHER_SCOPE, Change::PutIndividual(Box::new(with_keys("reg-1", 50)))).await;
    [Device::new(SCOPE, "reg-1", sample::key(10)), Device::new(OTHER_SCOPE, "reg-1", sample::key(50))]
}

#[tokio::test]
async fn over_https() {
    let world = World::new(IN_TIME).await;
    let [one, two] = twins(&world).await;
    let mut http = world.http(None).await;
    let ids = [http.register(&one).await.operation_id(), http.register(&two).await.operation_id()];
    for (here, there, id_there) in [(&one, &two, &ids[1]), (&two, &one, &ids[0])] {
        let resigned = there.with_key(here.key.clone()).token();
        for token in [here.token(), resigned] {
            for (method, path) in [
                ("PUT", register_path(there, VERSION)),
                ("GET", poll_path(there, id_there)),
                ("POST", format!("{}?api-version={VERSION}", there.path())),
            ] {
                http.call(method, path).token(token.clone()).send().await.check_error(method, 401_002);
            }
        }
        http.poll(here, id_there).await.check_error("an operation of the other instance", 404_203);
    }
    assert_eq!(http.poll(&one, &ids[0]).await.status, 200);
}

#[tokio::test]
async fn over_mqtt() {
    let world = World::new(IN_TIME).await;
    let [one, two] = twins(&world).await;
    let mut ids = Vec::new();
    for device in [&one, &two] {
        let mut mqtt = world.mqtt(None).await;
        mqtt.enter_as(device).await;
        let response = mqtt.request(format!("{REGISTER}1"), "").await;
        ids.push(response.json["operationId"].as_str().unwrap().to_owned());
    }
    for (here, there, id_there) in [(&one, &two, &ids[1]), (&two, &one, &ids[0])] {
        let resigned = there.with_key(here.key.clone()).token();
        for token in [here.token(), resigned] {
            let mut mqtt = world.mqtt(None).await;
            let greeting = codec::mqtt::Connect { password: Some(token.into()), ..connect(there) };
            mqtt.enter(greeting).await;
            for topic in [format!("{REGISTER}1"), format!("{POLL}1&operationId={id_there}")] {
                let response = mqtt.request(topic, "").await;
                assert_eq!(
                    (response.topic.as_str(), &response.json["errorCode"]),
                    ("401/?$rid=1", &401_002.into())
                );
            }
        }
        let mut mqtt = world.mqtt(None).await;
        mqtt.enter_as(here).await;
        let response = mqtt.request(format!("{POLL}1&operationId={id_there}"), "").await;
        assert_eq!((response.topic.as_str(), &response.json["errorCode"]), ("404/?$rid=1", &404_203.into()));
    }
}
