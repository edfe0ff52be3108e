//! What an MQTT server implements.

use std::{borrow::Cow, fmt};

use async_trait::async_trait;
use codec::mqtt::{Connect, ConnectReturnCode, Publish, QoS, SubscribeReturn};

use crate::peer::Peer;

use super::outbox::Outbox;

/// Decides which clients may connect.
#[async_trait]
pub trait MqttEndpoint: Send + Sync + 'static {
    /// Decides on a CONNECT. The outbox reaches the client as long as it is connected. An `Err` is sent as CONNACK, then the
    /// connection is closed.
    async fn connect(
        &self,
        peer: &Peer,
        connect: Connect,
        outbox: Outbox,
    ) -> Result<Box<dyn MqttSession>, ConnectRefusal>;
}

/// Why a client is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRefusal {
    /// The return code in the CONNACK.
    pub code: ConnectReturnCode,
    /// The reason, for the log and for observers of refusals; `None` if the endpoint has reported it where it judged the client.
    pub reason: Option<Cow<'static, str>>,
}

impl ConnectRefusal {
    /// Creates a refusal with a reason that the driver logs and reports.
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

/// One connected client. The methods are called one at a time, in the order of the client's packets; while one runs, nothing is
/// read from or written to the client, so they should return quickly.
#[async_trait]
pub trait MqttSession: Send {
    /// Subscribes; returns a return code for each filter, in the same order.
    async fn subscribe(&mut self, filters: &[(String, QoS)]) -> Vec<SubscribeReturn>;

    /// Unsubscribes. The driver acknowledges it in any case.
    async fn unsubscribe(&mut self, filters: &[String]);

    /// Handles a message of QoS 0 or 1. With QoS 1 the PUBACK is sent after this returns, and before any message that this call puts
    /// into the outbox. An `Err` closes the connection without acknowledging.
    async fn publish(&mut self, publish: Publish) -> Result<(), Close>;

    /// Handles the PUBACK of the QoS 1 message that was put into the outbox with this token.
    async fn acknowledged(&mut self, token: u64) {
        let _ = token;
    }

    /// Returns whether the session continues a stored one (session present in the CONNACK, MQTT 3.1.1 §3.2.2.2).
    fn is_resumed(&self) -> bool {
        false
    }

    /// Returns whether the client can prove who it is now: it is about to send more than an unproven client may.
    async fn prove(&mut self) -> bool {
        false
    }

    /// Returns whether the client is still owed a reply; a graceful shutdown waits for it, up to the grace period.
    fn busy(&self) -> bool {
        false
    }

    /// Handles the end of the connection, for whatever reason. Called exactly once, last.
    async fn closed(&mut self) {}
}

/// Why a connection is closed; for the log only, since MQTT 3.1.1 has no packet for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The reason.
    pub reason: Cow<'static, str>,
    /// Whether the client violated the protocol, which is counted and reported as a refusal.
    pub is_violation: bool,
}

impl Close {
    /// Creates a reason that is not the client's fault.
    pub fn because(reason: impl Into<Cow<'static, str>>) -> Close {
        Close { reason: reason.into(), is_violation: false }
    }

    /// Creates a reason for a violation by the client.
    pub fn violation(reason: impl Into<Cow<'static, str>>) -> Close {
        Close { reason: reason.into(), is_violation: true }
    }
}
