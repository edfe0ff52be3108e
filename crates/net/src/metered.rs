//! How much of a WebSocket message has arrived, and since when: a byte stream below a framing that keeps the bytes of
//! unfinished messages to itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::connection_limiter::Standing;
use crate::limits::Limits;

/// What has arrived since the last whole message. The stream counts, the framing resets, the connection's task watches.
#[derive(Debug)]
pub(crate) struct Meter {
    standing: Standing,
    max_unproven_bytes: usize,
    timeout: Duration,
    born: Instant,
    bytes: AtomicUsize,
    /// Milliseconds after `born` at which the message began, plus one; 0 between messages.
    began: AtomicU64,
}

impl Meter {
    pub(crate) fn new(standing: Standing, limits: &Limits) -> Arc<Meter> {
        Arc::new(Meter {
            standing,
            max_unproven_bytes: limits.unproven.max_bytes + FRAMING_BYTES,
            timeout: limits.packet_timeout,
            born: Instant::now(),
            bytes: AtomicUsize::new(0),
            began: AtomicU64::new(0),
        })
    }

    /// A message is whole.
    pub(crate) fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.began.store(0, Ordering::Relaxed);
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.began.load(Ordering::Relaxed) == 0 {
            let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.began.store(now + 1, Ordering::Relaxed);
        }
    }

    /// Waits, where an unproven client has sent as much as it may, until it has shown who it is.
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
                began => self.born + Duration::from_millis(began - 1),
            };
            sleep_until(since + self.timeout).await;
            if began != 0 && self.began.load(Ordering::Relaxed) == began {
                return;
            }
        }
    }
}

/// A stream that counts what arrives.
pub(crate) struct Metered<S> {
    pub(crate) stream: S,
    pub(crate) meter: Arc<Meter>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.meter.poll_room(context));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let arrived = buffer.filled().len() - before;
        if arrived > 0 {
            self.meter.count(arrived);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
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
