//! Requests over MQTT and AMQP, which arrive as messages and are answered in tasks of their own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use provisioning::{Error, RecordKind};
use serde::Serialize;
use wire::{MAX_BODY_BYTES, device::RegistrationOperation};

use crate::{
    DeviceApi,
    call::{Answer, Caller},
    error::CallError,
};

/// Requests in progress of one connection. Devices send one at a time.
const MAX_REQUESTS: usize = 4;

impl DeviceApi {
    /// Executes the call in a message. `caller` may be the error that every request of the connection gets.
    pub(crate) async fn call(
        &self,
        caller: &Result<Caller, CallError>,
        operation: RegistrationOperation,
        body: &[u8],
    ) -> Result<Answer, CallError> {
        let caller = caller.as_ref().map_err(CallError::clone)?;
        let answer = self.answer_to(caller, operation, body).await;
        // Over HTTPS, `net` sees the status itself.
        if answer.as_ref().is_err_and(CallError::is_unauthorized) {
            caller.standing.pace_refusal().await;
        }
        answer
    }

    async fn answer_to(
        &self,
        caller: &Caller,
        operation: RegistrationOperation,
        body: &[u8],
    ) -> Result<Answer, CallError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(CallError::TooLarge);
        }
        match operation {
            RegistrationOperation::Register => self.register(caller, body).await,
            RegistrationOperation::Poll(Some(operation_id)) => self.poll(caller, &operation_id).await,
            RegistrationOperation::Poll(None) => Err(Error::NotFound(RecordKind::Operation).into()),
        }
    }
}

/// Limits the requests in progress of one connection. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct RequestLimiter(Arc<AtomicUsize>);

/// The permit of one request, given back when it is dropped.
pub(crate) struct RequestPermit(Arc<AtomicUsize>);

impl RequestLimiter {
    /// Takes a permit; `None` at the limit.
    pub(crate) fn try_acquire(&self) -> Option<RequestPermit> {
        let permit = RequestPermit(Arc::clone(&self.0));
        (self.0.fetch_add(1, Ordering::Relaxed) < MAX_REQUESTS).then_some(permit)
    }

    /// Whether requests are in progress.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Encodes the body of a reply.
pub(crate) fn json(body: &impl Serialize) -> Bytes {
    // Replies are plain structs, which always serialize.
    serde_json::to_vec(body).unwrap_or_default().into()
}
