//! What a handler leaves of a request's body.
//!
//! hyper closes the connection after a response when some of the request is still to come, which is so whenever a
//! handler refuses by the header alone and the client writes header and body one after the other. Device SDKs keep
//! their connection and are lost when it closes, so the rest is read here and thrown away.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::deadlines::HttpDeadlines;

/// How much is read to keep a connection: several of the largest bodies that the APIs take. More than that, and the
/// connection is closed after all.
const MAX_DISCARDED_BYTES: usize = 512 * 1024;

/// The body as the handler gets it.
pub(crate) struct Lent {
    body: Option<Incoming>,
    leftover: Option<Leftover>,
    deadlines: Arc<HttpDeadlines>,
}

/// Where a [`Lent`] body goes when its handler is done with it.
#[derive(Clone, Default)]
pub(crate) struct Leftover(Arc<Mutex<Option<Incoming>>>);

/// Lends the body of `request` out; the [`Leftover`] is to be discarded before the response is given to hyper. A body has a
/// deadline of its own: a request may take much longer than what the client still has to send.
pub(crate) fn lend(
    request: Request<Incoming>,
    deadlines: &Arc<HttpDeadlines>,
) -> (Request<Lent>, Option<Leftover>) {
    let leftover = (!request.body().is_end_stream()).then(Leftover::default);
    if leftover.is_some() {
        deadlines.body();
    }
    let (lent, deadlines) = (leftover.clone(), Arc::clone(deadlines));
    (request.map(|body| Lent { body: Some(body), leftover: lent, deadlines }), leftover)
}

impl Leftover {
    /// Reads what is left. How long that may take is the connection's concern.
    pub(crate) async fn discard(self) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = taken else { return };
        let mut discarded = 0usize;
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            discarded = discarded.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if discarded > MAX_DISCARDED_BYTES {
                return;
            }
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(&mut *body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || (frame.is_ready() && body.is_end_stream()) {
            self.deadlines.request();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(Leftover(slot)) = self.leftover.take() {
            self.deadlines.request();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}
