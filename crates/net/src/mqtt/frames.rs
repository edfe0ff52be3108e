//! Packets over a byte stream, with small buffers that do not stay large.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use wire::mqtt::{ConnectReturnCode, DecodeError, EncodeError, Packet, decode, encode};

use super::session::Close;
use crate::limits::MqttLimits;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{}", .0.reason)]
    Closed(Close),
    #[error("DISCONNECT")]
    Disconnected,
    #[error("end of stream")]
    HungUp,
    #[error(transparent)]
    Io(io::Error),
    #[error(transparent)]
    Malformed(DecodeError),
    #[error("a session panicked")]
    Panicked,
    #[error("refused: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("shutdown")]
    Shutdown,
    #[error("timed out waiting for {0}")]
    TimedOut(&'static str),
    #[error("a packet to the client has no form on the wire: {0}")]
    Unsendable(EncodeError),
    #[error("protocol violation: {0}")]
    Violation(&'static str),
}

pub(super) struct Frames<S> {
    stream: S,
    input: BytesMut,
    /// The input buffer was larger than an idle connection should keep.
    grown: bool,
    output: BytesMut,
    max_packet: usize,
    write_timeout: Duration,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S, limits: &MqttLimits) -> Frames<S> {
        Frames {
            stream,
            input: BytesMut::new(),
            grown: false,
            output: BytesMut::new(),
            max_packet: limits.max_packet_before_connect,
            write_timeout: limits.write_timeout,
        }
    }

    /// Takes larger packets from here on.
    pub(super) fn allow(&mut self, max_packet: usize) {
        self.max_packet = max_packet;
    }

    /// The next packet that has already arrived completely.
    pub(super) fn decoded(&mut self) -> Result<Option<Packet>, End> {
        decode(&mut self.input, self.max_packet).map_err(End::Malformed)
    }

    /// Adds a packet to what the next flush writes.
    pub(super) fn put(&mut self, packet: &Packet) -> Result<(), End> {
        encode(packet, &mut self.output).map_err(End::Unsendable)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The next packet.
    pub(super) async fn next(&mut self) -> Result<Packet, End> {
        loop {
            if let Some(packet) = self.decoded()? {
                return Ok(packet);
            }
            self.fill().await?;
        }
    }

    /// Waits for bytes. Nothing is lost when the future is dropped.
    pub(super) async fn fill(&mut self) -> Result<(), End> {
        if self.grown && self.input.is_empty() {
            self.input = BytesMut::new();
            self.grown = false;
        }
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(End::HungUp),
            Ok(_) => {
                self.grown |= self.input.len() > READ_BYTES;
                Ok(())
            }
            Err(error) => Err(End::Io(error)),
        }
    }

    /// Writes what was put, in one piece so that it becomes one TLS record.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let write = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        timeout(self.write_timeout, write)
            .await
            .map_err(|_| End::TimedOut("the client to read"))?
            .map_err(End::Io)
    }

    /// Flushes before the output gets large.
    pub(super) async fn flush_if_large(&mut self) -> Result<(), End> {
        if self.output.len() < LARGE_OUTPUT { Ok(()) } else { self.flush().await }
    }

    /// Writes what was put and closes our direction, then waits a moment for the client's: closing with unread
    /// bytes would reset the connection, and the client might never see our last packet.
    pub(super) async fn finish(mut self) {
        let farewell = async {
            self.stream.write_all(&self.output).await?;
            self.stream.shutdown().await?;
            let mut sink = [0; 256];
            for _ in 0..LINGER_READS {
                if self.stream.read(&mut sink).await? == 0 {
                    break;
                }
            }
            Ok::<(), io::Error>(())
        };
        if !matches!(timeout(LINGER, farewell).await, Ok(Ok(()))) {
            tracing::trace!("the client did not close its side");
        }
    }
}

/// Bytes read at once, and the read buffer of an idle connection. A CONNECT with a SAS token is about 500
/// bytes.
const READ_BYTES: usize = 1024;

/// One TLS record.
const LARGE_OUTPUT: usize = 16 * 1024;

/// How long, and for how many reads of 256 bytes, a closed connection waits for the client's close.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS: usize = 64;
