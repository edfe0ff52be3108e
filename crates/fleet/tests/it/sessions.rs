//! Registrations over one connection.

use fleet::{Carrier, HttpsSession, MqttSession};

use crate::script::{ACCEPT, Server, assigned, device};

#[tokio::test]
async fn an_https_session_registers_many_devices_over_one_connection() {
    let server = Server::start([assigned("hub1.example"), assigned("hub2.example")], ACCEPT).await;
    let (one, other) = (device("reg-1"), device("Reg:2"));
    let mut session = HttpsSession::open(&server.endpoint, &one).await.unwrap();
    assert_eq!(session.register(&one, None).await.unwrap().hub.as_str(), "hub1.example");
    assert_eq!(session.register(&other, None).await.unwrap().hub.as_str(), "hub2.example");
    let requests = server.requests();
    assert_eq!(requests.iter().filter(|line| *line == "connect").count(), 1);
    assert!(requests[2].starts_with("PUT /0ne00000001/registrations/Reg:2/register?"), "{}", requests[2]);
}

#[tokio::test]
async fn an_mqtt_session_registers_repeatedly_over_one_connection() {
    let server = Server::start([assigned("hub1.example"), assigned("hub1.example")], ACCEPT).await;
    let mut session = MqttSession::open(&server.endpoint, &device("reg-1"), Carrier::Tls).await.unwrap();
    for _ in 0..2 {
        assert_eq!(session.register(None).await.unwrap().round_trips, 1);
    }
    session.close().await;
    let topics: Vec<String> =
        server.requests().into_iter().filter(|line| line.starts_with("$dps/")).collect();
    assert_eq!(topics.len(), 2);
    assert!(topics[0].contains("$rid=1 ") && topics[1].contains("$rid=2 "), "{topics:?}");
}
