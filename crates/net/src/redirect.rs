//! The redirect of a browser to a program on the same machine, at the end of a login (RFC 8252 §7.3).

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Connections at once. Browsers open some that they do not use.
const MAX_REDIRECT_CONNECTIONS: usize = 8;

/// The time for one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// A listener on a loopback address.
pub struct RedirectListener(TcpListener);

/// The page that a browser shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The HTML, which is a constant of the program.
    pub html: &'static str,
}

impl RedirectListener {
    /// Listens on a port of 127.0.0.1, or on a free one if it is 0.
    pub async fn bind(port: u16) -> io::Result<RedirectListener> {
        Ok(RedirectListener(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?))
    }

    /// Returns its address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers requests until `answer` returns a value for the path and query of a GET, and the page of that is sent.
    pub async fn receive<T: Send + 'static>(
        self,
        answer: impl Fn(&str) -> (Page, Option<T>) + Send + Sync + 'static,
    ) -> io::Result<T> {
        let answer = Arc::new(answer);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.0.accept(), if connections.len() < MAX_REDIRECT_CONNECTIONS => {
                    connections.spawn(serve(accepted?.0, Arc::clone(&answer)));
                }
                Some(ended) = connections.join_next() => {
                    if let Ok(Some(value)) = ended {
                        return Ok(value);
                    }
                }
            }
        }
    }
}

/// Answers the one request of a connection, and returns its value.
async fn serve<T: Send + 'static>(
    stream: TcpStream,
    answer: Arc<impl Fn(&str) -> (Page, Option<T>) + Send + Sync + 'static>,
) -> Option<T> {
    let found = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (page, value) = match *request.method() {
            Method::GET => answer(request.uri().path_and_query().map_or("/", |target| target.as_str())),
            _ => (Page { status: StatusCode::METHOD_NOT_ALLOWED, html: "" }, None),
        };
        *found.lock().unwrap_or_else(PoisonError::into_inner) = value;
        async move { Ok::<_, Infallible>(response(page)) }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    // A browser that does not take the page has sent its request all the same.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn response(page: Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(page.html));
    *response.status_mut() = page.status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Idle connections, other methods and other paths end nothing.
    #[tokio::test]
    async fn one_request_with_a_value_ends_the_wait() {
        let listener = RedirectListener::bind(0).await.unwrap();
        let address = listener.address().unwrap();
        assert!(address.ip().is_loopback());
        let receiving = tokio::spawn(listener.receive(|target| match target {
            "/callback?code=1" => (Page { status: StatusCode::OK, html: "done" }, Some(1)),
            _ => (Page { status: StatusCode::NOT_FOUND, html: "no" }, None),
        }));
        let _idle = TcpStream::connect(address).await.unwrap();
        for (request, reply) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 404"),
            ("POST /callback?code=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 405"),
            ("nonsense\r\n\r\n", "HTTP/1.1 400"),
            ("GET /callback?code=1 HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with(reply), "{request} {text}");
        }
        assert_eq!(receiving.await.unwrap().unwrap(), 1);
    }
}
