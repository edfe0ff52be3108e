//! What devices, operators and inspectors need to know of a service under test.

use fleet::{Endpoint, HubEndpoint, HubRegistry, ServiceClient, Trust};
use wire::sas::ConnectionString;

/// A service: one process, or nodes behind a load balancer.
#[derive(Clone)]
pub struct Deployment {
    /// Where devices register.
    pub endpoint: Endpoint,
    /// The connection string of an operator with all rights.
    pub operator: ConnectionString,
    /// Its linked hubs.
    pub hubs: Vec<DeployedHub>,
}

/// A linked hub.
#[derive(Clone)]
pub struct DeployedHub {
    /// Where devices connect.
    pub endpoint: HubEndpoint,
    /// The connection string of its owner.
    pub owner: ConnectionString,
    /// The port of its registry.
    pub https_port: u16,
}

impl Deployment {
    /// Makes a client of the service endpoint.
    pub fn service(&self) -> ServiceClient {
        let Endpoint { https_port, trust, .. } = &self.endpoint;
        ServiceClient::new(&self.operator, *https_port, trust.clone()).unwrap()
    }

    /// Returns the deployment with the same service at other ports: one of its nodes.
    pub fn at(&self, https_port: u16, mqtts_port: u16, amqps_port: u16) -> Deployment {
        let endpoint = Endpoint { https_port, mqtts_port, amqps_port, ..self.endpoint.clone() };
        Deployment { endpoint, ..self.clone() }
    }

    /// Returns the CAs that devices and operators trust.
    pub fn trust(&self) -> Trust {
        self.endpoint.trust.clone()
    }
}

impl DeployedHub {
    /// Makes a client of the registry.
    pub fn registry(&self) -> HubRegistry {
        HubRegistry::new(&self.owner, self.https_port, self.endpoint.trust.clone()).unwrap()
    }
}
