//! What MQTT and AMQP have in common: requests come as messages, and are answered in tasks of their own.

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

/// Requests of one connection that may wait for their replies. Devices send one at a time.
const MAX_REQUESTS: usize = 4;

impl DeviceApi {
    /// Does what a message asks for. `caller` is who calls, or what every one of its requests is answered with.
    pub(crate) async fn call(
        &self,
        caller: &Result<Caller, CallError>,
        operation: RegistrationOperation,
        body: &[u8],
    ) -> Result<Answer, CallError> {
        let caller = caller.as_ref().map_err(CallError::clone)?;
        let answer = self.answer_to(caller, operation, body).await;
        // Over HTTPS the status shows it.
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

/// The requests of one connection that wait for their replies. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

/// One request's place, given back when it is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Waiting {
    /// A place for one more, unless there are enough.
    pub(crate) fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.0));
        (self.0.fetch_add(1, Ordering::Relaxed) < MAX_REQUESTS).then_some(place)
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a reply.
pub(crate) fn json(body: &impl Serialize) -> Bytes {
    // Replies are plain structs, which always serialise.
    serde_json::to_vec(body).unwrap_or_default().into()
}
