//! The device API over MQTT 3.1.1.
//!
//! The identity comes from the user name; the client ID must be the registration ID. A token is not judged at CONNECT
//! but with each request, as the hosted service does, so that a refusal comes with its reason. There are replies to
//! subscribe to and two topics to publish to; this is no broker.
//!
//! A device with a TPM connects without a token first and says so in its user name; its register call is answered with
//! the challenge. With the token that it can sign then, it connects again.

mod session;

use std::sync::Mutex;

use async_trait::async_trait;
use codec::mqtt::{Connect, ConnectReturnCode};
use net::{
    Peer, Transport,
    mqtt::{ConnectRefusal, MqttEndpoint, MqttSession, Outbox},
};
use wire::device::MqttUserName;

use crate::{
    DeviceApi, Outcome,
    call::{Caller, api_version, evidence},
    client::Client,
    error::{CallError, Concerning},
};
use session::{Device, Session};

/// The MQTT side of the device provisioning endpoint.
pub(crate) struct Endpoint {
    api: DeviceApi,
    transport: Transport,
}

impl Endpoint {
    pub(crate) fn new(api: DeviceApi, transport: Transport) -> Self {
        Endpoint { api, transport }
    }

    /// Who calls, or what every one of its requests is to be answered with.
    fn caller(
        &self,
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
            transport: self.transport,
            standing: peer.standing.clone(),
            scope: name.id_scope,
            registration_id: name.registration_id,
        })
    }

    /// CONNACK has no words for why; the log has.
    fn turned_away(&self, reason: &'static str) -> ConnectRefusal {
        self.api.tally.count(None, self.transport, Outcome::Unauthorized);
        ConnectRefusal::because(ConnectReturnCode::NotAuthorized, reason)
    }
}

/// What is wrong with a CONNECT that names a registration.
fn fault(peer: &Peer, connect: &Connect, name: &MqttUserName) -> Option<&'static str> {
    let presents_something = connect.password.as_ref().is_some_and(|password| !password.is_empty())
        || !peer.certificates.is_empty();
    if connect.will.is_some() {
        Some("a will, which no client could receive")
    } else if !connect.client_id.eq_ignore_ascii_case(name.registration_id.as_str()) {
        Some("the client ID is not the registration ID in the user name")
    } else if !(presents_something || name.asks_for_challenge) {
        Some("neither a password nor a client certificate")
    } else {
        None
    }
}

#[async_trait]
impl MqttEndpoint for Endpoint {
    async fn connect(
        &self,
        peer: &Peer,
        connect: Connect,
        outbox: Outbox,
    ) -> Result<Box<dyn MqttSession>, ConnectRefusal> {
        let name = connect.username.as_deref().and_then(MqttUserName::parse);
        let name = name.ok_or_else(|| self.turned_away("the user name names no registration"))?;
        let address = name.address();
        peer.standing.note_login(&address.to_string());
        if let Some(fault) = fault(peer, &connect, &name) {
            return Err(self.turned_away(fault));
        }
        let client = Client::of(&name.client_version, &name.api_version);
        let delay = client.delay(self.api.timing.java_delay);
        let concerning = Concerning::new(peer, Some(&address));
        let caller = self.caller(peer, name, client, connect.password.as_deref());
        let api = self.api.clone();
        Ok(Box::new(Session::new(Device {
            api,
            transport: self.transport,
            caller,
            concerning,
            outbox,
            delay,
            subscriptions: Mutex::default(),
        })))
    }
}
