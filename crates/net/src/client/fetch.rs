//! One document from a web server, over HTTP or HTTPS.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{ClientError, Deadlines, dial, within};

/// Where a document is, and how much of it is taken.
pub struct Document<'a> {
    /// The server's name.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// What is asked for there, percent-encoded.
    pub path_and_query: &'a str,
    /// Whom to trust; in clear when absent.
    pub tls: Option<Arc<ClientConfig>>,
    /// Its longest length in bytes.
    pub limit: usize,
}

/// Gets a document whole. Anything but a 200 is an error: redirects are not followed, for they would lead to where
/// nobody said.
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
    // Its errors are also those of the request; it ends when the sender is dropped.
    tokio::spawn(connection);
    let Document { host, port, .. } = document;
    let authority = if *port == usual_port { (*host).to_owned() } else { format!("{host}:{port}") };
    let request = Request::get(document.path_and_query).header(HOST, authority).body(Empty::<Bytes>::new())?;
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
