//! Where devices register.

use model::{HostName, IdScope};

use crate::trust::Trust;

/// A device provisioning endpoint, and the service instance at it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// A DNS name or IPv4 address.
    pub host: HostName,
    /// The port of HTTPS.
    pub https_port: u16,
    /// The port of MQTT over TLS.
    pub mqtts_port: u16,
    /// The port of AMQP over TLS.
    pub amqps_port: u16,
    /// Selects the service instance.
    pub id_scope: IdScope,
    /// The CA certificates that the endpoint must chain to.
    pub trust: Trust,
}
