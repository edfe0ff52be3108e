//! Direct methods: a call is sent to the device, and its reply returned to the caller.

use std::{sync::Arc, time::Duration};

use model::DeviceId;
use net::mqtt::OutboxError;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout, timeout_at};
use wire::{
    hub::{MethodCall, MethodReply},
    topics::DeviceFilter,
};

use crate::{
    connections::{LiveConnection, SendError},
    failure::HubFailure,
    hub::Hub,
};

/// Largest payload of a call (IoT Hub documentation).
const MAX_PAYLOAD_BYTES: usize = 128 * 1024;
/// Bytes of a name, which is part of a topic.
const MAX_NAME_BYTES: usize = 1024;
/// How long a caller may wait for the reply, in seconds.
const RESPONSE_SECS: std::ops::RangeInclusive<u64> = 5..=300;
/// How long a caller waits by default, in seconds.
const DEFAULT_RESPONSE_SECS: u64 = 30;
/// How long a caller may wait for the device to connect, in seconds.
const MAX_CONNECT_SECS: u64 = 300;

impl Hub {
    /// Calls a method of a device and waits for the reply.
    pub async fn call_method(&self, id: &DeviceId, call: MethodCall) -> Result<MethodReply, HubFailure> {
        let call = ValidCall::new(call)?;
        if self.core.storage.read(|rows| rows.identity(id))?.is_none() {
            return Err(HubFailure::Unknown(id.to_string()));
        }
        let live = self
            .subscribed_device(id, call.connect)
            .await
            .ok_or_else(|| HubFailure::Offline(id.to_string()))?;
        let (request, receiver) = live.begin_call().ok_or_else(|| HubFailure::TooMany(id.to_string()))?;
        // Ends the call also if the caller is canceled.
        let _pending = PendingCall { live: &live, request };
        live.link.call(request, &call.name, call.payload).map_err(|error| match error {
            SendError::NotSubscribed | SendError::Outbox(OutboxError::Closed) => {
                HubFailure::Offline(id.to_string())
            }
            SendError::Outbox(OutboxError::Full) => HubFailure::TooMany(id.to_string()),
        })?;
        match timeout(call.response, receiver).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(HubFailure::Offline(id.to_string())),
            Err(_) => Err(HubFailure::TimedOut(id.to_string())),
        }
    }

    /// Waits until the device is subscribed to methods; returns `None` if that takes longer than `max_wait`.
    async fn subscribed_device(&self, id: &DeviceId, max_wait: Duration) -> Option<Arc<LiveConnection>> {
        let deadline = Instant::now() + max_wait;
        loop {
            // Registered before the check, or a subscription in between would be missed.
            let methods_subscribed = self.core.connections.methods_subscribed.notified();
            let mut methods_subscribed = std::pin::pin!(methods_subscribed);
            methods_subscribed.as_mut().enable();
            let live =
                self.core.connections.of(id).filter(|live| live.is_subscribed_to(DeviceFilter::Methods));
            if live.is_some() {
                return live;
            }
            timeout_at(deadline, methods_subscribed).await.ok()?;
        }
    }
}

impl LiveConnection {
    /// Completes a call with the reply of the device: JSON, nothing, or text without quotes.
    pub(crate) fn reply(&self, request: u64, status: i32, payload: &[u8]) {
        let text = || to_raw_value(&String::from_utf8_lossy(payload)).unwrap_or_default();
        let payload = if payload.is_empty() {
            RawValue::NULL.to_owned()
        } else {
            serde_json::from_slice(payload).unwrap_or_else(|_| text())
        };
        self.end_call(request, Some(MethodReply { status, payload }));
    }
}

/// A call within the limits.
struct ValidCall {
    name: String,
    payload: Vec<u8>,
    response: Duration,
    connect: Duration,
}

impl ValidCall {
    fn new(call: MethodCall) -> Result<ValidCall, HubFailure> {
        let invalid = |text: &str| Err(HubFailure::Invalid(text.to_owned()));
        let name = call.method_name;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            return invalid("methodName must be 1 to 1024 bytes without control characters");
        }
        let response = call.response_timeout_in_seconds.unwrap_or(DEFAULT_RESPONSE_SECS);
        if !RESPONSE_SECS.contains(&response) {
            return invalid("responseTimeoutInSeconds must be 5 to 300");
        }
        let connect = call.connect_timeout_in_seconds.unwrap_or(0);
        if connect > MAX_CONNECT_SECS {
            return invalid("connectTimeoutInSeconds must be 0 to 300");
        }
        // Unchanged: numbers beyond 64 bits are passed to the device.
        let payload = call.payload.map_or_else(Vec::new, |payload| payload.get().as_bytes().to_vec());
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(HubFailure::TooLarge(MAX_PAYLOAD_BYTES));
        }
        Ok(ValidCall {
            name,
            payload,
            response: Duration::from_secs(response),
            connect: Duration::from_secs(connect),
        })
    }
}

/// Ends a call on drop.
struct PendingCall<'a> {
    live: &'a LiveConnection,
    request: u64,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        self.live.end_call(self.request, None);
    }
}
