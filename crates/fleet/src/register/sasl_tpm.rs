//! The SASL mechanism TPM, on the side of a device: the device sends its ID scope, registration ID and endorsement key,
//! then its storage root key, fetches the challenge in segments, and sends the token that its TPM signs.

use bytes::Bytes;
use model::IdScope;
use net::client::{ResponseFuture, SaslMechanism};

use crate::{device::Device, tpm::Tpm};

/// The flag in the first byte of a server's message: a segment of the challenge follows.
const SEGMENT: u8 = 0x80;
/// The flag in the first byte of a segment: the segment is the last one.
const LAST: u8 = 0x40;

/// The exchange of a device that authenticates by its TPM.
pub(super) struct SaslTpm<'a> {
    device: &'a Device,
    tpm: &'a Tpm,
    id_scope: &'a IdScope,
    /// The received part of the challenge.
    blob: Vec<u8>,
}

impl<'a> SaslTpm<'a> {
    pub(super) fn new((device, tpm): (&'a Device, &'a Tpm), id_scope: &'a IdScope) -> SaslTpm<'a> {
        SaslTpm { device, tpm, id_scope, blob: Vec::new() }
    }

    async fn answer(&mut self, challenge: &[u8]) -> Result<Bytes, String> {
        match challenge.split_first() {
            Some((0, [])) => Ok(client_message(self.tpm.identity().storage_root_key.as_bytes())),
            Some((control, segment)) if control & SEGMENT != 0 => {
                self.blob.extend_from_slice(segment);
                if control & LAST == 0 { Ok(client_message(b"")) } else { self.token().await }
            }
            _ => Err("the server's challenge is malformed".to_owned()),
        }
    }

    async fn token(&self) -> Result<Bytes, String> {
        self.tpm.import_blob(&self.blob).await.map_err(|error| error.to_string())?;
        let token = self.device.proof(self.id_scope, self.tpm).await.map_err(|error| error.to_string())?;
        Ok(client_message(token.as_bytes()))
    }
}

impl SaslMechanism for SaslTpm<'_> {
    fn name(&self) -> &'static str {
        "TPM"
    }

    fn initial_response(&self) -> Bytes {
        let names = [self.id_scope.as_str(), self.device.registration_id.as_str(), ""].join("\0");
        client_message(&[names.as_bytes(), self.tpm.identity().endorsement_key.as_bytes()].concat())
    }

    fn respond(&mut self, challenge: Bytes) -> ResponseFuture<'_> {
        Box::pin(async move { self.answer(&challenge).await })
    }
}

/// Encodes a message of the client, which begins with a zero byte.
fn client_message(content: &[u8]) -> Bytes {
    [&[0], content].concat().into()
}
