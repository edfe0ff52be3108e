//! The endpoint that devices register at.

use model::{HostName, IdScope};

use crate::trust::Trust;

/// A device provisioning endpoint, and an instance behind it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The DNS name or IPv4 address.
    pub host: HostName,
    /// The port of HTTPS.
    pub https_port: u16,
    /// The port of MQTT over TLS.
    pub mqtts_port: u16,
    /// The port of AMQP over TLS.
    pub amqps_port: u16,
    /// The ID scope of the instance.
    pub id_scope: IdScope,
    /// The trusted CA certificates for the endpoint.
    pub trust: Trust,
}
