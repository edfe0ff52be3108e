//! Registration: a device sends a register request, and polls the operation until it is assigned.

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

use crate::{carrier::Carrier, device::Device, endpoint::Endpoint, failure::RegisterError};

const CLIENT_VERSION: &str = "muster-fleet";

/// The API version of requests: the newest one of released SDKs whose first reply may be `assigned`.
const API_VERSION: &str = "2021-06-01";

/// The result of a registration that ended in `assigned`.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The assigned hub.
    pub hub: HubName,
    /// The device ID at the hub.
    pub device_id: DeviceId,
    /// The registration state as sent.
    pub state: Value,
    /// The number of requests: 1 if the first reply was `assigned`.
    pub round_trips: u32,
    /// The time until the reply `assigned`; with [`register`] it includes TCP and TLS.
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
