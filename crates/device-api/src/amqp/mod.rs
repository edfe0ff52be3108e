//! The device API over AMQP 1.0.
//!
//! A device says who it is with SASL PLAIN (`{idScope}/registrations/{registrationId}` and its token), or connects
//! without SASL, or with EXTERNAL or ANONYMOUS, and has its certificate speak for it; one with a TPM proves itself with the
//! mechanism TPM. It attaches a link each way, whose address names the registration; a request is a message, and its reply a
//! message that carries the same correlation ID. As over MQTT, a token that is one is judged with each request, so that a
//! refusal comes with its reason.

mod connection;
mod reply;
mod request;
mod tpm;

use std::borrow::Cow;

use async_trait::async_trait;
use codec::amqp::{AmqpError, SaslCode, SaslInit, condition};
use net::{
    Peer, Transport,
    amqp::{AmqpConnection, AmqpEndpoint, SaslStep},
};
use wire::device::DeviceAddress;

use crate::{DeviceApi, Outcome, call::evidence};
use connection::{Connection, Shown};
use tpm::TPM;

/// The AMQP side of the device provisioning endpoint.
pub(crate) struct Endpoint {
    api: DeviceApi,
    transport: Transport,
}

impl Endpoint {
    pub(crate) fn new(api: DeviceApi, transport: Transport) -> Self {
        Endpoint { api, transport }
    }

    /// A client that its certificate speaks for. Its links will say which registration it means.
    fn by_certificate(&self, peer: &Peer) -> Option<Box<dyn AmqpConnection>> {
        if peer.certificates.is_empty() {
            return None;
        }
        let evidence = evidence(peer, None).ok()?;
        Some(self.connection(Shown::new(None, evidence, peer, self.transport)))
    }

    /// A client with a token, or why it has none.
    fn by_token(&self, peer: &Peer, init: &SaslInit) -> Result<Box<dyn AmqpConnection>, String> {
        let login = init.initial_response.as_deref().and_then(plain);
        let (address, token) = login.ok_or("the user name of SASL PLAIN names no registration")?;
        peer.standing.note_login(&address.to_string());
        if token.is_empty() {
            return Err("SASL PLAIN without a token".into());
        }
        let evidence = evidence(peer, Some(token)).map_err(|error| error.to_string())?;
        Ok(self.connection(Shown::new(Some(address), evidence, peer, self.transport)))
    }

    fn connection(&self, shown: Shown) -> Box<dyn AmqpConnection> {
        Box::new(Connection::new(self.api.clone(), shown))
    }
}

/// A client that shows nothing that could be judged; the log has the reason.
fn turned_away(api: &DeviceApi, transport: Transport, reason: impl Into<Cow<'static, str>>) -> SaslStep {
    api.tally.count(None, transport, Outcome::Unauthorized);
    SaslStep::Refused(SaslCode::Auth, Some(reason.into()))
}

#[async_trait]
impl AmqpEndpoint for Endpoint {
    /// PLAIN first: one SDK takes the first that it knows.
    fn mechanisms(&self, peer: &Peer) -> Vec<&'static str> {
        let mut mechanisms = vec![PLAIN, TPM];
        if !peer.certificates.is_empty() {
            mechanisms.extend([EXTERNAL, ANONYMOUS]);
        }
        mechanisms
    }

    async fn sasl(&self, peer: &Peer, init: SaslInit) -> SaslStep {
        let welcome = match init.mechanism.as_str() {
            PLAIN => self.by_token(peer, &init),
            TPM => {
                let response = init.initial_response.as_deref().unwrap_or_default();
                return tpm::begin(self.api.clone(), self.transport, peer, response);
            }
            _ => self.by_certificate(peer).ok_or_else(|| "no client certificate".into()),
        };
        welcome.map_or_else(|reason| turned_away(&self.api, self.transport, reason), SaslStep::Welcome)
    }

    async fn bare(&self, peer: &Peer) -> Result<Box<dyn AmqpConnection>, AmqpError> {
        let text = "a connection without SASL needs a client certificate";
        self.by_certificate(peer).ok_or_else(|| {
            self.api.tally.count(None, self.transport, Outcome::Unauthorized);
            AmqpError::new(condition::UNAUTHORIZED_ACCESS, text)
        })
    }
}

/// The registration and the token, which may be empty, of a PLAIN response: authorization identity (empty or the same), user
/// name and password, each after a NUL (RFC 4616).
fn plain(response: &[u8]) -> Option<(DeviceAddress, &[u8])> {
    let mut parts = response.splitn(3, |byte| *byte == 0);
    let (_, name, token) = (parts.next()?, parts.next()?, parts.next()?);
    let address = DeviceAddress::parse(std::str::from_utf8(name).ok()?)?;
    Some((address, token))
}

const ANONYMOUS: &str = "ANONYMOUS";
const EXTERNAL: &str = "EXTERNAL";
const PLAIN: &str = "PLAIN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_responses() {
        let (address, token) = plain(b"\x000ne1/registrations/r-1\0token\0with a nul").unwrap();
        assert_eq!((address.id_scope.as_str(), address.registration_id.as_str()), ("0ne1", "r-1"));
        assert_eq!(token, b"token\0with a nul");
        for response in [&b""[..], b"\0", b"\0\0token", b"\0\xff/registrations/r\0t", b"\0user\0t"] {
            assert!(plain(response).is_none(), "{response:?}");
        }
    }
}
