//! The device provisioning endpoint: turns what arrives over HTTPS, MQTT and AMQP into requests to `provisioning`, and its
//! answers into what each transport says. A transport decides nothing: it finds out which device asks for what, hands
//! over what the device presented, and writes the reply down.

mod amqp;
mod call;
mod client;
mod early;
mod error;
mod https;
mod messages;
mod mqtt;
mod retry_after;
mod tally;

use std::{sync::Arc, time::Duration};

use net::Transport;
use provisioning::{
    Provisioning,
    ports::{AssignmentRuns, Clock, Entropy},
};

use tally::Tally;
pub use tally::{Answers, Outcome};

/// The device provisioning endpoint of all service instances.
#[derive(Clone)]
pub struct DeviceApi {
    provisioning: Arc<Provisioning>,
    runs: Arc<dyn AssignmentRuns>,
    ports: Ports,
    timing: Timing,
    tally: Arc<Tally>,
}

/// What the endpoint itself needs from outside.
#[derive(Clone)]
pub struct Ports {
    /// Dates errors.
    pub clock: Arc<dyn Clock>,
    /// Makes tracking IDs.
    pub entropy: Arc<dyn Entropy>,
}

/// How long devices wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long the reply to a register is held back for the result, so that the device need not poll.
    pub answer_within: Duration,
    /// When a device is told to ask again, in seconds. Every SDK honours 2 to 5, and no other range.
    pub retry_after_secs: u32,
    /// How long replies to Java clients are held back over MQTT and AMQP: they miss what arrives before they listen for it.
    pub java_delay: Duration,
    /// What the first reply over MQTT and AMQP says.
    pub first_reply: FirstReply,
}

/// What the reply to a register call says over MQTT and AMQP. Over HTTPS, where clients read a result from it as the
/// hosted service sends one, it carries the result whenever that is there in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstReply {
    /// `assigning`, as the hosted service does; the client polls.
    Assigning,
    /// The result for clients that are known to take it, `assigning` for all others.
    #[default]
    ByClient,
    /// The result, if it is there in time.
    Result,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            answer_within: Duration::from_millis(250),
            retry_after_secs: 3,
            java_delay: Duration::from_millis(150),
            first_reply: FirstReply::default(),
        }
    }
}

impl DeviceApi {
    /// Creates the endpoint over these ports; `runs` executes the runs that requests begin.
    pub fn new(
        provisioning: Arc<Provisioning>,
        runs: Arc<dyn AssignmentRuns>,
        ports: Ports,
        timing: Timing,
    ) -> Self {
        DeviceApi { provisioning, runs, ports, timing, tally: Arc::default() }
    }

    /// The HTTPS routes.
    pub fn router(&self) -> axum::Router {
        https::router(self.clone())
    }

    /// The AMQP side, over TLS or over WebSockets.
    pub fn amqp(&self, transport: Transport) -> Arc<dyn net::amqp::AmqpEndpoint> {
        Arc::new(amqp::Endpoint::new(self.clone(), transport))
    }

    /// The MQTT side, over TLS or over WebSockets.
    pub fn mqtt(&self, transport: Transport) -> Arc<dyn net::mqtt::MqttEndpoint> {
        Arc::new(mqtt::Endpoint::new(self.clone(), transport))
    }

    /// What devices have been answered since the start, by instance: those without one first.
    pub fn answers(&self) -> Vec<Answers> {
        self.tally.answers()
    }
}
