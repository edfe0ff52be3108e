//! One device connected over MQTT.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use codec::mqtt::{Publish, QoS, SubscribeReturn, Subscriptions};
use net::{
    Transport,
    mqtt::{Close, MqttSession, Outbox},
};
use serde::Serialize;
use wire::{
    ascii_json,
    topics::{RegistrationReplies, RegistrationReply, RegistrationRequest},
};

use crate::{
    DeviceApi,
    call::{Answer, Caller},
    error::{CallError, ErrorContext},
    messages::{RequestLimiter, json},
};

pub(super) struct Session {
    device: Arc<Device>,
    requests: RequestLimiter,
}

/// The state that the tasks of a connection's requests share.
pub(super) struct Device {
    pub(super) api: DeviceApi,
    pub(super) transport: Transport,
    /// The caller, or the error that every request gets.
    pub(super) caller: Result<Caller, CallError>,
    pub(super) context: ErrorContext,
    pub(super) outbox: Outbox,
    /// How long replies are delayed.
    pub(super) delay: Duration,
    pub(super) subscriptions: Mutex<Subscriptions>,
}

impl Session {
    pub(super) fn new(device: Device) -> Self {
        Session { device: Arc::new(device), requests: RequestLimiter::default() }
    }
}

#[async_trait]
impl MqttSession for Session {
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn> {
        let mut subscriptions = self.device.subscriptions();
        let verdict = |(filter, qos): &(String, QoS)| match RegistrationReplies::is_filter(filter) {
            true => subscriptions.subscribe(filter, *qos),
            false => SubscribeReturn::Failure,
        };
        filters.iter().map(verdict).collect()
    }

    async fn unsubscribe(&mut self, filters: &[String]) {
        let mut subscriptions = self.device.subscriptions();
        filters.iter().for_each(|filter| subscriptions.unsubscribe(filter));
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Close> {
        if publish.retain {
            return Err(Close::violation("a retained message"));
        }
        let Some(request) = RegistrationRequest::parse(&publish.topic) else {
            return Err(Close::violation("a topic that is not of the device API"));
        };
        let device = Arc::clone(&self.device);
        let Some(permit) = self.requests.try_acquire() else {
            return Err(Close::violation("more requests at once than a device sends"));
        };
        tokio::spawn(async move {
            device.answer(request, &publish.payload).await;
            drop(permit);
        });
        Ok(())
    }

    async fn prove(&mut self) -> bool {
        let device = &self.device;
        let proof = match &device.caller {
            Ok(caller) => device.api.prove(caller).await,
            Err(error) => Err(error.clone()),
        };
        match proof {
            Ok(()) => true,
            Err(error) => {
                device.api.refusal(device.transport, &error, &device.context).await;
                false
            }
        }
    }

    fn busy(&self) -> bool {
        self.requests.is_busy()
    }
}

impl Device {
    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: RegistrationRequest, body: &Bytes) {
        let reply = self.api.call(&self.caller, request.operation, body).await;
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let (topic, body) = self.reply(&request.request_id, reply).await;
        // A reply is sent also without a subscription, since a client that publishes a request wants it, but never above the
        // granted QoS (MQTT-3.8.4-6): some clients drop such a message.
        let qos = self.subscriptions().qos_of(&topic).unwrap_or(QoS::AtMostOnce);
        // An error means that the device has disconnected; it will ask again.
        let _ = self.outbox.publish(topic, body, qos, 0).await;
    }

    async fn reply(&self, request_id: &str, reply: Result<Answer, CallError>) -> (String, Bytes) {
        let topic = |status, retry_after_secs: Option<u32>| {
            let retry_after_secs = retry_after_secs.map(u64::from);
            RegistrationReply { status, request_id, retry_after_secs }.topic()
        };
        match reply {
            Ok(answer) => (topic(answer.reply.http_status(), answer.retry_after_secs), ascii(&answer.reply)),
            Err(call_error) => {
                let body = self.api.refusal(self.transport, &call_error, &self.context).await;
                let status = body.http_status();
                let retry_after =
                    (status >= 429).then_some(call_error.retry_after_secs(self.api.timing.retry_after_secs));
                (topic(status, retry_after), ascii(&body))
            }
        }
    }
}

/// Encodes a body as ASCII, which is how MQTT clients decode it.
fn ascii(body: &impl Serialize) -> Bytes {
    ascii_json(json(body).into()).into()
}
