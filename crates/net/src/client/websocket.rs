//! WebSockets, as devices open them.

use std::io;

use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Error, client::IntoClientRequest},
};

use crate::websocket::{BinaryStream, config};

use super::ClientError;

/// Opens a WebSocket with `subprotocol` over `stream`; messages from the server may have `max_message` bytes.
pub async fn websocket<S>(
    stream: S,
    host: &str,
    subprotocol: &'static str,
    max_message: usize,
) -> Result<BinaryStream<S>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("wss://{host}{PATH}").into_client_request().map_err(into_io)?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    let connected = client_async_with_config(request, stream, Some(config(max_message))).await;
    Ok(BinaryStream::over(connected.map_err(into_io)?.0))
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::Http(answer) => io::Error::other(format!("no WebSocket: {}", answer.status())),
        error => io::Error::other(error),
    }
}

/// The path that most SDKs request.
const PATH: &str = "/$iothub/websocket";
