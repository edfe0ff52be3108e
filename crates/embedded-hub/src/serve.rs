//! Serves a hub on its listeners.

use std::{sync::Arc, time::Duration};

use net::{
    CancellationToken, ConnectionLimiter, HttpServices, Limits, Listener, MqttLimits, serve_amqp,
    serve_https, serve_mqtt,
};

use crate::{amqp, hub::Hub, messages::MAX_TELEMETRY_BYTES};

/// A hub's listening sockets.
pub struct Listeners {
    /// For the REST API, and devices over HTTPS and WebSockets, usually port 443.
    pub https: Listener,
    /// For devices over AMQP, usually port 5671.
    pub amqps: Listener,
    /// For devices over MQTT, usually port 8883.
    pub mqtts: Listener,
}

/// Serves the hub until `shutdown`, then lets requests finish for the limiter's grace period.
///
/// A direct method call may take ten minutes (five to connect, five to answer): the limiter's `request_timeout` must be longer,
/// see [`limits`].
pub async fn serve(
    hub: Hub,
    listeners: Listeners,
    tls: Arc<rustls::ServerConfig>,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    let services = HttpServices { router: hub.router(), mqtt: Some(hub.mqtt()), amqp: Some(hub.amqp()) };
    let https = serve_https(listeners.https, Arc::clone(&tls), services, limiter.clone(), shutdown.clone());
    let amqps = serve_amqp(listeners.amqps, Arc::clone(&tls), hub.amqp(), limiter.clone(), shutdown.clone());
    let mqtts = serve_mqtt(listeners.mqtts, tls, hub.mqtt(), limiter, shutdown.clone());
    tokio::join!(https, amqps, mqtts, hub.run_maintenance(shutdown));
    // Connections have ended since `run_maintenance` recorded activity.
    hub.record_activity().await;
}

/// Returns `given` with the limits that a hub needs: for slow methods and for large telemetry.
pub fn limits(given: &Limits) -> Limits {
    let mqtt = MqttLimits { max_packet: MAX_TELEMETRY_BYTES + MAX_TOPIC_BYTES, ..given.mqtt.clone() };
    let amqp = amqp::limits(&given.amqp);
    Limits { request_timeout: LONGEST_CALL + Duration::from_secs(60), amqp, mqtt, ..given.clone() }
}

/// The longest method call: the time for a device to connect, and then to answer.
const LONGEST_CALL: Duration = Duration::from_secs(2 * 300);
/// Bytes of the longest topic that MQTT allows, with the packet's header.
const MAX_TOPIC_BYTES: usize = 64 * 1024 + 16;
