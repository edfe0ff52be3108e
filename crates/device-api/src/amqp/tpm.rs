//! The SASL mechanism TPM, which verifies a device before its first request.
//!
//! | | from | bytes |
//! |---|---|---|
//! | initial response | client | `00 ‖ idScope ‖ 00 ‖ registrationId ‖ 00 ‖ endorsement key` |
//! | challenge | server | `00` |
//! | response | client | `00 ‖ storage root key` |
//! | challenge | server | `80 ‖ first half of the blob` |
//! | response | client | `00` |
//! | challenge | server | `C1 ‖ second half` |
//! | response | client | `00 ‖ token`, signed with the key in the blob |
//!
//! In the first byte of a challenge, bit 80 marks data, bit 40 the last part, and the other bits count. Java accepts exactly these
//! two, so the blob has two halves; each fits into a SASL frame of 512 bytes.

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use codec::amqp::SaslCode;
use model::{EndorsementKey, StorageRootKey};
use net::{
    Peer, Purpose, Transport,
    amqp::{SaslExchange, SaslStep},
};
use provisioning::{
    Error,
    attest::{Evidence, tpm::PresentedTpm},
};
use wire::device::DeviceAddress;

use super::{
    connection::{ClaimedIdentity, Connection},
    refuse_login,
};
use crate::{
    DeviceApi, Outcome,
    call::evidence,
    error::{CallError, ErrorContext},
};

/// The name of the mechanism.
pub(super) const TPM: &str = "TPM";

const FIRST_HALF: u8 = 0x80;
const SECOND_HALF: u8 = 0xC1;

/// Begins a login: asks for the storage root key of a client that named its registration and endorsement key.
pub(super) fn begin(api: DeviceApi, transport: Transport, peer: &Peer, response: &[u8]) -> SaslStep {
    let Some((address, endorsement_key)) = named(response) else {
        return refuse_login(&api, transport, "SASL TPM names no registration, or no endorsement key");
    };
    peer.standing.note_login(&address.to_string());
    let login = Login { api, transport, peer: peer.clone(), address };
    SaslStep::Challenge(Bytes::from_static(&[0]), Box::new(AwaitingRootKey { login, endorsement_key }))
}

fn named(response: &[u8]) -> Option<(DeviceAddress, EndorsementKey)> {
    let mut parts = response.strip_prefix(&[0])?.splitn(3, |byte| *byte == 0);
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let address = DeviceAddress::parse(&format!("{}/registrations/{}", text()?, text()?))?;
    Some((address, EndorsementKey::from_bytes(parts.next()?.to_vec()).ok()?))
}

/// A login in progress.
struct Login {
    api: DeviceApi,
    transport: Transport,
    peer: Peer,
    address: DeviceAddress,
}

/// Waits for the storage root key.
struct AwaitingRootKey {
    login: Login,
    endorsement_key: EndorsementKey,
}

/// Waits for the request for the second half of the blob.
struct AwaitingSecondHalf {
    next: AwaitingToken,
    rest: Bytes,
}

/// Waits for the token, which only the challenged TPM can sign.
struct AwaitingToken {
    login: Login,
    tpm: PresentedTpm,
}

#[async_trait]
impl SaslExchange for AwaitingRootKey {
    async fn respond(self: Box<Self>, response: Bytes) -> SaslStep {
        let AwaitingRootKey { login, endorsement_key } = *self;
        let key = response.strip_prefix(&[0]).map(|key| StorageRootKey::from_bytes(key.to_vec()));
        let Some(Ok(storage_root_key)) = key else {
            return refuse_login(&login.api, login.transport, "SASL TPM without a storage root key");
        };
        let tpm = PresentedTpm { endorsement_key, storage_root_key: Some(storage_root_key) };
        match login.api.challenge(&login.address, tpm.clone(), login.peer.addr.ip()).await {
            Ok(blob) => {
                let scope = Some(&login.address.id_scope);
                login.api.tally.count(scope, login.transport, Outcome::Challenged);
                let (first, second) = blob.split_at(blob.len() / 2);
                let rest = half(SECOND_HALF, second);
                let next = AwaitingToken { login, tpm };
                SaslStep::Challenge(half(FIRST_HALF, first), Box::new(AwaitingSecondHalf { next, rest }))
            }
            Err(error) => login.refused(&error).await,
        }
    }
}

#[async_trait]
impl SaslExchange for AwaitingSecondHalf {
    async fn respond(self: Box<Self>, _response: Bytes) -> SaslStep {
        let AwaitingSecondHalf { next, rest } = *self;
        SaslStep::Challenge(rest, Box::new(next))
    }
}

#[async_trait]
impl SaslExchange for AwaitingToken {
    async fn respond(self: Box<Self>, response: Bytes) -> SaslStep {
        let AwaitingToken { login, tpm } = *self;
        match login.identity(response.strip_prefix(&[0]).unwrap_or_default(), tpm).await {
            Ok(identity) => SaslStep::Welcome(Box::new(Connection::new(login.api, identity))),
            Err(error) => login.refused(&error).await,
        }
    }
}

impl Login {
    /// Verifies the device by its token.
    async fn identity(&self, token: &[u8], tpm: PresentedTpm) -> Result<ClaimedIdentity, CallError> {
        let evidence = Evidence { tpm: Some(tpm), ..evidence(&self.peer, Some(token))? };
        self.api.verify_identity(&self.address, &evidence, self.peer.addr.ip()).await?;
        self.peer.standing.mark_proven(Purpose::Provisioning);
        Ok(ClaimedIdentity::new(Some(self.address.clone()), evidence, &self.peer, self.transport))
    }

    /// Refuses the login. SASL carries no reason; the log does.
    async fn refused(&self, error: &CallError) -> SaslStep {
        let context = ErrorContext::new(&self.peer, Some(&self.address));
        self.api.refusal(self.transport, error, &context).await;
        let code = match error {
            CallError::Refused(Error::Busy | Error::Fenced | Error::Unwritable(_) | Error::Damaged(_)) => {
                SaslCode::SystemTemporary
            }
            CallError::Refused(Error::Broken(_)) => SaslCode::System,
            _ => SaslCode::Auth,
        };
        SaslStep::Refused(code, None)
    }
}

fn half(control: u8, content: &[u8]) -> Bytes {
    let mut half = BytesMut::with_capacity(1 + content.len());
    half.put_u8(control);
    half.put_slice(content);
    half.freeze()
}

#[cfg(test)]
mod tests {
    use testkit::sample;

    use super::*;

    #[test]
    fn initial_responses() {
        let key = sample::tpm_public(7);
        let (address, endorsement_key) = named(&[b"\x000ne1\0r-1\0", &key[..]].concat()).unwrap();
        assert_eq!((address.id_scope.as_str(), address.registration_id.as_str()), ("0ne1", "r-1"));
        assert_eq!(endorsement_key.as_bytes(), key, "zeros and all");
        for response in
            [&b""[..], b"\0", b"\x000ne1\0r-1", b"\x000ne1\0r-1\0key", b"\x000ne1\0a/b\0key", b"0ne1\0r-1\0"]
        {
            assert!(named(&[response, &key[..40]].concat()).is_none(), "{response:?}");
        }
    }
}
