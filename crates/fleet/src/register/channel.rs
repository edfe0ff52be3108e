//! The conversation, which is the same over every transport.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use model::{OperationId, RegistrationId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Registered;
use super::answer::{Answer, Step};
use crate::failure::{RegisterError, TransportError};

/// One device's way to the endpoint.
pub(super) trait Channel {
    /// Asks to be registered.
    fn register(&mut self, body: Bytes) -> impl Future<Output = Result<Answer, TransportError>> + Send;

    /// Asks how that went.
    fn poll(
        &mut self,
        operation_id: &OperationId,
    ) -> impl Future<Output = Result<Answer, TransportError>> + Send;
}

/// Registers, and waits until the device is assigned or there is no more hope.
pub(super) async fn converse(
    channel: &mut (impl Channel + Send),
    registration_id: &RegistrationId,
    payload: Option<&Value>,
) -> Result<Registered, RegisterError> {
    let body = match payload {
        Some(payload) => json!({"registrationId": registration_id, "payload": payload}),
        None => json!({"registrationId": registration_id}),
    };
    let conversation = until_assigned(channel, Bytes::from(body.to_string()));
    timeout(PATIENCE, conversation).await.unwrap_or(Err(RegisterError::StillAssigning(PATIENCE)))
}

async fn until_assigned(
    channel: &mut (impl Channel + Send),
    body: Bytes,
) -> Result<Registered, RegisterError> {
    let started = Instant::now();
    let mut operation = None;
    let mut round_trips = 0;
    loop {
        let answer = match &operation {
            Some(operation_id) => channel.poll(operation_id).await?,
            None => channel.register(body.clone()).await?,
        };
        round_trips += 1;
        let wait = match answer.step()? {
            Step::Assigned { hub, device_id, state } => {
                let time_to_assigned = started.elapsed();
                return Ok(Registered { hub, device_id, state, round_trips, time_to_assigned });
            }
            Step::Poll { operation_id, after } => {
                operation = Some(operation_id);
                after
            }
            Step::Repeat { after } => after,
        };
        sleep(wait).await;
    }
}

/// How long a device waits for its assignment. The hosted service takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
