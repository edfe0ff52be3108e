//! The client's side: TLS connections with deadlines, and HTTP/1.1, AMQP and WebSockets over them. Used by what calls
//! hubs, and by the simulator.

mod amqp;
mod dial;
mod fetch;
mod https;
mod kept;
mod websocket;

use std::{io, time::Duration};

use rustls::CertificateError;

pub use amqp::{AmqpClient, AmqpClientError, Login, Responding, SaslMechanism};
pub use dial::{Duplex, dial, within};
pub use fetch::{Document, fetch};
pub use https::{Call, HttpsConnection};
pub use kept::KeptConnections;
pub use websocket::websocket;

/// How long a client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For TCP and TLS together.
    pub connect: Duration,
    /// For one request and its whole answer.
    pub exchange: Duration,
}

/// Why a conversation with a server broke down.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The body of an HTTP response is longer than the client takes.
    #[error("the response is longer than {limit} bytes")]
    BodyTooLong {
        /// Bytes taken.
        limit: usize,
    },
    /// The server closed the connection in the middle of an exchange.
    #[error("the server closed the connection")]
    Closed,
    /// No TCP connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The refusal.
        source: io::Error,
    },
    /// The host is no name that TLS can check.
    #[error("{0:?} is no host name")]
    Host(String),
    /// HTTP was violated, or the connection lost.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// A request that has no form in HTTP.
    #[error("HTTP: {0}")]
    HttpRequest(#[from] http::Error),
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The server has no such document, or sends elsewhere for it.
    #[error("the server answered {0}")]
    Status(http::StatusCode),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// TLS failed; most often the server's certificate.
    #[error("TLS with {address}: {}", told(.source))]
    Tls {
        /// Host and port.
        address: String,
        /// The refusal.
        source: io::Error,
    },
}

/// Why TLS failed, with what the commonest cause means.
fn told(source: &io::Error) -> String {
    let error = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!("the server's certificate leads to no CA that is trusted here ({source})")
        }
        _ => source.to_string(),
    }
}
