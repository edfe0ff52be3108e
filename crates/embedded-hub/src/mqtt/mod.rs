//! The device endpoint over MQTT 3.1.1.

mod connect;
mod device_link;
mod session;
mod stored_session;
mod twin;

use std::sync::Arc;

use async_trait::async_trait;
use codec::mqtt::Connect;
use net::{
    Peer, Purpose,
    mqtt::{MqttEndpoint, MqttSession, Outbox},
};

use crate::{auth::AdmissionError, failure::HubFailure, hub::Hub};

use connect::{Claim, ConnectRefusal};
use device_link::MqttDeviceLink;
use session::DeviceSession;

/// Accepts MQTT connections of devices.
struct DeviceEndpoint {
    hub: Hub,
}

impl Hub {
    /// Returns the endpoint for devices over MQTT, to be served by [`net::serve_mqtt`] or [`crate::serve()`].
    pub fn mqtt(&self) -> Arc<dyn MqttEndpoint> {
        Arc::new(DeviceEndpoint { hub: self.clone() })
    }
}

#[async_trait]
impl MqttEndpoint for DeviceEndpoint {
    async fn connect(
        &self,
        peer: &Peer,
        connect: Connect,
        outbox: Outbox,
    ) -> Result<Box<dyn MqttSession>, net::mqtt::ConnectRefusal> {
        let refused = |refusal: ConnectRefusal| {
            if let ConnectRefusal::NotAdmitted(AdmissionError::Hub(HubFailure::Broken(reason))) = &refusal {
                tracing::error!(reason, hub.name = %self.hub.name(), "a device could not be read");
            }
            let reason = format!("client ID {:?}: {refusal}", connect.client_id);
            net::mqtt::ConnectRefusal::because(refusal.code(), reason)
        };
        let claim = Claim::read(&self.hub, &connect).map_err(refused)?;
        let proof = claim.proof(peer).map_err(refused)?;
        let link = MqttDeviceLink { device_id: claim.id.to_string(), outbox, subscriptions: Arc::default() };
        let live = self.hub.connect(claim.id, proof, link.clone()).await;
        let live = live.map_err(|refusal| refused(refusal.into()))?;
        peer.standing.mark_proven(Purpose::Hub);
        let opened = async {
            self.hub.store_model(&live.id, claim.model_id).await?;
            DeviceSession::open(self.hub.clone(), Arc::clone(&live), link, connect.clean_session).await
        };
        match opened.await {
            Ok(session) => Ok(Box::new(session)),
            Err(failure) => {
                self.hub.disconnected(&live).await;
                Err(refused(AdmissionError::Hub(failure).into()))
            }
        }
    }
}
