//! The payload of a WebSocket's binary messages as a byte stream.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::metered::{Meter, MeteredStream};

/// One end of a WebSocket, as one stream of bytes: packets and frames may be split over messages and share them
/// (MQTT 3.1.1 §6.0). Pings are answered; a text message or one that is too large is an error, and the close frame that the
/// shutdown of the stream sends reports it.
pub struct BinaryStream<S> {
    socket: WebSocketStream<S>,
    /// The rest of the last message.
    unread: Bytes,
    /// The close frame to send at the end; `None` once it was sent, and further input is not parsed.
    farewell: Option<CloseFrame>,
    /// Notified of each whole message.
    meter: Option<Arc<Meter>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> BinaryStream<MeteredStream<S>> {
    /// Wraps a byte stream after the HTTP handshake; the meter bounds unfinished messages.
    pub(crate) async fn metered(
        stream: S,
        max_message: usize,
        meter: Arc<Meter>,
    ) -> BinaryStream<MeteredStream<S>> {
        let stream = MeteredStream::new(stream, Arc::clone(&meter));
        BinaryStream { meter: Some(meter), ..BinaryStream::new(stream, max_message).await }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> BinaryStream<S> {
    /// Wraps a byte stream after the HTTP handshake. Messages may have `max_message` bytes.
    pub async fn new(stream: S, max_message: usize) -> BinaryStream<S> {
        let config = Some(config(max_message));
        BinaryStream::over(WebSocketStream::from_raw_socket(stream, Role::Server, config).await)
    }

    /// Wraps a WebSocket, on either side.
    pub(crate) fn over(socket: WebSocketStream<S>) -> BinaryStream<S> {
        let farewell = Some(close(CloseCode::Normal, ""));
        BinaryStream { socket, unread: Bytes::new(), farewell, meter: None }
    }

    /// Polls for the next bytes; empty at the end of the stream.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            let next = ready!(Pin::new(&mut self.socket).poll_next(context));
            if let (Some(meter), Some(Ok(_))) = (&self.meter, &next) {
                meter.reset();
            }
            match next {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Ok(bytes)),
                Some(Ok(Message::Text(_))) => {
                    self.farewell = Some(close(CloseCode::Unsupported, "binary messages are expected"));
                    return Poll::Ready(Err(invalid("a WebSocket message of text")));
                }
                // Pings and closes are answered when the socket is polled next.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                // Devices lose their network without closing: treated as the end of the stream.
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) | None => {
                    return Poll::Ready(Ok(Bytes::new()));
                }
                Some(Err(error)) => {
                    self.farewell = Some(farewell_for(&error));
                    return Poll::Ready(Err(into_io(error)));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for BinaryStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.farewell.is_none() {
            return Pin::new(self.socket.get_mut()).poll_read(context, buffer);
        }
        if self.unread.is_empty() {
            self.unread = ready!(self.poll_message(context))?;
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        if self.unread.is_empty() {
            self.unread = Bytes::new(); // an idle connection keeps no memory for it
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for BinaryStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_flush(context))?; // one message at a time is buffered
        let count = bytes.len().min(MAX_WRITTEN_BYTES);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.socket).start_send(message).map_err(into_io)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(into_io)
    }

    /// Sends the close frame and closes this direction.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        if let Some(farewell) = self.farewell.take()
            && let Err(error) = Pin::new(&mut self.socket).start_send(Message::Close(Some(farewell)))
        {
            tracing::trace!(%error, "the client has closed first");
        }
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(self.socket.get_mut()).poll_shutdown(context)
    }
}

/// Returns a configuration with small buffers, and messages of at most `max_message` bytes.
pub(crate) fn config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNWRITTEN_BYTES)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

/// Returns the close frame that reports an error (RFC 6455 §7.4.1).
fn farewell_for(error: &Error) -> CloseFrame {
    match error {
        Error::Capacity(_) => close(CloseCode::Size, "the message is too large"),
        Error::Utf8(_) => close(CloseCode::Unsupported, "binary messages are expected"),
        Error::Protocol(_) => close(CloseCode::Protocol, "protocol violation"),
        _ => close(CloseCode::Normal, ""),
    }
}

fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::AlreadyClosed | Error::ConnectionClosed => io::ErrorKind::BrokenPipe.into(),
        error => invalid(error),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Read buffer of an idle connection; it grows while a larger message comes in. A CONNECT with a SAS token is about
/// 500 bytes.
const READ_BYTES: usize = 1024;

/// Largest message to the client. The socket keeps a buffer of this size once it was needed.
const MAX_WRITTEN_BYTES: usize = 4096;

/// One message and its header, and the answers to pings that the client does not read.
const MAX_UNWRITTEN_BYTES: usize = 2 * MAX_WRITTEN_BYTES;
