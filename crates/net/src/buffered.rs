//! A byte stream with small buffers that do not stay large.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// What has arrived and what is to be written.
pub(crate) struct Buffered<S> {
    stream: S,
    /// Arrived and not yet read.
    pub(crate) input: BytesMut,
    /// The input buffer was larger than an idle connection should keep.
    grown: bool,
    /// To be written by the next flush.
    pub(crate) output: BytesMut,
    write_timeout: Duration,
}

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("end of stream")]
    HungUp,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("timed out waiting for the client to read")]
    Unread,
}

impl<S> Buffered<S> {
    pub(crate) fn new(stream: S, write_timeout: Duration) -> Buffered<S> {
        Buffered { stream, input: BytesMut::new(), grown: false, output: BytesMut::new(), write_timeout }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Buffered<S> {
    /// Waits for bytes. Nothing is lost when the future is dropped.
    pub(crate) async fn fill(&mut self) -> Result<(), Broken> {
        if self.grown && self.input.is_empty() {
            self.input = BytesMut::new();
            self.grown = false;
        }
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(Broken::HungUp),
            _ => {
                self.grown |= self.input.len() > READ_BYTES;
                Ok(())
            }
        }
    }

    /// Writes what was put, in one piece so that it becomes one TLS record.
    pub(crate) async fn flush(&mut self) -> Result<(), Broken> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        let write = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        Ok(timeout(self.write_timeout, write).await.map_err(|_| Broken::Unread)??)
    }

    /// Flushes before the output gets large.
    pub(crate) async fn flush_if_large(&mut self) -> Result<(), Broken> {
        if self.output.len() < LARGE_OUTPUT { Ok(()) } else { self.flush().await }
    }

    /// Writes what was put and closes our direction, then waits a moment for the client's: closing with unread
    /// bytes would reset the connection, and the client might never see what was said last.
    pub(crate) async fn finish(mut self) {
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

/// Bytes read at once, and the read buffer of an idle connection. What a client says first, with its token, is about
/// 500 bytes.
const READ_BYTES: usize = 1024;

/// One TLS record.
const LARGE_OUTPUT: usize = 16 * 1024;

/// How long, and for how many reads of 256 bytes, a closed connection waits for the client's close.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS: usize = 64;
