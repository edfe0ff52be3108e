//! One HTTP/1.1 connection over TLS, for any number of requests, one after the other.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, IF_MATCH},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use super::{ClientError, Deadlines, dial, within};

/// An open connection. Dropping it closes it. After a failed call it must be dropped: the next answer could belong to the failed
/// request.
pub struct HttpsConnection {
    requests: SendRequest<Full<Bytes>>,
    /// The `Host` header: with the port where it is not the standard one.
    authority: String,
    deadlines: Deadlines,
}

/// A request; its body is JSON or empty.
#[derive(Clone, Default)]
pub struct Call<'a> {
    /// The method; GET by default.
    pub method: Method,
    /// The request target, percent-encoded.
    pub path_and_query: String,
    /// The `Host` header; `None` for the server's own address.
    pub host: Option<&'a str>,
    /// A shared access signature; devices with a certificate send none.
    pub authorization: Option<&'a str>,
    /// The `If-Match` header as it stands on the wire.
    pub if_match: Option<&'a str>,
    /// More headers: names in lower case, and values without line breaks.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body.
    pub body: Bytes,
}

impl HttpsConnection {
    /// Connects; `host` is also the name that the server's certificate must have.
    pub async fn open(
        host: &str,
        port: u16,
        config: Arc<ClientConfig>,
        deadlines: Deadlines,
    ) -> Result<HttpsConnection, ClientError> {
        let stream = dial(host, port, config, deadlines.connect).await?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The request in flight reports its errors; it ends when the sender is dropped.
        tokio::spawn(connection);
        let authority = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        Ok(HttpsConnection { requests, authority, deadlines })
    }

    /// Returns whether the server has closed it.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request and reads the whole response.
    pub async fn call(&mut self, call: Call<'_>) -> Result<Response<Bytes>, ClientError> {
        let request = self.request(call)?;
        within(self.deadlines.exchange, async {
            self.requests.ready().await?;
            let (head, body) = self.requests.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_RESPONSE).collect().await.map_err(body_error)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        })
        .await
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path_and_query)
            .header(HOST, call.host.unwrap_or(&self.authority))
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        if let Some(token) = call.authorization {
            let mut token = HeaderValue::from_str(token).map_err(http::Error::from)?;
            token.set_sensitive(true);
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(etag) = call.if_match {
            request = request.header(IF_MATCH, etag);
        }
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        Ok(request.body(Full::new(call.body))?)
    }
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => ClientError::Http(*error),
        Err(error) if error.is::<LengthLimitError>() => ClientError::BodyTooLong { limit: MAX_RESPONSE },
        Err(_) => ClientError::Closed,
    }
}

/// Bytes of a response: far more than any reply to a request here.
const MAX_RESPONSE: usize = 1 << 20;
