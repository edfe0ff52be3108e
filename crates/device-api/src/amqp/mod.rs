//! The device API over AMQP 1.0.
//!
//! A device logs in with SASL PLAIN (`{idScope}/registrations/{registrationId}` and its token); with its client certificate
//! without SASL, or with EXTERNAL or ANONYMOUS; or with its TPM by the mechanism TPM. It attaches a link in each direction, whose
//! address names the registration. A request is a message, and its reply is a message with the same correlation ID. As over
//! MQTT, a well-formed token is verified with each request, so that a refusal comes with its reason.

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

use self::connection::{ClaimedIdentity, Connection};
use self::tpm::TPM;
use crate::{DeviceApi, Outcome, call::evidence};

/// The AMQP endpoint of the device API.
pub(crate) struct Endpoint {
    api: DeviceApi,
    transport: Transport,
}

impl Endpoint {
    pub(crate) fn new(api: DeviceApi, transport: Transport) -> Self {
        Endpoint { api, transport }
    }

    /// Accepts a client by its certificate; `None` if it has none. Its links will name the registration.
    fn by_certificate(&self, peer: &Peer) -> Option<Box<dyn AmqpConnection>> {
        if peer.certificates.is_empty() {
            return None;
        }
        let evidence = evidence(peer, None).ok()?;
        Some(self.connection(ClaimedIdentity::new(None, evidence, peer, self.transport)))
    }

    /// Accepts a client with a token; fails with the reason for the log.
    fn by_token(&self, peer: &Peer, init: &SaslInit) -> Result<Box<dyn AmqpConnection>, String> {
        let login = init.initial_response.as_deref().and_then(plain);
        let (address, token) = login.ok_or("the user name of SASL PLAIN names no registration")?;
        peer.standing.note_login(&address.to_string());
        if token.is_empty() {
            return Err("SASL PLAIN without a token".into());
        }
        let evidence = evidence(peer, Some(token)).map_err(|error| error.to_string())?;
        Ok(self.connection(ClaimedIdentity::new(Some(address), evidence, peer, self.transport)))
    }

    fn connection(&self, identity: ClaimedIdentity) -> Box<dyn AmqpConnection> {
        Box::new(Connection::new(self.api.clone(), identity))
    }
}

/// Refuses a login without usable evidence. SASL carries no reason; the log does.
fn refuse_login(api: &DeviceApi, transport: Transport, reason: impl Into<Cow<'static, str>>) -> SaslStep {
    api.tally.count(None, transport, Outcome::Unauthorized);
    SaslStep::Refused(SaslCode::Auth, Some(reason.into()))
}

#[async_trait]
impl AmqpEndpoint for Endpoint {
    /// PLAIN is first, because one SDK takes the first mechanism that it knows.
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
        welcome.map_or_else(|reason| refuse_login(&self.api, self.transport, reason), SaslStep::Welcome)
    }

    async fn bare(&self, peer: &Peer) -> Result<Box<dyn AmqpConnection>, AmqpError> {
        let text = "a connection without SASL needs a client certificate";
        self.by_certificate(peer).ok_or_else(|| {
            self.api.tally.count(None, self.transport, Outcome::Unauthorized);
            AmqpError::new(condition::UNAUTHORIZED_ACCESS, text)
        })
    }
}

/// Parses a PLAIN response into the registration and the token, which may be empty: authorization identity, user name and password
/// separated by NUL (RFC 4616).
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
