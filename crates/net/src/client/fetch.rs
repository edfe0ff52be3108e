//! One document from a web server, over HTTP or HTTPS.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::{HttpUrl, Scheme};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{ClientError, Deadlines, dial, within};

/// The location of a document, and its maximum length.
pub struct Document<'a> {
    host: &'a str,
    port: u16,
    /// The request target, percent-encoded.
    path_and_query: String,
    /// The TLS configuration; without it the connection is not encrypted.
    tls: Option<Arc<ClientConfig>>,
    limit: usize,
}

impl<'a> Document<'a> {
    /// Describes the document at an address, of at most `limit` bytes. Over HTTPS the server must be one that `tls` trusts: `None`
    /// without it.
    pub fn at(address: &'a HttpUrl, tls: Option<Arc<ClientConfig>>, limit: usize) -> Option<Document<'a>> {
        let tls = match address.scheme() {
            Scheme::Http => None,
            Scheme::Https => Some(tls?),
        };
        let (host, port) = (address.host(), address.port());
        Some(Document { host, port, path_and_query: address.path_and_query(), tls, limit })
    }
}

/// Fetches a whole document. Any status but 200 is an error: redirects are not followed, because they may lead to addresses that no
/// operator configured.
pub async fn fetch(document: Document<'_>, deadlines: Deadlines) -> Result<Bytes, ClientError> {
    let Document { host, port, .. } = document;
    match document.tls.clone() {
        Some(tls) => {
            let stream = dial(host, port, tls, deadlines.connect).await?;
            within(deadlines.exchange, get(stream, &document, 443)).await
        }
        None => {
            let address = || format!("{host}:{port}");
            let connecting = async {
                let connected = TcpStream::connect((host, port)).await;
                connected.map_err(|source| ClientError::Connect { address: address(), source })
            };
            let stream = within(deadlines.connect, connecting).await?;
            within(deadlines.exchange, get(stream, &document, 80)).await
        }
    }
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    document: &Document<'_>,
    usual_port: u16,
) -> Result<Bytes, ClientError> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The request reports its errors; it ends when the sender is dropped.
    tokio::spawn(connection);
    let Document { host, port, .. } = document;
    let authority = if *port == usual_port { (*host).to_owned() } else { format!("{host}:{port}") };
    let request =
        Request::get(&document.path_and_query).header(HOST, authority).body(Empty::<Bytes>::new())?;
    let (head, body) = requests.send_request(request).await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(ClientError::Status(head.status));
    }
    let body = Limited::new(body, document.limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ClientError::BodyTooLong { limit: document.limit }
        } else {
            ClientError::Closed
        }
    })?;
    Ok(body.to_bytes())
}
