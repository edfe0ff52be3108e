//! The bare server, with the same TLS stack and nothing else: it completes the handshake, reads a whole request, and sends a
//! fixed reply of realistic size.

use anyhow::Context;
use bytes::BytesMut;
use codec::mqtt::{
    ConnAck, ConnectReturnCode, Packet, Publish, QoS, SubAck, SubscribeReturn, decode, encode,
};
use net::tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use wire::topics::RegistrationReply;

use crate::child::{Ready, report_ready_and_wait};

const REPLY: &str = concat!(
    r#"{"operationId":"5.003fc91216adc093.34e9e47d-162f-5b51-8e03-093852a1b55c","status":"assigned","registrationState":{"#,
    r#""symmetricKey":{"enrollmentGroupId":"sample-group"},"registrationId":"device-00001","#,
    r#""createdDateTimeUtc":"2026-11-23T02:18:25.9851411Z","assignedHub":"127.0.0.11","deviceId":"device-00001","#,
    r#""status":"assigned","substatus":"initialAssignment","#,
    r#""lastUpdatedDateTimeUtc":"2026-11-23T02:18:25.9907824Z","etag":"a5ea88c6bcd89e56"}}"#
);

/// The longest request.
const MAX_PACKET: usize = 64 * 1024;

/// Serves until standard input is closed.
pub async fn serve() -> anyhow::Result<()> {
    let (identity, ca_pem) = identity()?;
    let acceptor = TlsAcceptor::from(tls::server_config(vec![identity])?);
    let (https, mqtts) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let ready = Ready {
        https: https.local_addr()?.port(),
        mqtts: mqtts.local_addr()?.port(),
        amqps: 0,
        id_scope: "0ne00000000".into(),
        ca_pem,
        service: String::new(),
        group_key: String::new(),
    };
    tokio::spawn(accept(https, acceptor.clone(), Protocol::Http));
    tokio::spawn(accept(mqtts, acceptor, Protocol::Mqtt));
    report_ready_and_wait(&ready).await
}

#[derive(Clone, Copy)]
enum Protocol {
    Http,
    Mqtt,
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, protocol: Protocol) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            // An error means that the peer closed the connection.
            let _ = match protocol {
                Protocol::Http => http(stream).await,
                Protocol::Mqtt => mqtt(stream).await,
            };
        });
    }
}

async fn http(mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    let reply = format!(
        "HTTP/1.1 202 Accepted\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n{REPLY}",
        REPLY.len()
    );
    let mut buffer = BytesMut::with_capacity(4096);
    while stream.read_buf(&mut buffer).await? > 0 {
        while let Some(length) = request_length(&buffer) {
            let _ = buffer.split_to(length);
            stream.write_all(reply.as_bytes()).await?;
        }
    }
    Ok(())
}

/// Returns the length of the first request, once it is complete.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(buffer.get(..head)?).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let body: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    (buffer.len() >= head + body).then_some(head + body)
}

async fn mqtt(mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    let (mut buffer, mut output) = (BytesMut::with_capacity(4096), BytesMut::new());
    while stream.read_buf(&mut buffer).await? > 0 {
        while let Ok(Some(packet)) = decode(&mut buffer, MAX_PACKET) {
            for answer in answers(packet) {
                let _ = encode(&answer, &mut output);
            }
        }
        stream.write_all_buf(&mut output).await?;
    }
    Ok(())
}

fn answers(packet: Packet) -> Vec<Packet> {
    match packet {
        Packet::Connect(_) => {
            vec![Packet::ConnAck(ConnAck { session_present: false, code: ConnectReturnCode::Accepted })]
        }
        Packet::Subscribe(subscribe) => {
            let codes = vec![SubscribeReturn::Granted(QoS::AtLeastOnce); subscribe.filters.len()];
            vec![Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes })]
        }
        Packet::Publish(publish) => {
            let request = publish.topic.rsplit("$rid=").next().unwrap_or("");
            let reply = Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: RegistrationReply { status: 200, request_id: request, retry_after_secs: None }.topic(),
                packet_id: Some(1),
                payload: REPLY.into(),
            });
            publish.packet_id.map(Packet::PubAck).into_iter().chain([reply]).collect()
        }
        _ => Vec::new(),
    }
}

/// Makes a P-256 certificate for 127.0.0.1, as the emulator does, and its CA.
fn identity() -> anyhow::Result<(tls::Identity, String)> {
    let (ca_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key)?;
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    let chain = format!("{}{ca_pem}", leaf.pem());
    let identity = tls::Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes());
    Ok((identity.context("the bare server's certificate")?, ca_pem))
}
