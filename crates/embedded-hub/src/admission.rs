//! Letting a device in, over whatever transport: what it shows is compared with what the hub knows of it.

use model::{DeviceId, Timestamp};

use crate::{
    access::{Denied, admit_certificate},
    failure::HubFailure,
    hub::Hub,
};

/// What a device shows to prove who it is.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The leaf of the certificates that it proved to hold in the TLS handshake, in DER.
    Certificate(&'a [u8]),
    /// A shared access token.
    Token(&'a str),
}

/// Why a device is not let in.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// It did not prove itself.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The hub cannot tell.
    #[error(transparent)]
    Hub(#[from] HubFailure),
}

impl<'a> Proof<'a> {
    /// What somebody shows: a token counts before a certificate.
    pub fn shown(token: Option<&'a str>, leaf: Option<&'a [u8]>) -> Option<Proof<'a>> {
        token.map(Proof::Token).or(leaf.map(Proof::Certificate))
    }
}

impl Hub {
    /// Lets a device in; tells when its token runs out. Certificates do not.
    pub(crate) fn admit(
        &self,
        id: &DeviceId,
        proof: Option<Proof>,
    ) -> Result<Option<Timestamp>, NotAdmitted> {
        let proof = proof.ok_or(Denied::NoCredentials)?;
        let identity = self.core.storage.read(|rows| rows.identity(id))?.ok_or(Denied::UnknownDevice)?;
        match proof {
            Proof::Certificate(leaf) => {
                admit_certificate(leaf, &identity)?;
                Ok(None)
            }
            Proof::Token(token) => {
                Ok(Some(self.core.doors.admit_device(token, id, &identity, self.now())?))
            }
        }
    }
}
