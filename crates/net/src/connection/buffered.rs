//! A byte stream with small buffers that do not stay large.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use super::ByteStream;

/// Bytes read at once, and the read buffer of an idle connection. The first frame of a client, with its token, is about 500
/// bytes.
const READ_BYTES: usize = 1024;

/// Up to here the input buffer grows by two reads at a time.
const SMALL_INPUT: usize = 16 * 1024;

/// One TLS record.
const LARGE_OUTPUT: usize = 16 * 1024;

/// How long, and for how many reads of 256 bytes, a closed connection waits for the client's close.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS: usize = 64;

/// A byte stream with its input and output buffers.
pub(crate) struct Buffered<S> {
    stream: S,
    /// Bytes that have arrived and are not decoded yet.
    pub(crate) input: BytesMut,
    /// Whether the input buffer has been larger than an idle connection should keep.
    has_grown: bool,
    /// Bytes that the next flush writes.
    pub(crate) output: BytesMut,
    /// When the first byte of the frame arrived that is not complete yet.
    frame_started: Option<Instant>,
    frame_timeout: Duration,
    write_timeout: Duration,
}

/// Why a stream cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("end of stream")]
    HungUp,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("timed out waiting for the rest of a packet")]
    Slow,
    #[error("timed out waiting for the client to read")]
    Unread,
}

impl<S> Buffered<S> {
    pub(crate) fn new(stream: S, frame_timeout: Duration, write_timeout: Duration) -> Buffered<S> {
        Buffered {
            stream,
            input: BytesMut::new(),
            has_grown: false,
            output: BytesMut::new(),
            frame_started: None,
            frame_timeout,
            write_timeout,
        }
    }

    /// Notes that a frame was taken out of the input; the rest of the input begins another.
    pub(crate) fn mark_frame_complete(&mut self) {
        self.frame_started = None;
    }
}

impl<S: ByteStream> Buffered<S> {
    /// Reads the next frame that `decode` finds in the input; it may add to the output. Before waiting for more input, the output is written.
    pub(crate) async fn next<T, E>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut, &mut BytesMut) -> Result<Option<T>, E>,
    ) -> Result<T, E>
    where
        E: From<Broken>,
    {
        loop {
            if let Some(frame) = decode(&mut self.input, &mut self.output)? {
                self.mark_frame_complete();
                return Ok(frame);
            }
            self.flush().await?;
            self.fill().await?;
        }
    }

    /// Waits for bytes, not beyond the deadline of an incomplete frame. Nothing is lost when the future is dropped.
    pub(crate) async fn fill(&mut self) -> Result<(), Broken> {
        if self.input.is_empty() {
            self.frame_started = None;
            if self.has_grown {
                self.input = BytesMut::new();
                self.has_grown = false;
            }
        } else if self.frame_started.is_none() {
            self.frame_started = Some(Instant::now());
        }
        self.reserve();
        let read = self.stream.read_buf(&mut self.input);
        let count = match self.frame_started {
            Some(since) => timeout_at(since + self.frame_timeout, read).await.map_err(|_| Broken::Slow)?,
            None => read.await,
        }?;
        if count == 0 {
            return Err(Broken::HungUp);
        }
        self.has_grown |= self.input.len() > READ_BYTES;
        Ok(())
    }

    /// Makes room for the next read. In small steps at first: `BytesMut` alone would double what an unproven client may
    /// have.
    fn reserve(&mut self) {
        let (len, spare) = (self.input.len(), self.input.capacity() - self.input.len());
        if spare >= READ_BYTES || len >= SMALL_INPUT {
            self.input.reserve(READ_BYTES);
        } else {
            let mut larger =
                BytesMut::with_capacity(len + if len == 0 { READ_BYTES } else { 2 * READ_BYTES });
            larger.extend_from_slice(&self.input);
            self.input = larger;
        }
    }

    /// Writes the output, in one piece so that it becomes one TLS record.
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

    /// Writes the output before it gets large.
    pub(crate) async fn flush_if_large(&mut self) -> Result<(), Broken> {
        if self.output.len() < LARGE_OUTPUT { Ok(()) } else { self.flush().await }
    }

    /// Writes the output and closes this direction, then waits a moment for the client's: closing with unread bytes would
    /// reset the connection, and the client might never see the last frames.
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
