//! A server that sends scripted replies in order, and records the requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use codec::mqtt::{
    ConnAck, ConnectReturnCode, Packet, Publish, QoS, SubAck, SubscribeReturn, decode, encode,
};
use fleet::{Device, Endpoint, Trust};
use model::{HostName, IdScope, RegistrationId, SymmetricKey};
use net::tls::{Identity, server_config};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub const ACCEPT: MqttReplies = MqttReplies {
    connect: ConnectReturnCode::Accepted,
    subscribe: SubscribeReturn::Granted(QoS::AtLeastOnce),
};

/// A reply to a register request or a poll.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub body: String,
}

/// The replies of an MQTT server to CONNECT and SUBSCRIBE.
#[derive(Clone, Copy)]
pub struct MqttReplies {
    pub connect: ConnectReturnCode,
    pub subscribe: SubscribeReturn,
}

/// A running server, with a port each for HTTPS and MQTT. After the last scripted reply, it closes the connection at
/// the next request.
pub struct Server {
    pub endpoint: Endpoint,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<String>>,
}

impl Script {
    fn record(&self, line: String) {
        self.requests.lock().unwrap().push(line);
    }

    fn next(&self) -> Option<Answer> {
        self.answers.lock().unwrap().pop_front()
    }
}

impl Server {
    pub async fn start(answers: impl IntoIterator<Item = Answer>, mqtt: MqttReplies) -> Server {
        let (ca_pem, identity) = certificates();
        let acceptor = TlsAcceptor::from(server_config(vec![identity]).unwrap());
        let script =
            Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), ..Script::default() });
        let (https, mqtts) = (listen().await, listen().await);
        let endpoint = Endpoint {
            host: HostName::parse("127.0.0.1").unwrap(),
            https_port: https.local_addr().unwrap().port(),
            mqtts_port: mqtts.local_addr().unwrap().port(),
            amqps_port: 0,
            id_scope: IdScope::parse("0ne00000001").unwrap(),
            trust: Trust::from_pem(ca_pem.as_bytes()).unwrap(),
        };
        let (http_acceptor, http_script) = (acceptor.clone(), Arc::clone(&script));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = https.accept().await.unwrap();
                let (acceptor, script) = (http_acceptor.clone(), Arc::clone(&http_script));
                tokio::spawn(async move { serve_http(acceptor, tcp, &script).await });
            }
        });
        let mqtt_script = Arc::clone(&script);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = mqtts.accept().await.unwrap();
                let (acceptor, script) = (acceptor.clone(), Arc::clone(&mqtt_script));
                tokio::spawn(async move { serve_mqtt(acceptor, tcp, &script, mqtt).await });
            }
        });
        Server { endpoint, script }
    }

    /// Returns the requests received so far, and a line `connect` for each TLS connection.
    pub fn requests(&self) -> Vec<String> {
        self.script.requests.lock().unwrap().clone()
    }
}

pub fn assigned(hub: &str) -> Answer {
    let state = format!(
        r#"{{"registrationId":"reg-1","assignedHub":"{hub}","deviceId":"reg-1","status":"assigned","substatus":"initialAssignment"}}"#
    );
    let body = format!(r#"{{"operationId":"op-1","status":"assigned","registrationState":{state}}}"#);
    Answer { status: 202, retry_after: Some(3), body }
}

pub fn answer(status: u16, retry_after: Option<u64>, body: &str) -> Answer {
    Answer { status, retry_after, body: body.to_owned() }
}

pub fn device(registration_id: &str) -> Device {
    let key = SymmetricKey::from_bytes(&[7; 32]).unwrap();
    Device::with_key(RegistrationId::parse(registration_id).unwrap(), key)
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn serve_http(acceptor: TlsAcceptor, tcp: TcpStream, script: &Script) -> Option<()> {
    let mut stream = acceptor.accept(tcp).await.ok()?;
    script.record("connect".to_owned());
    let mut inbound = BytesMut::new();
    loop {
        let (head, body) = read_request(&mut stream, &mut inbound).await?;
        let line = head.lines().next()?.trim_end_matches(" HTTP/1.1");
        let signed = if head.to_ascii_lowercase().contains("\r\nauthorization: sharedaccesssignature ") {
            " signed"
        } else {
            ""
        };
        script.record(format!("{line}{signed} {body}").trim_end().to_owned());
        let answer = script.next()?;
        let retry_after =
            answer.retry_after.map(|secs| format!("retry-after: {secs}\r\n")).unwrap_or_default();
        let reply = format!(
            "HTTP/1.1 {} -\r\n{retry_after}content-length: {}\r\n\r\n{}",
            answer.status,
            answer.body.len(),
            answer.body
        );
        stream.write_all(reply.as_bytes()).await.ok()?;
    }
}

async fn read_request(stream: &mut TlsStream<TcpStream>, inbound: &mut BytesMut) -> Option<(String, String)> {
    loop {
        if let Some(end) = inbound.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(inbound[..end].to_vec()).unwrap();
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ").map(|length| length.parse().unwrap()))
                .unwrap_or(0);
            if inbound.len() >= end + 4 + length {
                let _ = inbound.split_to(end + 4);
                let body = inbound.split_to(length);
                return Some((head, String::from_utf8(body.to_vec()).unwrap()));
            }
        }
        if stream.read_buf(inbound).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve_mqtt(acceptor: TlsAcceptor, tcp: TcpStream, script: &Script, mqtt: MqttReplies) -> Option<()> {
    let mut stream = acceptor.accept(tcp).await.ok()?;
    script.record("connect".to_owned());
    let mut inbound = BytesMut::new();
    loop {
        while let Some(packet) = decode(&mut inbound, 100_000).unwrap() {
            let mut outbound = BytesMut::new();
            for reply in mqtt_replies(packet, script, mqtt)? {
                encode(&reply, &mut outbound).unwrap();
            }
            stream.write_all(&outbound).await.ok()?;
        }
        if stream.read_buf(&mut inbound).await.ok()? == 0 {
            return None;
        }
    }
}

fn mqtt_replies(packet: Packet, script: &Script, mqtt: MqttReplies) -> Option<Vec<Packet>> {
    Some(match packet {
        Packet::Connect(connect) => {
            let signed = if connect.password.is_some() { " signed" } else { "" };
            script.record(format!("CONNECT {} {}{signed}", connect.client_id, connect.username.unwrap()));
            vec![Packet::ConnAck(ConnAck { session_present: false, code: mqtt.connect })]
        }
        Packet::Subscribe(subscribe) => {
            script.record(format!("SUBSCRIBE {}", subscribe.filters[0].0));
            vec![Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes: vec![mqtt.subscribe] })]
        }
        Packet::Publish(publish) => {
            let body = String::from_utf8(publish.payload.to_vec()).unwrap();
            script.record(format!("{} {body}", publish.topic).trim_end().to_owned());
            let answer = script.next()?;
            let rid = publish.topic.split_once("$rid=").unwrap().1.split('&').next().unwrap();
            let retry_after =
                answer.retry_after.map(|secs| format!("&retry-after={secs}")).unwrap_or_default();
            let topic =
                |rid: &str| format!("$dps/registrations/res/{}/?$rid={rid}{retry_after}", answer.status);
            vec![
                Packet::PubAck(publish.packet_id.unwrap()),
                // A reply to another request, which the client must ignore.
                message(topic("other"), "{}", QoS::AtMostOnce),
                message(topic(rid), &answer.body, QoS::AtLeastOnce),
            ]
        }
        Packet::Disconnect => {
            script.record("DISCONNECT".to_owned());
            Vec::new()
        }
        _ => Vec::new(),
    })
}

fn message(topic: String, body: &str, qos: QoS) -> Packet {
    let packet_id = (qos != QoS::AtMostOnce).then_some(9);
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        payload: body.to_owned().into(),
    })
}

/// Creates a CA certificate, and a server certificate for 127.0.0.1.
fn certificates() -> (String, Identity) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    (ca_pem, Identity::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap())
}
