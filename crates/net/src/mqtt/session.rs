//! What an MQTT server implements.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use codec::mqtt::{Connect, ConnectReturnCode, Publish, QoS, SubscribeReturn};

use super::outbox::Outbox;
use crate::peer::Peer;

/// Decides who may connect.
#[async_trait]
pub trait MqttEndpoint: Send + Sync + 'static {
    /// Decides on a CONNECT. The outbox reaches this client as long as it is connected. An `Err` is sent as
    /// CONNACK, then the connection is closed.
    async fn connect(
        &self,
        peer: &Peer,
        connect: Connect,
        outbox: Outbox,
    ) -> Result<Box<dyn MqttSession>, ConnectRefusal>;
}

/// Why a client is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRefusal {
    /// What the client is sent in its CONNACK.
    pub code: ConnectReturnCode,
    /// Why, for the log and for observers of refusals; `None` when the endpoint has said so where it judged the client.
    pub reason: Option<Cow<'static, str>>,
}

impl ConnectRefusal {
    /// A refusal with a reason that the driver logs and reports.
    pub fn because(code: ConnectReturnCode, reason: impl Into<Cow<'static, str>>) -> ConnectRefusal {
        ConnectRefusal { code, reason: Some(reason.into()) }
    }
}

impl fmt::Display for ConnectRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => f.write_str(reason),
            None => write!(f, "{:?}", self.code),
        }
    }
}

/// One connected client. The methods are called one at a time, in the order of the client's packets; while
/// one runs, nothing is read from or written to the client, so they should return quickly.
#[async_trait]
pub trait MqttSession: Send {
    /// One verdict for each filter, in the same order.
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn>;

    /// The client wants no more of these. It is acknowledged in any case.
    async fn unsubscribe(&mut self, filters: &[String]);

    /// A message of QoS 0 or 1 came in. With QoS 1 the PUBACK is sent after this returns, and before any
    /// message that this call puts into the outbox. An `Err` closes the connection without acknowledging.
    async fn publish(&mut self, publish: Publish) -> Result<(), Close>;

    /// The client acknowledged the QoS 1 message that was put into the outbox with this token.
    async fn acknowledged(&mut self, token: u64) {
        let _ = token;
    }

    /// Whether the client finds the session here that it left: its subscriptions, and what it has not acknowledged.
    fn is_resumed(&self) -> bool {
        false
    }

    /// Whether the client can show now who it is: it is about to send more than an unproven client may.
    async fn prove(&mut self) -> bool {
        false
    }

    /// Whether a reply is still owed to the client; a graceful shutdown waits for it, up to the grace period.
    fn busy(&self) -> bool {
        false
    }

    /// The connection is over, for whatever reason. Called exactly once, last.
    async fn closed(&mut self) {}
}

/// Why a connection is closed; for the log only, MQTT 3.1.1 cannot tell the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The reason.
    pub reason: Cow<'static, str>,
    /// Whether the client sent what it must not: that counts and is reported as a refusal.
    pub is_violation: bool,
}

impl Close {
    /// Closing because of `reason`, which is not the client's fault.
    pub fn because(reason: impl Into<Cow<'static, str>>) -> Close {
        Close { reason: reason.into(), is_violation: false }
    }

    /// Closing because the client sent what it must not.
    pub fn violation(reason: impl Into<Cow<'static, str>>) -> Close {
        Close { reason: reason.into(), is_violation: true }
    }
}
