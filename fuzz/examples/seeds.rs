//! Writes the seeds that cannot be typed, packets and certificates, into `corpus/`:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`. The others are text, kept by hand.

#[path = "seeds/amqp.rs"]
mod amqp;
#[path = "seeds/hub_amqp.rs"]
mod hub_amqp;

use std::{fs, path::Path};

use bytes::{Bytes, BytesMut};
use codec::mqtt::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, SubAck, Subscribe, SubscribeReturn,
    Unsubscribe, Will, encode,
};
use model::Timestamp;
use muster_fuzz::{
    certificates::{DEVICE, framed},
    hub,
    service::{SCOPE, device_token},
    tls::CLIENT_KEY_DER,
};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, IsCa, Issuer,
    KeyPair, NameConstraints, SanType,
};
use testkit::ca::{Authority, Form, KeyKind, Profile};

fn main() {
    amqp::write();
    packets();
    device_clients();
    hub_clients();
    hub_amqp::write();
    certificates();
    tls_clients();
    websockets();
}

fn packets() {
    let will = Will {
        topic: "last/words".into(),
        payload: Bytes::from("gone"),
        qos: QoS::AtLeastOnce,
        retain: true,
    };
    let ack = |code| Packet::ConnAck(ConnAck { session_present: false, code });
    let codes = vec![SubscribeReturn::Granted(QoS::AtMostOnce), SubscribeReturn::Failure];
    let filters = vec![("a/+/#".to_owned(), QoS::ExactlyOnce), ("$dps/#".to_owned(), QoS::AtMostOnce)];
    let streams = [
        ("connect", vec![connect("dev-1", "user", Some("password"))]),
        ("will", vec![Packet::Connect(Connect { will: Some(will), ..bare("dev-1") })]),
        ("acks", vec![ack(ConnectReturnCode::Accepted), ack(ConnectReturnCode::NotAuthorized)]),
        ("publish", vec![publish("a/b", None, "zero"), publish("a/c", Some(7), "one"), Packet::PubAck(7)]),
        ("subscribe", vec![Packet::Subscribe(Subscribe { packet_id: 1, filters })]),
        ("suback", vec![Packet::SubAck(SubAck { packet_id: 1, codes }), Packet::UnsubAck(2)]),
        ("unsubscribe", vec![unsubscribe("a/+/#"), Packet::PingReq, Packet::PingResp]),
        ("qos2", vec![Packet::PubRec(1), Packet::PubRel(1), Packet::PubComp(1), Packet::Disconnect]),
    ];
    for (name, stream) in streams {
        put("mqtt_packets", name, &bytes(&stream));
    }
    put("mqtt_packets", "mqtt5", b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0");
}

fn device_clients() {
    let agents = [
        ("python", "api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0"),
        ("node", "api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1"),
        (
            "java",
            "api-version=2021-06-01&ClientVersion=com.microsoft.azure.sdk.iot.dps.dps-device-client/2.1.3",
        ),
        ("newest", "api-version=2026-11-01&ClientVersion=x"),
    ];
    let responses = subscribe("$dps/registrations/res/#");
    for (name, agent) in agents {
        let hello = connect(
            "dev-1",
            &format!("{SCOPE}/registrations/dev-1/{agent}"),
            Some(&device_token(SCOPE, "dev-1")),
        );
        let register =
            publish("$dps/registrations/PUT/iotdps-register/?$rid=1", Some(2), "{\"payload\":{\"a\":1}}");
        let poll = publish(
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550",
            None,
            " ",
        );
        let life = [
            hello,
            responses.clone(),
            register,
            poll,
            Packet::PubAck(1),
            Packet::PingReq,
            Packet::Disconnect,
        ];
        put("device_mqtt", name, &bytes(&life));
    }
    let name = format!("{SCOPE}/registrations/dev-1/api-version=2019-03-31");
    put("device_mqtt", "no_password", &bytes(&[connect("dev-1", &name, None)]));
    put("device_mqtt", "other_id", &bytes(&[connect("dev-2", &name, Some("x"))]));
    put("device_mqtt", "bad_token", &bytes(&[connect("dev-1", &name, Some("x")), responses]));
}

fn hub_clients() {
    let user = format!("{}/dev-1/?api-version=2021-04-12&DeviceClientType=x", hub::HOST);
    let hello = connect("dev-1", &user, Some(&hub::device_token()));
    let filters = [
        "$iothub/twin/res/#",
        "$iothub/twin/PATCH/properties/desired/#",
        "$iothub/methods/POST/#",
        "devices/dev-1/messages/devicebound/#",
    ];
    let mut life = vec![hello.clone()];
    life.extend(filters.map(subscribe));
    let twin = [
        publish("$iothub/twin/GET/?$rid=1", None, ""),
        publish("$iothub/twin/PATCH/properties/reported/?$rid=2", Some(3), "{\"a\":{\"b\":1},\"c\":null}"),
    ];
    let messages = [
        publish("devices/dev-1/messages/events/$.ct=application%2Fjson&a=b", Some(4), "{\"t\":20.5}"),
        publish("$iothub/methods/res/200/?$rid=1", None, "{}"),
        Packet::PubAck(1),
        unsubscribe("$iothub/methods/POST/#"),
        Packet::PingReq,
    ];
    put("hub_mqtt", "twin", &bytes(&[&life[..], &twin].concat()));
    put("hub_mqtt", "messages", &bytes(&[&life[..], &messages].concat()));
    put("hub_mqtt", "foreign_filter", &bytes(&[hello, subscribe("devices/dev-2/messages/devicebound/#")]));
}

fn certificates() {
    let profiles = [
        ("p256", Profile::ca("root")),
        ("p384", Profile { key: KeyKind::P384, ..Profile::ca("root") }),
        ("ed25519", Profile { key: KeyKind::Ed25519, ..Profile::ca("root") }),
        ("rsa", Profile { key: KeyKind::Rsa2048, ..Profile::ca("root") }),
        ("bare", Profile { form: Form::Bare, ..Profile::ca("root") }),
        ("version_1", Profile { form: Form::Version1, ..Profile::ca("root") }),
        ("expired", Profile::ca("root").expired()),
    ];
    for (name, profile) in profiles {
        let root = Authority::self_signed(&profile);
        put("certificate", name, root.identity().der());
        put("certificate", &format!("{name}.pem"), root.identity().pem().as_bytes());
        let leaf = root.device(DEVICE);
        put("certificate_chain", name, &framed(&[leaf.der().to_vec(), root.identity().der().to_vec()]));
    }
    let root = Authority::root("root");
    let (first, other) = (root.intermediate("first"), root.intermediate("other"));
    let second = first.intermediate("second");
    let (leaf, der) = (second.device(DEVICE), |authority: &Authority| authority.identity().der().to_vec());
    let day =
        second.issue(&Profile::device(DEVICE).one_day_from(Timestamp::from_unix_seconds(1_795_392_000)));
    let chains = [
        ("long", vec![leaf.der().to_vec(), der(&second), der(&first), der(&root)]),
        ("unordered", vec![leaf.der().to_vec(), der(&first), der(&second), der(&root), der(&root)]),
        ("from_intermediate", vec![day.der().to_vec(), der(&second)]),
        ("gap", vec![leaf.der().to_vec(), der(&first), der(&root)]),
        ("stranger", vec![leaf.der().to_vec(), der(&second), der(&other)]),
        ("other_name", vec![second.device("dev-2").der().to_vec(), der(&second)]),
    ];
    for (name, chain) in chains {
        put("certificate_chain", name, &framed(&chain));
    }
    constrained();
}

/// Chains below a CA that may issue for some names only: let in, refused, and of forms that are not supported.
fn constrained() {
    let directory = |organization: &str| {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, organization);
        GeneralSubtree::DirectoryName(name)
    };
    let dns = |name: &str| GeneralSubtree::DnsName(name.into());
    let range = || GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([192, 0, 2, 0], 24));
    let range_v6 = || GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0x20; 16], 32));
    let mail = || GeneralSubtree::Rfc822Name("plant.example".into());
    let cases = [
        ("permitted_dns", vec![dns("plant.example"), dns("a")], vec![]),
        ("excluded_dns", vec![], vec![dns("dev-1.plant.example")]),
        ("permitted_directory", vec![directory("Plant")], vec![]),
        ("excluded_directory", vec![], vec![directory("Plant")]),
        ("permitted_addresses", vec![range(), range_v6()], vec![]),
        ("excluded_addresses", vec![], vec![range(), range_v6()]),
        ("mixed", vec![dns("example"), range(), directory("Plant"), mail()], vec![dns("x.example"), mail()]),
    ];
    for (name, permitted_subtrees, excluded_subtrees) in cases {
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees };
        put("certificate_chain", &format!("constrained_{name}"), &framed(&below(constraints)));
    }
}

/// A leaf with a name of each form, and a CA with these constraints that issued it.
fn below(constraints: NameConstraints) -> Vec<Vec<u8>> {
    let (ca_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.name_constraints = Some(constraints);
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = DistinguishedName::new();
    leaf.distinguished_name.push(DnType::OrganizationName, "Plant");
    leaf.distinguished_name.push(DnType::CommonName, DEVICE);
    leaf.subject_alt_names = vec![
        SanType::DnsName("dev-1.plant.example".try_into().expect("a name")),
        SanType::IpAddress([192, 0, 2, 7].into()),
        SanType::Rfc822Name("dev-1@plant.example".try_into().expect("an address")),
    ];
    let root = ca.self_signed(&ca_key).expect("a certificate").der().to_vec();
    let issued = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate");
    vec![issued.der().to_vec(), root]
}

fn tls_clients() {
    let key = KeyPair::try_from(CLIENT_KEY_DER).expect("the client's key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, DEVICE);
    let own = params.self_signed(&key).expect("a certificate").der().to_vec();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let issued =
        params.signed_by(&key, &Issuer::from_params(&params, &ca_key)).expect("a certificate").der().to_vec();
    let stranger = Authority::root("stranger").device(DEVICE).der().to_vec();
    let chains = [("own", vec![own.clone()]), ("issued", vec![issued, own]), ("stranger", vec![stranger])];
    for (name, chain) in chains {
        for version in [2u8, 3] {
            put("tls_client", &format!("{name}_1.{version}"), &[&[version], &framed(&chain)[..]].concat());
        }
    }
}

fn websockets() {
    let frame =
        |first: u8, payload: &[u8]| [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
    let hello = bytes(&[connect("dev-1", "user", Some("password"))]);
    let frames = [
        ("binary", vec![frame(0x82, &hello)]),
        ("fragments", vec![frame(0x02, &hello[..9]), frame(0x89, b"ping"), frame(0x80, &hello[9..])]),
        ("close", vec![frame(0x82, &hello), frame(0x88, &[3, 0xe8])]),
        ("text", vec![frame(0x81, b"hello")]),
        ("long", vec![vec![0x82, 0xfe, 0x01, 0, 0, 0, 0, 0], vec![0; 256]]),
        ("huge", vec![vec![0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]),
        ("unmasked", vec![vec![0x82, 2, 0xc0, 0]]),
        ("pong", vec![frame(0x8a, b"unasked"), frame(0x82, &[0xc0, 0])]),
    ];
    for (name, frames) in frames {
        put("websocket", name, &[&[0], &frames.concat()[..]].concat());
    }
    put("websocket", "cut", &[&[7], &hello[..]].concat());
    put("websocket", "cut_into_large", &[&[0xff], &[1; 6000][..]].concat());
}

fn bytes(packets: &[Packet]) -> BytesMut {
    let mut bytes = BytesMut::new();
    packets.iter().for_each(|packet| encode(packet, &mut bytes).expect("a packet"));
    bytes
}

fn bare(client_id: &str) -> Connect {
    Connect {
        clean_session: true,
        keep_alive_secs: 60,
        client_id: client_id.to_owned(),
        will: None,
        username: None,
        password: None,
    }
}

fn connect(client_id: &str, username: &str, password: Option<&str>) -> Packet {
    let password = password.map(|password| Bytes::copy_from_slice(password.as_bytes()));
    Packet::Connect(Connect { username: Some(username.to_owned()), password, ..bare(client_id) })
}

fn publish(topic: &str, packet_id: Option<u16>, payload: &'static str) -> Packet {
    let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let payload = Bytes::from(payload);
    Packet::Publish(Publish { dup: false, qos, retain: false, topic: topic.to_owned(), packet_id, payload })
}

fn subscribe(filter: &str) -> Packet {
    Packet::Subscribe(Subscribe { packet_id: 1, filters: vec![(filter.to_owned(), QoS::AtLeastOnce)] })
}

fn unsubscribe(filter: &str) -> Packet {
    Packet::Unsubscribe(Unsubscribe { packet_id: 2, filters: vec![filter.to_owned()] })
}

fn put(target: &str, name: &str, content: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), content).expect("a seed");
}
