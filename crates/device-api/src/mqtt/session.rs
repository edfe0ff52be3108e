//! One device connected over MQTT.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use net::{
    Transport,
    mqtt::{Close, MqttSession, Outbox},
};
use wire::mqtt::{Publish, QoS, SubscribeReturn};

use super::topic::{self, Request};
use crate::{
    DeviceApi,
    call::{Answer, Caller},
    error::{CallError, Concerning},
    messages::{Waiting, json},
};

pub(super) struct Session {
    device: Arc<Device>,
    waiting: Waiting,
}

/// What the tasks that answer requests share.
pub(super) struct Device {
    pub(super) api: DeviceApi,
    pub(super) transport: Transport,
    /// Who calls, or what every request is answered with.
    pub(super) caller: Result<Caller, CallError>,
    pub(super) concerning: Concerning,
    pub(super) outbox: Outbox,
    /// Replies are held back for so long.
    pub(super) delay: Duration,
}

impl Session {
    pub(super) fn new(device: Device) -> Self {
        Session { device: Arc::new(device), waiting: Waiting::default() }
    }
}

#[async_trait]
impl MqttSession for Session {
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn> {
        let verdict = |(filter, qos): &(String, QoS)| match qos {
            _ if filter != topic::RESPONSES => SubscribeReturn::Failure,
            QoS::AtMostOnce => SubscribeReturn::Granted(QoS::AtMostOnce),
            QoS::AtLeastOnce | QoS::ExactlyOnce => SubscribeReturn::Granted(QoS::AtLeastOnce),
        };
        filters.iter().map(verdict).collect()
    }

    async fn unsubscribe(&mut self, _filters: &[String]) {
        // Replies come whether or not they were subscribed to: a client that publishes wants its reply.
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Close> {
        if publish.retain {
            return Err(Close::because("a retained message"));
        }
        let Some(request) = Request::parse(&publish.topic) else {
            return Err(Close::because("a topic that is not of the device API"));
        };
        let device = Arc::clone(&self.device);
        let Some(place) = self.waiting.place() else {
            return Err(Close::because("more requests at once than a device sends"));
        };
        tokio::spawn(async move {
            device.answer(request, &publish.payload).await;
            drop(place);
        });
        Ok(())
    }

    fn busy(&self) -> bool {
        self.waiting.any()
    }
}

impl Device {
    async fn answer(&self, request: Request, body: &Bytes) {
        let reply = self.api.call(&self.caller, request.verb, body).await;
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let (topic, body) = self.reply(&request.id, reply);
        // An error means that the device is gone; it will ask again.
        let _ = self.outbox.publish(topic, body, QoS::AtLeastOnce, 0).await;
    }

    fn reply(&self, request_id: &str, reply: Result<Answer, CallError>) -> (String, Bytes) {
        match reply {
            Ok(answer) => {
                let status = answer.reply.http_status();
                (topic::reply(status, request_id, answer.retry_after_secs), json(&answer.reply))
            }
            Err(call_error) => {
                let body = self.api.refusal(self.transport, &call_error, &self.concerning);
                let status = body.http_status();
                let retry_after = (status >= 429).then_some(self.api.timing.retry_after_secs);
                (topic::reply(status, request_id, retry_after), json(&body))
            }
        }
    }
}
