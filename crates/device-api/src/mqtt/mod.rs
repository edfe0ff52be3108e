//! The device API over MQTT 3.1.1.
//!
//! The identity comes from the user name; the client ID must be the registration ID. A token is not judged at CONNECT
//! but with each request, as the hosted service does, so that a refusal comes with its reason. There is one filter to
//! subscribe to and there are two topics to publish to; this is no broker.
//!
//! A device with a TPM connects without a token first and says so in its user name; its register call is answered with
//! the challenge. With the token that it can sign then, it connects again.

mod session;
mod topic;

use async_trait::async_trait;
use net::{
    Peer,
    mqtt::{MqttEndpoint, MqttSession, Outbox},
};
use wire::{
    device::MqttUserName,
    mqtt::{Connect, ConnectReturnCode},
};

use crate::{
    DeviceApi,
    call::{Caller, api_version, evidence},
    error::{CallError, Concerning},
    patience::Client,
};
use session::Session;

/// The MQTT side of the device provisioning endpoint.
pub(crate) struct Endpoint {
    api: DeviceApi,
}

impl Endpoint {
    pub(crate) fn new(api: DeviceApi) -> Self {
        Endpoint { api }
    }
}

#[async_trait]
impl MqttEndpoint for Endpoint {
    async fn connect(
        &self,
        peer: &Peer,
        connect: Connect,
        outbox: Outbox,
    ) -> Result<Box<dyn MqttSession>, ConnectReturnCode> {
        let name = connect.username.as_deref().and_then(MqttUserName::parse);
        let name = name.ok_or(ConnectReturnCode::NotAuthorized)?;
        let presents_something = connect.password.as_ref().is_some_and(|password| !password.is_empty())
            || !peer.certificates.is_empty();
        let refused = connect.will.is_some()
            || !connect.client_id.eq_ignore_ascii_case(name.registration_id.as_str())
            || !(presents_something || name.asks_for_challenge);
        if refused {
            return Err(ConnectReturnCode::NotAuthorized);
        }
        let client = Client::of(&name.client_version, &name.api_version);
        let delay = client.delay(self.api.timing.java_delay);
        let concerning = Concerning {
            scope: Some(name.id_scope.clone()),
            registration_id: Some(name.registration_id.clone()),
        };
        let caller = caller(peer, name, client, connect.password.as_deref());
        Ok(Box::new(Session::new(self.api.clone(), caller, concerning, outbox, delay)))
    }
}

/// Who calls, or what every one of its requests is to be answered with.
fn caller(
    peer: &Peer,
    name: MqttUserName,
    client: Client,
    password: Option<&[u8]>,
) -> Result<Caller, CallError> {
    Ok(Caller {
        api_version: api_version(&name.api_version)?,
        client,
        evidence: evidence(peer, password)?,
        address: peer.addr.ip(),
        scope: name.id_scope,
        registration_id: name.registration_id,
    })
}
