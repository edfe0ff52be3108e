//! Measures the memory of unproven connections, by their unfinished input.

use std::{sync::Arc, time::Duration};

use fleet::{Credentials, Endpoint};
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{client::TlsStream, rustls::ClientConfig};

use super::stranger;
use crate::child::Server;

/// The number of connections that warm up memory that is not per connection.
const WARM: usize = 100;

/// The number of measured connections of each kind.
const CONNECTIONS: usize = 1000;

/// The connections that are opened concurrently.
const CONCURRENCY: usize = 48;

/// The time for the server to read the input.
const SETTLING: Duration = Duration::from_secs(2);

/// The time limit for writing, because the server may stop reading.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The unfinished input of a stranger.
#[derive(Debug, Clone, Copy)]
enum Unfinished {
    /// No input after the TLS handshake.
    Silence,
    /// No input after a TLS handshake with a long certificate chain.
    Chain,
    /// An HTTP header.
    Header,
    /// An HTTP header, followed by an unfinished TLS record.
    Record,
    /// The body of a registration.
    Body,
    /// A CONNECT packet.
    Connect,
    /// A PUBLISH packet after a CONNECT with an invalid password.
    Publish,
    /// A WebSocket message with the maximum announced length.
    WebSocket,
    /// A SASL frame.
    Sasl,
}

const ALL: [Unfinished; 9] = [
    Unfinished::Silence,
    Unfinished::Chain,
    Unfinished::Header,
    Unfinished::Record,
    Unfinished::Body,
    Unfinished::Connect,
    Unfinished::Publish,
    Unfinished::WebSocket,
    Unfinished::Sasl,
];

/// The memory of one kind of connections.
pub struct Unproven {
    /// The unfinished input and the transport.
    pub title: &'static str,
    /// The connections that the server kept open.
    pub connections: usize,
    /// The bytes per connection in the server.
    pub bytes_each: u64,
}

/// Opens many connections of each kind, and measures the memory of the server.
pub async fn measure() -> anyhow::Result<Vec<Unproven>> {
    let mut rows = Vec::new();
    for unfinished in ALL {
        eprintln!("{}, {CONNECTIONS} connections …", unfinished.title());
        rows.push(measure_one(unfinished).await?);
    }
    Ok(rows)
}

async fn measure_one(unfinished: Unfinished) -> anyhow::Result<Unproven> {
    let dir = tempfile::tempdir()?;
    let server = Server::muster(dir.path())?;
    let endpoint = server.endpoint()?;
    let port = unfinished.port(&endpoint);
    let client = &unfinished.client(&endpoint)?;
    let (sent, below_tls) = &(unfinished.bytes(&endpoint), unfinished.bytes_below_tls());
    let endpoint = &endpoint;
    let open = |number| async move {
        let from = stranger::address(number);
        let mut stream = stranger::connect_from(endpoint, port, from, Arc::clone(client)).await?;
        // A server that stops reading accepts no more than its buffers hold.
        let _ = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(sent)).await;
        stream.flush().await?;
        let _ = tokio::time::timeout(WRITE_TIMEOUT, stream.get_mut().0.write_all(below_tls)).await;
        anyhow::Ok(stream)
    };
    let warm = opened((0..WARM).map(open)).await;
    tokio::time::sleep(SETTLING).await;
    let before = server.resident()?;
    let mut idle = opened((WARM..WARM + CONNECTIONS).map(open)).await;
    tokio::time::sleep(SETTLING).await;
    let bytes = server.resident()?.saturating_sub(before);
    let mut connections = 0;
    for stream in &mut idle {
        connections += usize::from(is_open(stream).await);
    }
    drop(warm);
    server.stop()?;
    let bytes_each = bytes / CONNECTIONS as u64;
    Ok(Unproven { title: unfinished.title(), connections, bytes_each })
}

/// Opens connections, and returns those that the server kept open.
async fn opened<F>(opening: impl Iterator<Item = F>) -> Vec<TlsStream<TcpStream>>
where
    F: Future<Output = anyhow::Result<TlsStream<TcpStream>>>,
{
    let opened: Vec<_> = stream::iter(opening).buffer_unordered(CONCURRENCY).collect().await;
    opened.into_iter().filter_map(Result::ok).collect()
}

/// Returns whether the server keeps the connection open.
async fn is_open(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match tokio::time::timeout(Duration::from_millis(1), stream.read(&mut buffer)).await {
            Err(_) => return true,
            Ok(Ok(read)) if read > 0 => {}
            Ok(_) => return false,
        }
    }
}

impl Unfinished {
    fn title(self) -> &'static str {
        match self {
            Unfinished::Silence => "silent after the TLS handshake",
            Unfinished::Chain => "silent after a handshake with 15 KiB of certificates",
            Unfinished::Header => "HTTPS, an unfinished header of 15 KiB",
            Unfinished::Record => "HTTPS, an unfinished header and TLS record of 15 KiB",
            Unfinished::Body => "HTTPS, an unfinished body of 90 KiB",
            Unfinished::Connect => "MQTT, an unfinished CONNECT of 7 KiB",
            Unfinished::Publish => "MQTT, a rubbish password, an unfinished PUBLISH of 128 KiB",
            Unfinished::WebSocket => "MQTT over WebSockets, an unfinished message of 128 KiB",
            Unfinished::Sasl => "AMQP, an unfinished SASL frame",
        }
    }

    fn port(self, endpoint: &Endpoint) -> u16 {
        match self {
            Unfinished::Silence
            | Unfinished::Chain
            | Unfinished::Header
            | Unfinished::Record
            | Unfinished::WebSocket
            | Unfinished::Body => endpoint.https_port,
            Unfinished::Connect | Unfinished::Publish => endpoint.mqtts_port,
            Unfinished::Sasl => endpoint.amqps_port,
        }
    }

    fn client(self, endpoint: &Endpoint) -> anyhow::Result<Arc<ClientConfig>> {
        Ok(match self {
            Unfinished::Chain => endpoint.trust.of(&Credentials::Certificate(stranger::long_chain()?))?,
            _ => endpoint.trust.anonymous(),
        })
    }

    /// Returns bytes to send below TLS: the beginning of a record.
    fn bytes_below_tls(self) -> Vec<u8> {
        const ANNOUNCED: [u8; 5] = [23, 3, 3, 0x40, 0];
        match self {
            Unfinished::Record => [&ANNOUNCED[..], &[0; 15 * 1024]].concat(),
            _ => Vec::new(),
        }
    }

    fn bytes(self, endpoint: &Endpoint) -> Vec<u8> {
        match self {
            Unfinished::Silence | Unfinished::Chain => Vec::new(),
            Unfinished::Header => header(15 * 1024),
            Unfinished::Record => header(7 * 1024),
            Unfinished::WebSocket => [upgrade(endpoint), message(128 * 1024, 100 * 1024)].concat(),
            Unfinished::Body => body(endpoint).into_bytes(),
            Unfinished::Connect => packet(0x10, &[0; 7 * 1024], 1),
            Unfinished::Publish => [connect(endpoint), packet(0x30, &[0; 128 * 1024], 64)].concat(),
            Unfinished::Sasl => [b"AMQP\x03\x01\x00\x00".as_slice(), &[0, 0, 2, 0, 2, 1, 0, 0]].concat(),
        }
    }
}

fn body(endpoint: &Endpoint) -> String {
    format!(
        "PUT /{}/registrations/stranger/register?api-version=2021-06-01 HTTP/1.1\r\nHost: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{{\"payload\": \"{}",
        endpoint.id_scope,
        endpoint.host,
        96 * 1024,
        "x".repeat(90 * 1024)
    )
}

fn header(bytes: usize) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(bytes)).into_bytes()
}

/// Formats a WebSocket handshake.
fn upgrade(endpoint: &Endpoint) -> Vec<u8> {
    format!(
        "GET /$iothub/websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n",
        endpoint.host
    )
    .into_bytes()
}

/// Encodes the beginning of a binary message with a longer announced length; masked with zeros.
fn message(announced: u64, sent: usize) -> Vec<u8> {
    [&[0x82, 0xFF], &announced.to_be_bytes()[..], &[0; 4], &vec![0x10; sent]].concat()
}

/// Encodes a CONNECT with a keep-alive of 18 hours and a password that is not a token.
fn connect(endpoint: &Endpoint) -> Vec<u8> {
    let user = format!("{}/registrations/stranger/api-version=2019-03-31", endpoint.id_scope);
    let mut body = b"\x00\x04MQTT\x04\xc2\xff\xff".to_vec();
    for field in ["stranger", &user, "rubbish"] {
        body.extend(u16::try_from(field.len()).unwrap_or(0).to_be_bytes());
        body.extend(field.as_bytes());
    }
    packet(0x10, &body, 0)
}

/// Encodes an MQTT packet whose length exceeds the sent bytes by `missing`.
fn packet(first: u8, body: &[u8], missing: usize) -> Vec<u8> {
    let mut length = body.len() + missing;
    let mut packet = vec![first];
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        packet.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
