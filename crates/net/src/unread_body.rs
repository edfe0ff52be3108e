//! The part of a request's body that its handler did not read.
//!
//! hyper closes the connection after a response if the request has not arrived completely, which happens whenever a handler
//! refuses by the header alone and the client writes header and body one after the other. Device SDKs keep their connection and
//! fail when it closes, so the rest is read here and discarded.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::deadlines::HttpDeadlines;

/// Bytes that are discarded to keep a connection: several of the largest bodies that the APIs accept. After more than that the
/// connection is closed.
const MAX_DISCARDED_BYTES: usize = 512 * 1024;

/// The body that the handler reads.
pub(crate) struct RequestBody {
    body: Option<Incoming>,
    unread_body: Option<UnreadBody>,
    deadlines: Arc<HttpDeadlines>,
}

/// Where a [`RequestBody`] is put when its handler drops it.
#[derive(Clone, Default)]
pub(crate) struct UnreadBody(Arc<Mutex<Option<Incoming>>>);

/// Wraps the body of `request`; the [`UnreadBody`] is to be discarded before the response is passed to hyper. A body has a deadline
/// of its own: a request may take much longer than the rest of its body.
pub(crate) fn wrap_body(
    request: Request<Incoming>,
    deadlines: &Arc<HttpDeadlines>,
) -> (Request<RequestBody>, Option<UnreadBody>) {
    let unread_body = (!request.body().is_end_stream()).then(UnreadBody::default);
    if unread_body.is_some() {
        deadlines.begin_body();
    }
    let (slot, deadlines) = (unread_body.clone(), Arc::clone(deadlines));
    (request.map(|body| RequestBody { body: Some(body), unread_body: slot, deadlines }), unread_body)
}

impl UnreadBody {
    /// Reads the rest. The deadline of the connection bounds the time.
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

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(&mut *body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || (frame.is_ready() && body.is_end_stream()) {
            self.deadlines.begin_request();
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

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(UnreadBody(slot)) = self.unread_body.take() {
            self.deadlines.begin_request();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}
