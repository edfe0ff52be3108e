//! TLS connections with deadlines.

use std::{future::Future, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::ClientError;

/// Opens a TLS connection within `limit`; `host` is also the name that the server's certificate must have.
pub async fn dial(
    host: &str,
    port: u16,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ClientError::Host(host.to_owned()))?;
    within(limit, async {
        let address = || format!("{host}:{port}");
        let tcp = TcpStream::connect((host, port))
            .await
            .map_err(|source| ClientError::Connect { address: address(), source })?;
        tcp.set_nodelay(true)?;
        let connected = TlsConnector::from(config).connect(name, tcp).await;
        connected.map_err(|source| ClientError::Tls { address: address(), source })
    })
    .await
}

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Runs `work` with a deadline.
pub async fn within<T, E: From<ClientError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(ClientError::Timeout(limit).into()))
}
