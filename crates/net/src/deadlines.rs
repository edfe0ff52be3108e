//! Deadlines of an HTTP connection: which phase it is in, and until when.
//!
//! hyper has one timeout for "no complete header yet", which cannot distinguish a kept idle connection (minutes are fine) from a
//! header that arrives byte by byte (seconds are not). So the byte stream and the handler report the phase here, and the
//! connection's task watches the deadline. The timer is only touched when a deadline moves nearer.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use crate::limits::Limits;

/// The deadline of one connection, shared by its stream, its handler and its task.
#[derive(Debug)]
pub(crate) struct HttpDeadlines {
    limits: Arc<Limits>,
    created: Instant,
    /// Deadline in milliseconds since `created`, and the phase in the two lowest bits.
    state: AtomicU64,
}

/// The connection outlived the deadline of this phase.
#[derive(Debug)]
pub(crate) struct DeadlineExpired(pub(crate) Phase);

impl HttpDeadlines {
    /// Begins with the deadline of the first request's header.
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<HttpDeadlines> {
        let deadlines = HttpDeadlines { limits, created: Instant::now(), state: AtomicU64::new(0) };
        deadlines.set(deadlines.limits.header_timeout, Phase::Receiving);
        Arc::new(deadlines)
    }

    /// Notes that header and body are complete; the answer is due.
    pub(crate) fn begin_request(&self) {
        self.set(self.limits.request_timeout, Phase::Answering);
    }

    /// Notes that a header is complete; the body is due.
    pub(crate) fn begin_body(&self) {
        self.set(self.limits.packet_timeout.min(self.limits.request_timeout), Phase::Receiving);
    }

    /// Notes that a response is being sent; the connection may be idle after it.
    pub(crate) fn begin_response(&self) {
        self.set(self.limits.http_idle_timeout, Phase::Idle);
    }

    /// Notes that bytes arrived: after idle time, they begin a header.
    fn mark_received(&self) {
        if self.phase() == Phase::Idle {
            self.set(self.limits.header_timeout, Phase::Receiving);
        }
    }

    fn set(&self, after: Duration, phase: Phase) {
        let deadline = (self.created.elapsed() + after).as_millis() as u64;
        self.state.store(deadline << 2 | phase as u64, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        let phase = self.state.load(Ordering::Relaxed) & 0b11;
        [Phase::Idle, Phase::Answering].into_iter().find(|it| *it as u64 == phase).unwrap_or(Phase::Receiving)
    }

    fn deadline(&self) -> Instant {
        self.created + Duration::from_millis(self.state.load(Ordering::Relaxed) >> 2)
    }

    /// Runs `connection` until it ends or a deadline passes.
    pub(crate) async fn watch<F: Future>(
        &self,
        mut connection: Pin<&mut F>,
    ) -> Result<F::Output, DeadlineExpired> {
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
                    return Poll::Ready(Err(DeadlineExpired(self.phase())));
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

/// A stream that reports arriving bytes, and holds the permit: an upgraded connection outlives its HTTP task.
pub(crate) struct HttpStream<S, P> {
    pub(crate) stream: S,
    pub(crate) deadlines: Arc<HttpDeadlines>,
    /// Whether the peer has closed its direction.
    pub(crate) peer_closed: bool,
    pub(crate) _permit: P,
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for HttpStream<S, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.deadlines.mark_received();
        } else if matches!(read, Poll::Ready(Ok(()))) && buffer.remaining() > 0 {
            self.peer_closed = true;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for HttpStream<S, P> {
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

    /// Does not send a TLS close to a peer that has closed: writing to a closed socket costs as much as a reply. The peer may have
    /// closed one direction only, so what was written before is flushed.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.peer_closed {
            return Pin::new(&mut self.stream).poll_flush(context);
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A stream whose peer sends one byte and closes; it records the calls.
    #[derive(Default)]
    struct Recorder {
        bytes_read: usize,
        calls: Vec<&'static str>,
    }

    impl AsyncRead for Recorder {
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

    impl AsyncWrite for Recorder {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.calls.push("flush");
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.calls.push("shutdown");
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_peer_that_has_closed_is_flushed_to_and_not_shut_down() {
        let check = async |reads: &[usize], expected: &str| {
            let deadlines = HttpDeadlines::new(Arc::new(Limits::default()));
            let stream = Recorder::default();
            let mut http = HttpStream { stream, deadlines, peer_closed: false, _permit: () };
            for size in reads {
                let read = http.read(&mut vec![0; *size]).await;
                assert!(read.is_ok(), "{read:?}");
            }
            http.shutdown().await.unwrap();
            assert_eq!(http.stream.calls, [expected], "{reads:?}");
        };
        check(&[], "shutdown").await;
        check(&[0], "shutdown").await; // an empty buffer is not the end
        check(&[1], "shutdown").await;
        check(&[1, 1], "flush").await;
    }
}
