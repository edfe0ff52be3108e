//! The device provisioning endpoint: translates calls over HTTPS, MQTT and AMQP into requests to `provisioning`, and its results
//! into replies. A transport decides nothing: it parses the address of the registration and the operation, passes the
//! evidence on, and encodes the reply.

mod amqp;
mod call;
mod client;
mod early;
mod error;
mod https;
mod messages;
mod mqtt;
mod polls;
mod retry_after;
mod tally;

use std::{sync::Arc, time::Duration};

use net::Transport;
use provisioning::{
    Provisioning,
    ports::{AssignmentRuns, Clock, Entropy},
};

pub use self::tally::{Answers, Outcome};
use self::{polls::PollLimiter, tally::Tally};

/// The device provisioning endpoint of all service instances.
#[derive(Clone)]
pub struct DeviceApi {
    provisioning: Arc<Provisioning>,
    runs: Arc<dyn AssignmentRuns>,
    ports: Ports,
    timing: Timing,
    tally: Arc<Tally>,
    polls: Arc<PollLimiter>,
}

/// The ports that the endpoint itself needs.
#[derive(Clone)]
pub struct Ports {
    /// The source of the dates in error bodies.
    pub clock: Arc<dyn Clock>,
    /// The source of tracking IDs.
    pub entropy: Arc<dyn Entropy>,
}

/// The times that devices wait.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long the reply to a register call is delayed for the result, so that the device need not poll.
    pub answer_within: Duration,
    /// The shortest Retry-After, in seconds. Every SDK honors 2 to 5, and no other range.
    pub retry_after_secs: u32,
    /// How long replies to Java clients are delayed over MQTT and AMQP: they miss messages that arrive before they listen.
    pub java_delay: Duration,
    /// The content of the reply to a register call over MQTT and AMQP.
    pub first_reply: FirstReply,
}

/// The content of the reply to a register call over MQTT and AMQP. Over HTTPS it always carries the result if that is known in
/// time: the hosted service sends one there, and clients read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstReply {
    /// `assigning`, as from the hosted service; the client polls.
    Assigning,
    /// The result for clients that are known to read it, `assigning` for all others.
    #[default]
    ByClient,
    /// The result, if it is known in time.
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
    /// Creates the endpoint; `runs` executes the assignment runs that requests begin.
    pub fn new(
        provisioning: Arc<Provisioning>,
        runs: Arc<dyn AssignmentRuns>,
        ports: Ports,
        timing: Timing,
    ) -> Self {
        DeviceApi { provisioning, runs, ports, timing, tally: Arc::default(), polls: Arc::default() }
    }

    /// Returns the HTTPS routes.
    pub fn router(&self) -> axum::Router {
        https::router(self.clone())
    }

    /// Returns the AMQP endpoint, for connections over TLS or over WebSockets.
    pub fn amqp(&self, transport: Transport) -> Arc<dyn net::amqp::AmqpEndpoint> {
        Arc::new(amqp::Endpoint::new(self.clone(), transport))
    }

    /// Returns the MQTT endpoint, for connections over TLS or over WebSockets.
    pub fn mqtt(&self, transport: Transport) -> Arc<dyn net::mqtt::MqttEndpoint> {
        Arc::new(mqtt::Endpoint::new(self.clone(), transport))
    }

    /// Returns the number of answers to devices since the start, by instance; first those in which no instance was found.
    pub fn answers(&self) -> Vec<Answers> {
        self.tally.answers()
    }
}
