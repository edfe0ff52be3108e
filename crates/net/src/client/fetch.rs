//! One exchange with a web server, over HTTP or HTTPS: a document is fetched, or a form sent.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, client::conn::http1};
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
    let request = Request::get(&document.path_and_query).body(Full::default())?;
    let response = exchange(&document, request, deadlines, |status| match status {
        StatusCode::OK => Ok(()),
        other => Err(ClientError::Status(other)),
    });
    Ok(response.await?.into_body())
}

/// Sends a form, and returns the response, whatever its status. Redirects are not followed.
pub async fn post_form(
    document: Document<'_>,
    form: String,
    deadlines: Deadlines,
) -> Result<Response<Bytes>, ClientError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(&document.path_and_query)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Full::from(form))?;
    exchange(&document, request, deadlines, |_| Ok(())).await
}

/// Sends a request over a new connection, and reads the body of a response whose status is `accept`ed.
async fn exchange(
    document: &Document<'_>,
    request: Request<Full<Bytes>>,
    deadlines: Deadlines,
    accept: impl FnOnce(StatusCode) -> Result<(), ClientError>,
) -> Result<Response<Bytes>, ClientError> {
    let Document { host, port, .. } = document;
    match document.tls.clone() {
        Some(tls) => {
            let stream = dial(host, *port, tls, deadlines.connect).await?;
            within(deadlines.exchange, send(stream, document, request, accept)).await
        }
        None => {
            let address = || format!("{host}:{port}");
            let connecting = async {
                let connected = TcpStream::connect((*host, *port)).await;
                connected.map_err(|source| ClientError::Connect { address: address(), source })
            };
            let stream = within(deadlines.connect, connecting).await?;
            within(deadlines.exchange, send(stream, document, request, accept)).await
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    document: &Document<'_>,
    mut request: Request<Full<Bytes>>,
    accept: impl FnOnce(StatusCode) -> Result<(), ClientError>,
) -> Result<Response<Bytes>, ClientError> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The request reports its errors; it ends when the sender is dropped.
    tokio::spawn(connection);
    let Document { host, port, .. } = document;
    let usual_port = if document.tls.is_some() { 443 } else { 80 };
    let authority = if *port == usual_port { (*host).to_owned() } else { format!("{host}:{port}") };
    request.headers_mut().insert(HOST, authority.parse().map_err(http::Error::from)?);
    let response: Response<Incoming> = requests.send_request(request).await?;
    accept(response.status())?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, document.limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ClientError::BodyTooLong { limit: document.limit }
        } else {
            ClientError::Closed
        }
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
