//! Registration: a device asks where it belongs, and polls until it is told.

mod amqp;
mod answer;
mod channel;
mod https;
mod mqtt;
mod sasl_tpm;

use std::time::Duration;

use model::{DeviceId, HubName};
use net::Transport;
use serde_json::Value;
use tokio::time::Instant;

pub use amqp::AmqpSession;
pub use https::HttpsSession;
pub use mqtt::MqttSession;

use crate::carrier::Carrier;
use crate::device::Device;
use crate::endpoint::Endpoint;
use crate::failure::RegisterError;

/// A device that has been assigned.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// `registrationState` as it was sent.
    pub state: Value,
    /// Requests it took: 1 when the first reply was `assigned`.
    pub round_trips: u32,
    /// From the beginning to `assigned`; with [`register`], TCP and TLS included.
    pub time_to_assigned: Duration,
}

/// Registers a device on a new connection.
pub async fn register(
    endpoint: &Endpoint,
    device: &Device,
    transport: Transport,
    payload: Option<&Value>,
) -> Result<Registered, RegisterError> {
    let started = Instant::now();
    match transport {
        Transport::Https => {
            let mut session = HttpsSession::open(endpoint, device).await?;
            let registered = session.register(device, payload).await?;
            Ok(Registered { time_to_assigned: started.elapsed(), ..registered })
        }
        Transport::Mqtt | Transport::MqttWs => {
            let mut session = MqttSession::open(endpoint, device, Carrier::of(transport)).await?;
            let registered = session.register(payload).await;
            let time_to_assigned = started.elapsed();
            session.close().await;
            Ok(Registered { time_to_assigned, ..registered? })
        }
        Transport::Amqp | Transport::AmqpWs => {
            let mut session = AmqpSession::open(endpoint, device, Carrier::of(transport)).await?;
            let registered = session.register(payload).await;
            let time_to_assigned = started.elapsed();
            session.close().await;
            Ok(Registered { time_to_assigned, ..registered? })
        }
    }
}

const CLIENT_VERSION: &str = "muster-fleet";

/// What this client says it speaks: the newest version that SDKs in the field send, and that replies `assigned` at once.
const API_VERSION: &str = "2021-06-01";
