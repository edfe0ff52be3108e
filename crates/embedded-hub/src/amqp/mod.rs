//! The device endpoint over AMQP 1.0: links for telemetry, messages, the twin and methods, each authorized by a token
//! put to `$cbs` (claims-based security), by SASL PLAIN, or by the TLS certificate.
//!
//! A connection may have several devices, as gateways use it. Each is one live connection of the hub, like one over MQTT; it begins
//! with the device's first link and ends with its last.

mod connection;
mod device_link;
mod link_role;
mod message;
mod sasl_plain;
mod tokens;
mod twin;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use codec::amqp::{AmqpError, SaslCode, SaslInit};
use model::DeviceId;
use net::{
    AmqpLimits, Peer, Purpose,
    amqp::{AmqpConnection, AmqpEndpoint, SaslStep},
};

use crate::{
    auth::{AdmissionError, Proof},
    hub::Hub,
    messages::MAX_TELEMETRY_BYTES,
};

use connection::DeviceConnection;

/// Accepts AMQP connections of devices.
struct DeviceEndpoint {
    hub: Hub,
}

impl Hub {
    /// Returns the endpoint for devices over AMQP, to be served by [`net::serve_amqp`] or [`crate::serve()`].
    pub fn amqp(&self) -> Arc<dyn AmqpEndpoint> {
        Arc::new(DeviceEndpoint { hub: self.clone() })
    }
}

/// Returns `given` with the limits that a hub's AMQP connections need: for large telemetry, and for the links and messages of a few
/// devices.
pub fn limits(given: &AmqpLimits) -> AmqpLimits {
    AmqpLimits {
        max_message: MAX_TELEMETRY_BYTES + PROPERTY_BYTES,
        links: u32::try_from(MAX_DEVICES * LINKS_OF_A_DEVICE + LINKS_FOR_TOKENS).unwrap_or(u32::MAX),
        outbox: MAX_DEVICES * MESSAGES_TO_A_DEVICE,
        unsettled: MAX_DEVICES * MESSAGES_TO_A_DEVICE,
        ..given.clone()
    }
}

/// Devices on one connection: enough for a small gateway.
const MAX_DEVICES: usize = 8;
/// Telemetry, messages, and a pair for the twin and for methods.
const LINKS_OF_A_DEVICE: usize = 6;
/// Requests and replies.
const LINKS_FOR_TOKENS: usize = 2;
/// Messages, answers and calls in the outbox for one device: as many as for an MQTT connection.
const MESSAGES_TO_A_DEVICE: usize = 32;
/// The properties and annotations of a message, beside its body.
const PROPERTY_BYTES: usize = 64 * 1024;

#[async_trait]
impl AmqpEndpoint for DeviceEndpoint {
    fn mechanisms(&self, peer: &Peer) -> Vec<&'static str> {
        let by_certificate = (!peer.certificates.is_empty()).then_some(EXTERNAL);
        by_certificate.into_iter().chain([PLAIN, ANONYMOUS, MSSBCBS]).collect()
    }

    async fn sasl(&self, peer: &Peer, init: SaslInit) -> SaslStep {
        if init.mechanism != PLAIN {
            return SaslStep::Welcome(Box::new(self.connection(peer, HashMap::new())));
        }
        let response = init.initial_response.unwrap_or_default();
        let Some(claim) = sasl_plain::Claim::read(&self.hub, &response) else {
            let reason = "PLAIN without a device of this hub, or without a token";
            return SaslStep::Refused(SaslCode::Auth, Some(reason.into()));
        };
        match self.hub.admit(&claim.id, Some(Proof::Token(&claim.token))) {
            Ok(_) => {
                peer.standing.mark_proven(Purpose::Hub);
                SaslStep::Welcome(Box::new(self.connection(peer, [(claim.id, claim.token)].into())))
            }
            Err(refusal) => {
                let code = match refusal {
                    AdmissionError::Denied(_) => SaslCode::Auth,
                    AdmissionError::Hub(_) => SaslCode::SystemTemporary,
                };
                SaslStep::Refused(code, Some(format!("device {:?}: {refusal}", claim.id.as_str()).into()))
            }
        }
    }

    async fn bare(&self, peer: &Peer) -> Result<Box<dyn AmqpConnection>, AmqpError> {
        // Devices with tokens connect without SASL, too, and put them to `$cbs`.
        Ok(Box::new(self.connection(peer, HashMap::new())))
    }
}

impl DeviceEndpoint {
    fn connection(&self, peer: &Peer, tokens: HashMap<DeviceId, String>) -> DeviceConnection {
        DeviceConnection::new(self.hub.clone(), peer, tokens)
    }
}

const ANONYMOUS: &str = "ANONYMOUS";
const EXTERNAL: &str = "EXTERNAL";
/// For clients that put their tokens to `$cbs`: the SDK for C requires this name, and uses it like ANONYMOUS.
const MSSBCBS: &str = "MSSBCBS";
const PLAIN: &str = "PLAIN";
