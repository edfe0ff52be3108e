//! Who may connect: the user name says which device, a token or certificate proves it.

use model::{DeviceId, IdError, Timestamp};
use net::Peer;
use wire::{
    hub::{UserName, UserNameError},
    mqtt::{Connect, ConnectReturnCode},
};

use crate::{
    access::{Denied, admit_certificate},
    failure::HubFailure,
    hub::Hub,
};

/// A device that may connect.
pub struct Admitted {
    /// Which.
    pub id: DeviceId,
    /// When its token runs out; certificates do not.
    pub expires: Option<Timestamp>,
}

/// Why a device may not connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectRefusal {
    /// The client ID is another than the user name's.
    #[error("the client ID is not the one in the user name")]
    ClientId,
    /// It did not prove itself.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The user name's device ID breaks the rule for them.
    #[error(transparent)]
    DeviceId(#[from] IdError),
    /// The hub cannot tell.
    #[error(transparent)]
    Hub(#[from] HubFailure),
    /// Modules are not served.
    #[error("modules cannot connect here")]
    Module,
    /// The user name is for another hub.
    #[error("the user name is for another hub")]
    OtherHub,
    /// The password is no text.
    #[error("the password is no text")]
    Password,
    /// No user name, or one of another form.
    #[error(transparent)]
    UserName(#[from] UserNameError),
}

impl ConnectRefusal {
    /// The CONNACK code: 5 for everything about who the device is, as the real hub answers.
    pub fn code(&self) -> ConnectReturnCode {
        match self {
            ConnectRefusal::ClientId => ConnectReturnCode::IdentifierRejected,
            ConnectRefusal::Hub(_) => ConnectReturnCode::ServerUnavailable,
            ConnectRefusal::Denied(_)
            | ConnectRefusal::DeviceId(_)
            | ConnectRefusal::Module
            | ConnectRefusal::OtherHub
            | ConnectRefusal::Password
            | ConnectRefusal::UserName(_) => ConnectReturnCode::NotAuthorized,
        }
    }
}

/// Whom a client claims to be.
pub struct Claim<'a> {
    /// The device.
    pub id: DeviceId,
    password: Option<&'a [u8]>,
}

impl<'a> Claim<'a> {
    /// Reads the claim from a CONNECT.
    pub fn read(hub: &Hub, connect: &'a Connect) -> Result<Claim<'a>, ConnectRefusal> {
        let name = UserName::parse(connect.username.as_deref().unwrap_or_default())?;
        if !hub.core.doors.is_own_name(name.host) {
            return Err(ConnectRefusal::OtherHub);
        }
        if name.module_id.is_some() {
            return Err(ConnectRefusal::Module);
        }
        if connect.client_id != name.device_id {
            return Err(ConnectRefusal::ClientId);
        }
        Ok(Claim { id: DeviceId::parse(name.device_id)?, password: connect.password.as_deref() })
    }

    /// Compares it with what the hub knows of the device.
    pub fn prove(self, hub: &Hub, peer: &Peer) -> Result<Admitted, ConnectRefusal> {
        let identity = hub.core.storage.read(|rows| rows.identity(&self.id))?.ok_or(Denied::UnknownDevice)?;
        let expires = match (self.password, peer.certificates.first()) {
            (Some(password), _) => {
                let token = std::str::from_utf8(password).map_err(|_| ConnectRefusal::Password)?;
                Some(hub.core.doors.admit_device(token, &self.id, &identity, hub.now())?)
            }
            (None, Some(leaf)) => {
                admit_certificate(leaf, &identity)?;
                None
            }
            (None, None) => return Err(Denied::NoCredentials.into()),
        };
        Ok(Admitted { id: self.id, expires })
    }
}
