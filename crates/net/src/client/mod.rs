//! The client's side: TLS connections with deadlines, and HTTP/1.1, AMQP and WebSockets over them. Used by the connectors of hubs
//! and by the simulator.

mod amqp;
mod dial;
mod fetch;
mod https;
mod pool;
mod websocket;

use std::{io, time::Duration};

use rustls::CertificateError;

pub use amqp::{AmqpClient, AmqpClientError, Login, ResponseFuture, SaslMechanism};
pub use dial::{Duplex, dial, within};
pub use fetch::{Document, fetch, post_form};
pub use https::{Call, HttpsConnection};
pub use pool::ConnectionPool;
pub use websocket::websocket;

/// The deadlines of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For TCP and TLS together.
    pub connect: Duration,
    /// For one request and its whole answer.
    pub exchange: Duration,
}

/// Why a call to a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The body of an HTTP response is longer than the client accepts.
    #[error("the response is longer than {limit} bytes")]
    BodyTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The server closed the connection in the middle of an exchange.
    #[error("the server closed the connection")]
    Closed,
    /// The TCP connection failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The host is not a name that TLS can check.
    #[error("{0:?} is not a host name")]
    Host(String),
    /// The server violated HTTP, or the connection was lost.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// A request that has no form in HTTP.
    #[error("HTTP: {0}")]
    HttpRequest(#[from] http::Error),
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The server has no such document, or redirects.
    #[error("the server answered {0}")]
    Status(http::StatusCode),
    /// The server did not answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// TLS failed; most often the server's certificate.
    #[error("TLS with {address}: {}", describe_tls_failure(.source))]
    Tls {
        /// Host and port.
        address: String,
        /// The cause.
        source: io::Error,
    },
}

/// Returns why TLS failed, with an explanation of the most common cause.
fn describe_tls_failure(source: &io::Error) -> String {
    let error = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!("the server's certificate does not chain to a CA that is trusted here ({source})")
        }
        _ => source.to_string(),
    }
}
