//! How much of a WebSocket message has arrived, and since when. The WebSocket library does not report unfinished messages, so the
//! bytes are counted in the stream below it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use crate::{connection_limiter::Standing, limits::Limits};

/// Counts what has arrived since the last whole message. The stream counts, [`crate::websocket`] resets, and the connection's task
/// watches.
#[derive(Debug)]
pub(crate) struct Meter {
    standing: Standing,
    max_unproven_bytes: usize,
    timeout: Duration,
    created: Instant,
    bytes: AtomicUsize,
    /// Milliseconds after `created` at which the message began, plus one; 0 between messages.
    began: AtomicU64,
}

impl Meter {
    pub(crate) fn new(standing: Standing, limits: &Limits) -> Arc<Meter> {
        Arc::new(Meter {
            standing,
            max_unproven_bytes: limits.unproven.max_bytes + FRAMING_BYTES,
            timeout: limits.packet_timeout,
            created: Instant::now(),
            bytes: AtomicUsize::new(0),
            began: AtomicU64::new(0),
        })
    }

    /// Notes that a message is complete.
    pub(crate) fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.began.store(0, Ordering::Relaxed);
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.began.load(Ordering::Relaxed) == 0 {
            let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.began.store(now + 1, Ordering::Relaxed);
        }
    }

    /// Waits, if an unproven client has sent as much as it may, until it has proved who it is.
    fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        if self.bytes.load(Ordering::Relaxed) <= self.max_unproven_bytes || self.standing.may_send_large() {
            return Poll::Ready(());
        }
        self.standing.poll_permitted(context)
    }

    /// Waits until a message takes too long to arrive.
    pub(crate) async fn overdue(&self) {
        loop {
            let began = self.began.load(Ordering::Relaxed);
            let since = match began {
                0 => Instant::now(),
                began => self.created + Duration::from_millis(began - 1),
            };
            sleep_until(since + self.timeout).await;
            if began != 0 && self.began.load(Ordering::Relaxed) == began {
                return;
            }
        }
    }
}

/// A stream that counts what arrives. The WebSocket library above it allocates memory for a frame as soon as it has read the length,
/// so the length of a long frame is held back until the client has proved who it is.
pub(crate) struct MeteredStream<S> {
    stream: S,
    meter: Arc<Meter>,
    frames: Frames,
    /// The bytes that are held back, from the last byte of a frame's length on.
    held: Vec<u8>,
}

impl<S> MeteredStream<S> {
    pub(crate) fn new(stream: S, meter: Arc<Meter>) -> MeteredStream<S> {
        MeteredStream { stream, meter, frames: Frames::default(), held: Vec::new() }
    }
}

/// Tracks the frames of an unproven client (RFC 6455 §5.2).
#[derive(Debug, Default)]
struct Frames {
    /// The bytes of the header up to here, counted as if its length had eight bytes.
    header: usize,
    length: u64,
    /// Bytes of the frame that have not arrived, of its masking key and its payload.
    left: u64,
}

impl Frames {
    /// Parses `bytes`; returns the position of the last byte of the length of a frame longer than `max`, if there is one.
    fn longer_than(&mut self, max: usize, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.left > 0 {
                let rest = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX).min(self.left);
                self.left -= rest;
                at += usize::try_from(rest).unwrap_or(usize::MAX);
                continue;
            }
            if self.reads_length(byte) {
                (self.header, self.left) = (0, self.length.saturating_add(MASKING_KEY_BYTES));
                if self.length > u64::try_from(max).unwrap_or(u64::MAX) {
                    return Some(at);
                }
            }
            at += 1;
        }
        None
    }

    /// Parses a byte of the header; returns whether the length is known.
    fn reads_length(&mut self, byte: u8) -> bool {
        self.header += 1;
        match self.header {
            1 => false,
            2 => {
                let short = u64::from(byte & 0x7F);
                // 126 and 127 announce a length of two and of eight bytes; `header` is set so that it ends after them.
                (self.length, self.header) = match short {
                    126 => (0, LENGTH_END - 2),
                    127 => (0, LENGTH_END - 8),
                    _ => (short, LENGTH_END),
                };
                self.header == LENGTH_END
            }
            header => {
                self.length = self.length << 8 | u64::from(byte);
                header == LENGTH_END
            }
        }
    }
}

impl<S: AsyncRead + Unpin> MeteredStream<S> {
    /// Reads the bytes that have arrived. Holds back the length of a long frame of an unproven client, and the bytes after it.
    fn poll_arrived(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.meter.poll_room(context));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let arrived = &buffer.filled()[before..];
        if arrived.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.meter.count(arrived.len());
        if !self.meter.standing.may_send_large()
            && let Some(at) = self.frames.longer_than(self.meter.max_unproven_bytes, arrived)
        {
            self.held = arrived[at..].to_vec();
            buffer.set_filled(before + at);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.held.is_empty() {
            ready!(self.poll_arrived(context, buffer))?;
            // Nothing would be the end of the stream.
            if self.held.is_empty() || buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        ready!(self.meter.standing.poll_permitted(context));
        let count = self.held.len().min(buffer.remaining());
        buffer.put_slice(&self.held[..count]);
        self.held.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A frame's header, and the start of the next frame in the same read.
const FRAMING_BYTES: usize = 2048;

/// The position after the length in a frame's header, if the length has eight bytes.
const LENGTH_END: usize = 10;

/// The size of the masking key, which follows the length in every frame of a client.
const MASKING_KEY_BYTES: u64 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let length_bytes = match length {
            0..=125 => vec![0x80 | u8::try_from(length).unwrap()],
            126..=0xFFFF => [&[0x80 | 126], &u16::try_from(length).unwrap().to_be_bytes()[..]].concat(),
            _ => [&[0x80 | 127], &u64::try_from(length).unwrap().to_be_bytes()[..]].concat(),
        };
        [vec![0x82], length_bytes, vec![0xFF; 4 + length]].concat()
    }

    fn found(max: usize, bytes: &[u8], step: usize) -> Option<usize> {
        let mut frames = Frames::default();
        let mut chunks = bytes.chunks(step).enumerate();
        chunks.find_map(|(number, chunk)| frames.longer_than(max, chunk).map(|at| number * step + at))
    }

    #[test]
    fn the_last_byte_of_the_length_of_a_long_frame_is_found() {
        let check = |max: usize, lengths: &[usize], expected: Option<usize>| {
            let bytes: Vec<u8> = lengths.iter().flat_map(|&length| frame(length)).collect();
            assert_eq!(found(max, &bytes, bytes.len()), expected, "{max}: {lengths:?}");
        };
        check(100, &[0, 100, 7], None);
        check(100, &[101], Some(1));
        check(100, &[200], Some(3));
        check(100, &[70_000], Some(9));
        check(1000, &[1000, 1000], None);
        check(1000, &[10, 1001], Some(16 + 3));
        check(70_000, &[70_000, 70_001], Some(14 + 70_000 + 9));
    }

    #[test]
    fn an_impossible_length_counts_as_long() {
        assert_eq!(found(1000, &[0x82, 0xFF, 255, 255, 255, 255, 255, 255, 255, 255, 0], 11), Some(9));
    }

    proptest! {
        /// The bytes may be cut in any way: the same byte ends the first long length.
        #[test]
        fn a_length_is_found_in_reads_of_any_size(lengths in prop::collection::vec(0_usize..70_000, 0..4), step in 1_usize..3000) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|&length| frame(length)).collect();
            let whole = found(5_000, &bytes, bytes.len().max(1));
            prop_assert_eq!(found(5_000, &bytes, step), whole);
            prop_assert_eq!(whole.is_some(), lengths.iter().any(|&length| length > 5_000));
        }
    }
}
