//! The device API over MQTT 3.1.1.
//!
//! The user name names the registration, and the client ID must be the registration ID. A token is not verified at CONNECT but with
//! each request, as by the hosted service, so that a refusal comes with its reason. A client may subscribe to its replies and
//! publish to two topics; this is not a broker.
//!
//! A device with a TPM first connects without a token, which its user name announces, and its register call is answered with the
//! challenge. It connects again with a token signed by the key in the challenge.

mod session;

use std::sync::Mutex;

use async_trait::async_trait;
use codec::mqtt::{Connect, ConnectReturnCode};
use net::{
    Peer, Transport,
    mqtt::{ConnectRefusal, MqttEndpoint, MqttSession, Outbox},
};
use wire::device::MqttUserName;

use self::session::{Device, Session};
use crate::{
    DeviceApi, Outcome,
    call::{Caller, api_version, evidence},
    client::Client,
    error::{CallError, ErrorContext},
};

/// The MQTT endpoint of the device API.
pub(crate) struct Endpoint {
    api: DeviceApi,
    transport: Transport,
}

impl Endpoint {
    pub(crate) fn new(api: DeviceApi, transport: Transport) -> Self {
        Endpoint { api, transport }
    }

    /// Returns the caller of a connection, or the error that every request on it gets.
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

    /// Refuses a CONNECT. CONNACK carries no reason; the log does.
    fn refuse(&self, reason: &'static str) -> ConnectRefusal {
        self.api.tally.count(None, self.transport, Outcome::Unauthorized);
        ConnectRefusal::because(ConnectReturnCode::NotAuthorized, reason)
    }
}

/// Returns what is wrong with a CONNECT that names a registration.
fn fault(peer: &Peer, connect: &Connect, name: &MqttUserName) -> Option<&'static str> {
    let has_evidence = connect.password.as_ref().is_some_and(|password| !password.is_empty())
        || !peer.certificates.is_empty();
    if connect.will.is_some() {
        Some("a will, which no client could receive")
    } else if !connect.client_id.eq_ignore_ascii_case(name.registration_id.as_str()) {
        Some("the client ID is not the registration ID in the user name")
    } else if !(has_evidence || name.asks_for_challenge) {
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
        let name = name.ok_or_else(|| self.refuse("the user name names no registration"))?;
        let address = name.address();
        peer.standing.note_login(&address.to_string());
        if let Some(fault) = fault(peer, &connect, &name) {
            return Err(self.refuse(fault));
        }
        let client = Client::of(&name.client_version, &name.api_version);
        let delay = client.delay(self.api.timing.java_delay);
        let context = ErrorContext::new(peer, Some(&address));
        let caller = self.caller(peer, name, client, connect.password.as_deref());
        let api = self.api.clone();
        Ok(Box::new(Session::new(Device {
            api,
            transport: self.transport,
            caller,
            context,
            outbox,
            delay,
            subscriptions: Mutex::default(),
        })))
    }
}
