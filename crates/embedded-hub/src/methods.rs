//! Direct methods: a call goes to the device, its reply comes back to whoever called.

use std::sync::Arc;
use std::time::Duration;

use model::DeviceId;
use net::mqtt::OutboxError;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout, timeout_at};
use wire::{
    hub::{MethodCall, MethodReply},
    topics::DeviceFilter,
};

use crate::{connections::Live, device_link::Unsent, failure::HubFailure, hub::Hub};

/// Largest payload of a call (IoT Hub documentation).
const MAX_PAYLOAD_BYTES: usize = 128 * 1024;
/// Longest name; it travels in a topic.
const MAX_NAME_BYTES: usize = 1024;
/// How long a caller may wait for the reply, in seconds.
const RESPONSE_SECS: std::ops::RangeInclusive<u64> = 5..=300;
/// How long a caller waits that does not say.
const DEFAULT_RESPONSE_SECS: u64 = 30;
/// How long a caller may wait for the device to come, in seconds.
const MAX_CONNECT_SECS: u64 = 300;

impl Hub {
    /// Calls a method of a device and waits for the reply.
    pub async fn call_method(&self, id: &DeviceId, call: MethodCall) -> Result<MethodReply, HubFailure> {
        let call = Call::new(call)?;
        if self.core.storage.read(|rows| rows.identity(id))?.is_none() {
            return Err(HubFailure::Unknown(id.to_string()));
        }
        let live = self
            .listening_device(id, call.connect)
            .await
            .ok_or_else(|| HubFailure::Offline(id.to_string()))?;
        let (request, replied) = live.begin_call().ok_or_else(|| HubFailure::TooMany(id.to_string()))?;
        // Ends the call also when the caller goes away while it waits.
        let _ending = Ending { live: &live, request };
        live.line.call(request, &call.name, call.payload).map_err(|unsent| match unsent {
            Unsent::NotSubscribed | Unsent::Outbox(OutboxError::Closed) => {
                HubFailure::Offline(id.to_string())
            }
            Unsent::Outbox(OutboxError::Full) => HubFailure::TooMany(id.to_string()),
        })?;
        match timeout(call.response, replied).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(HubFailure::Offline(id.to_string())),
            Err(_) => Err(HubFailure::TimedOut(id.to_string())),
        }
    }

    /// The device's connection once it listens for methods; `None` when it does not in time.
    async fn listening_device(&self, id: &DeviceId, patience: Duration) -> Option<Arc<Live>> {
        let deadline = Instant::now() + patience;
        loop {
            // Before looking, or a subscription made in between would go unnoticed.
            let listening = self.core.connections.listening.notified();
            let mut listening = std::pin::pin!(listening);
            listening.as_mut().enable();
            let live = self.core.connections.of(id).filter(|live| live.listens_to(DeviceFilter::Methods));
            if live.is_some() {
                return live;
            }
            timeout_at(deadline, listening).await.ok()?;
        }
    }
}

impl Live {
    /// The device replied: JSON, nothing, or text that it forgot to quote.
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

/// A checked call.
struct Call {
    name: String,
    payload: Vec<u8>,
    response: Duration,
    connect: Duration,
}

impl Call {
    fn new(call: MethodCall) -> Result<Call, HubFailure> {
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
        // As it was sent: numbers beyond 64 bits are the device's business.
        let payload = call.payload.map_or_else(Vec::new, |payload| payload.get().as_bytes().to_vec());
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(HubFailure::TooLarge(MAX_PAYLOAD_BYTES));
        }
        Ok(Call {
            name,
            payload,
            response: Duration::from_secs(response),
            connect: Duration::from_secs(connect),
        })
    }
}

/// Forgets a call when it is dropped.
struct Ending<'a> {
    live: &'a Live,
    request: u64,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.live.end_call(self.request, None);
    }
}
