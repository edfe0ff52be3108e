//! Deadlines of an HTTP connection: which phase it is in, and until when.
//!
//! hyper has one timeout for "no complete header yet", which cannot tell a kept idle connection (minutes are
//! fine) from a header that drips in (seconds are not). So the byte stream and the handler report what
//! happens here, and the connection's task watches the deadline. The timer is only touched when a deadline
//! moves nearer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::limits::Limits;

/// Shared by the stream, the handler and the task of one connection.
#[derive(Debug)]
pub(crate) struct HttpDeadlines {
    limits: Arc<Limits>,
    born: Instant,
    /// Deadline in milliseconds since `born`, and the phase in the two lowest bits.
    state: AtomicU64,
}

/// The connection outlived the deadline of this phase.
#[derive(Debug)]
pub(crate) struct Expired(pub(crate) Phase);

impl HttpDeadlines {
    /// A new connection: the first request's header is due.
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<HttpDeadlines> {
        let deadlines = HttpDeadlines { limits, born: Instant::now(), state: AtomicU64::new(0) };
        deadlines.set(deadlines.limits.header_timeout, Phase::Receiving);
        Arc::new(deadlines)
    }

    /// A header is complete, and the body if there is one; the request is due.
    pub(crate) fn request(&self) {
        self.set(self.limits.request_timeout, Phase::Answering);
    }

    /// A body is due.
    pub(crate) fn body(&self) {
        self.set(self.limits.packet_timeout.min(self.limits.request_timeout), Phase::Receiving);
    }

    /// A response is on its way; the next request may take its time.
    pub(crate) fn response(&self) {
        self.set(self.limits.http_idle_timeout, Phase::Idle);
    }

    /// Bytes came in: when idle, they begin a header.
    fn bytes(&self) {
        if self.phase() == Phase::Idle {
            self.set(self.limits.header_timeout, Phase::Receiving);
        }
    }

    fn set(&self, after: Duration, phase: Phase) {
        let deadline = (self.born.elapsed() + after).as_millis() as u64;
        self.state.store(deadline << 2 | phase as u64, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        let phase = self.state.load(Ordering::Relaxed) & 0b11;
        [Phase::Idle, Phase::Answering].into_iter().find(|it| *it as u64 == phase).unwrap_or(Phase::Receiving)
    }

    fn deadline(&self) -> Instant {
        self.born + Duration::from_millis(self.state.load(Ordering::Relaxed) >> 2)
    }

    /// Runs `connection` until it ends or a deadline passes.
    pub(crate) async fn watch<F: Future>(&self, mut connection: Pin<&mut F>) -> Result<F::Output, Expired> {
        let mut timer = pin!(sleep_until(self.deadline()));
        poll_fn(move |context| {
            if let Poll::Ready(output) = connection.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            loop {
                let deadline = self.deadline();
                if deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                if deadline <= timer.deadline() {
                    return Poll::Ready(Err(Expired(self.phase())));
                }
                timer.as_mut().reset(deadline);
            }
        })
        .await
    }
}

/// What an HTTP connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The rest of a header or body.
    Receiving,
    /// The service's answer.
    Answering,
    /// The next request.
    Idle,
}

/// A stream that reports arriving bytes, and holds what must live as long as the connection does: an upgraded
/// connection outlives its HTTP task.
pub(crate) struct Reporting<S, P> {
    pub(crate) stream: S,
    pub(crate) deadlines: Arc<HttpDeadlines>,
    pub(crate) ended: Ended,
    pub(crate) _permit: P,
}

/// Whether the peer has said that nothing more will come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended(bool);

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Reporting<S, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.deadlines.bytes();
        } else if matches!(read, Poll::Ready(Ok(()))) && buffer.remaining() > 0 {
            self.ended = Ended(true);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Reporting<S, P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// A peer that has left needs no farewell: writing one to a closed socket costs as much as a reply. It may have left
    /// in one direction only, so what was written before is sent all the same.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended.0 {
            return Pin::new(&mut self.stream).poll_flush(context);
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A stream whose peer sends one byte and leaves; it notes what is asked of it.
    #[derive(Default)]
    struct Noting {
        bytes_read: usize,
        asked: Vec<&'static str>,
    }

    impl AsyncRead for Noting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.bytes_read == 0 && buffer.remaining() > 0 {
                buffer.put_slice(b"x");
                self.bytes_read = 1;
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Noting {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.asked.push("flush");
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.asked.push("shutdown");
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_peer_that_has_left_gets_what_was_written_and_no_farewell() {
        let check = async |reads: &[usize], asked: &str| {
            let deadlines = HttpDeadlines::new(Arc::new(Limits::default()));
            let stream = Noting::default();
            let mut reporting = Reporting { stream, deadlines, ended: Ended::default(), _permit: () };
            for room in reads {
                let read = reporting.read(&mut vec![0; *room]).await;
                assert!(read.is_ok(), "{read:?}");
            }
            reporting.shutdown().await.unwrap();
            assert_eq!(reporting.stream.asked, [asked], "{reads:?}");
        };
        check(&[], "shutdown").await;
        check(&[0], "shutdown").await; // no room to read into is no end
        check(&[1], "shutdown").await;
        check(&[1, 1], "flush").await;
    }
}
