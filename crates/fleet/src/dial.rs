//! TLS connections with deadlines.

use std::{future::Future, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::failure::TransportError;

/// Opens a TLS connection; `host` is also the name that the server must prove.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, TransportError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TransportError::Host(host.to_owned()))?;
    within(CONNECT_TIMEOUT, async {
        let address = || format!("{host}:{port}");
        let tcp = TcpStream::connect((host, port))
            .await
            .map_err(|source| TransportError::Connect { address: address(), source })?;
        tcp.set_nodelay(true)?;
        let connected = TlsConnector::from(config).connect(name, tcp).await;
        connected.map_err(|source| TransportError::Tls { address: address(), source })
    })
    .await
}

/// Gives work a deadline.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    timeout(limit, work).await.unwrap_or(Err(TransportError::Timeout(limit)))
}

/// For one request and its answer: what the SDKs wait.
pub(crate) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// For TCP and TLS together. Generous: a fleet on a small machine queues for the processor.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
